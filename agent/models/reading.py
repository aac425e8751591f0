"""Reading JSON whose shape nobody can promise: what is there in the form it should have, or nothing. No I/O."""

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

import orjson

from ledgent.agent.models.failures import malformed, shown

MOST_TOKENS = 10**12
"""More than that no call has used: whatever the number says, it counts no tokens."""


def parse(data: bytes) -> Any:
    """The value of a JSON text. Raises ModelFailure (malformed_response).

    orjson takes neither NaN nor half a surrogate pair, and servers send both: NaN becomes null, the half a U+FFFD.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return parse_exactly(data)


def parse_exactly(data: bytes) -> Any:
    """As `parse`, several times slower, but integers keep all their digits, however many. Raises ModelFailure."""
    try:
        value = json.loads(data, parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False)
        if _is_unicode(text):
            return value
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise malformed(
            f"the answer is not JSON: {shown(data[:4000].decode(errors='replace')) or 'it is empty'}"
        ) from None


def string(value: object) -> str | None:
    """The value if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def fields(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(values: object, what: str) -> list[dict[str, Any]]:
    """The value if it is a list of objects; nothing is an empty one. Raises ModelFailure (malformed_response)."""
    if not values:
        return []
    if isinstance(values, list):
        for value in values:
            if not isinstance(value, dict):
                break
        else:
            return values
    raise malformed(f"the stream has {what} that are no list of objects: {shown(values)}")


def count(value: object) -> int:
    """The value if it can be a number of tokens, else 0."""
    return int(value) if isinstance(value, int | float) and 0 < value < MOST_TOKENS else 0


def first_count(values: Iterable[object]) -> int:
    """The first number of tokens among the values that is not 0."""
    return next((number for number in map(count, values) if number), 0)


def stated_cost(usage: object) -> float | None:
    """What the provider itself says the call cost, USD."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    if isinstance(cost, int | float) and not isinstance(cost, bool) and isfinite(cost) and cost >= 0:
        return float(cost)
    return None


def arguments_text(arguments: object) -> str:
    """A tool call's arguments as text; some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    try:
        return "" if arguments is None else json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise malformed(f"a tool call's arguments are nested too deep: {shown(arguments)}") from None


def missing_id(number: int) -> str:
    """The id of a tool call that came without one: something must name it when its result is sent back."""
    return f"call_{number}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
