"""What model calls cost: a dated table of list prices, and the sum for a call. The bill is the provider's."""

import re
from functools import cache
from importlib.resources import files

import orjson
from pydantic import Field

from ledgent.schemas.agents import Frozen
from ledgent.schemas.events import Usage

MILLION = 1_000_000
DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")
"""How a snapshot of a model is named: gpt-4o-2024-11-20."""


class Price(Frozen):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """For input read from the provider's cache; None: as other input."""
    as_of: str | None = None
    """When this was the list price, for the table's own entries."""


def price_of(model: str) -> Price | None:
    """The list price of a model by its exact name, or of the model that it is a dated snapshot of."""
    table = _table()
    return table.get(model) or table.get(DATED.sub("", model))


def cost_at(price: Price, usage: Usage) -> float:
    """What a call cost at this price, USD."""
    cached_price = price.input if price.cached_input is None else price.cached_input
    sent = (usage.input_tokens - usage.cached_tokens) * price.input + usage.cached_tokens * cached_price
    # Sums of prices in cents have no more digits than this; the rest is how floats are added.
    return round((sent + usage.output_tokens * price.output) / MILLION, 12)


@cache
def _table() -> dict[str, Price]:
    table = orjson.loads(files(__package__).joinpath("prices.json").read_bytes())
    return {model: Price(**entry) for model, entry in table["models"].items()}
