"""What model calls cost: a dated table of list prices, and the sum for a call. The bill is the provider's."""

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import orjson

from ledgent.schemas.prices import LongPrompt as LongPrompt
from ledgent.schemas.prices import Price as Price
from ledgent.schemas.prices import Rates as Rates
from ledgent.schemas.values import Usage

MILLION = 1_000_000
DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")
"""How a snapshot of a model is named: gpt-4o-2024-11-20."""


class Bill(NamedTuple):
    """What a call used, as far as it is told."""

    usage: Usage = Usage()
    cost_usd: float | None = None
    """What the provider itself says it cost."""
    cache_write: int = 0
    """Of the input, tokens written into the provider's cache to stay a few minutes."""
    cache_write_1h: int = 0
    """And those to stay an hour."""


def price_of(model: str) -> Price | None:
    """The list price of a model by its exact name, or of the model that it is a dated snapshot of."""
    table = _table()
    return table.get(model) or table.get(DATED.sub("", model))


def cost_at(price: Price, usage: Usage) -> float:
    """What a call cost at this price, USD, that wrote nothing into the provider's cache."""
    return bill_at(price, Bill(usage))


def bill_at(price: Price, bill: Bill) -> float:
    """What a call cost at this price, USD."""
    usage, long = bill.usage, price.long_prompt
    rates: Rates = long if long is not None and usage.input_tokens > long.tokens else price
    write = _or(rates.cache_write, rates.input)
    plain = max(0, usage.input_tokens - usage.cached_tokens - bill.cache_write - bill.cache_write_1h)
    total = (
        plain * rates.input
        + usage.cached_tokens * _or(rates.cached_input, rates.input)
        + bill.cache_write * write
        + bill.cache_write_1h * _or(rates.cache_write_1h, write)
        + usage.output_tokens * rates.output
    )
    # Sums of prices in cents have no more digits than this; the rest is how floats are added.
    return round(total / MILLION, 12)


def _or(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price


@cache
def _table() -> dict[str, Price]:
    table = orjson.loads(files(__package__).joinpath("prices.json").read_bytes())
    return {model: Price(**entry) for model, entry in table["models"].items()}
