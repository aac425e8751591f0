"""JSON as lines for reading: indented, what has changed marked, long lists and texts cut and each cut said. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

LIST_ITEMS = 20
"""Of a list; its end is what is shown."""
TEXT_CHARACTERS = 4_000


class JsonLine(NamedTuple):
    """One line."""

    depth: int
    text: str
    changed: bool


def lines_of(value: Any, changed: Sequence[tuple[str, Any]] = ()) -> list[JsonLine]:
    """The value's lines; `changed` is what `run_view.changes` says of it."""
    whole = {path for path, change in changed if "added" not in change}
    added = {path: len(change["added"]) for path, change in changed if "added" in change}
    return list(_lines(value, "", 0, "", "", False, whole, added))


def pretty(value: Any) -> str:
    """The value as indented JSON, whole."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def pretty_text(text: str) -> str:
    """JSON text indented; any other text as it is."""
    try:
        return pretty(orjson.loads(text))
    except orjson.JSONDecodeError:
        return text


def cut(text: str, size: int) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out."""
    return (text, 0) if len(text) <= size else (text[:size], len(text) - size)


def _lines(
    value: Any, path: str, depth: int, before: str, after: str, changed: bool, whole: set[str], added: dict[str, int]
) -> Iterator[JsonLine]:
    """`before` and `after` are what stands on the first line before the value and on the last one after it."""
    changed = changed or path in whole
    if isinstance(value, dict) and value:
        yield JsonLine(depth, before + "{", changed)
        for number, (name, item) in enumerate(value.items(), 1):
            within = f"{path}.{name}" if path else str(name)
            comma = "," if number < len(value) else ""
            yield from _lines(item, within, depth + 1, f"{_scalar(name)}: ", comma, changed, whole, added)
        yield JsonLine(depth, "}" + after, changed)
    elif isinstance(value, list) and value:
        new = added.get(path, 0)
        skipped = max(len(value) - max(LIST_ITEMS, new), 0)
        yield JsonLine(depth, before + "[", changed)
        if skipped:
            yield JsonLine(depth + 1, f"… the first {skipped:,} of {len(value):,} are not shown", False)
        for index in range(skipped, len(value)):
            comma = "," if index < len(value) - 1 else ""
            is_new = changed or index >= len(value) - new
            yield from _lines(value[index], f"{path}[{index}]", depth + 1, "", comma, is_new, whole, added)
        yield JsonLine(depth, "]" + after, changed)
    else:
        yield JsonLine(depth, before + _scalar(value) + after, changed)


def _scalar(value: Any) -> str:
    written = orjson.dumps(value).decode()
    shown, missing = cut(written, TEXT_CHARACTERS)
    return f"{shown}… ({missing:,} more characters)" if missing else shown
