"""How many tokens models take at once: a dated table. A model's own `context_window` comes before it."""

from functools import cache
from importlib.resources import files

import orjson

from ledgent.agent.models.prices import DATED


def window_of(model: str) -> int | None:
    """The window of a model by its exact name, or of the model that it is a dated snapshot of."""
    table = _table()
    return table.get(model) or table.get(DATED.sub("", model))


@cache
def _table() -> dict[str, int]:
    table = orjson.loads(files(__package__).joinpath("windows.json").read_bytes())
    return {model: entry["tokens"] for model, entry in table["models"].items()}
