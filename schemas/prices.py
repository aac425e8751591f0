"""What tokens cost: a model's price, as its table has it and as a run freezes it. Data only."""

from pydantic import Field

from ledgent.schemas.frozen import Frozen


class Rates(Frozen):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """For input read from the provider's cache; None: as other input."""
    cache_write: float | None = Field(default=None, ge=0)
    """For input written into the provider's cache; None: as other input."""
    cache_write_1h: float | None = Field(default=None, ge=0)
    """For input written there for an hour, where that costs more; None: as `cache_write`."""


class LongPrompt(Rates):
    """What a whole call costs whose prompt is longer than `tokens`."""

    tokens: int = Field(ge=1)


class Price(Rates):
    """A model's price."""

    long_prompt: LongPrompt | None = None
    as_of: str | None = None
    """When this was the list price, for the table's own entries."""
