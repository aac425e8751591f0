"""What is said of waits and ways around a failed call: the part of the union in events.py. No position, no clock, no
logic."""

from typing import Literal

from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.frozen import Event


class RetryScheduled(Event):
    type: Literal["retry.scheduled"] = "retry.scheduled"
    call_id: str
    attempt: int
    """The attempt that the wait is for."""
    delay_s: float
    """Drawn once and recorded, so that a replay is exact."""
    code: ErrorCode
    """Why the attempt before it failed."""


class RateLimitWaited(Event):
    """The call would be more than the provider allows: it is not made before its turn has come."""

    type: Literal["rate_limit.waited"] = "rate_limit.waited"
    call_id: str
    attempt: int
    """The attempt that waits."""
    delay_s: float
    reason: Literal["requests", "tokens", "told"]
    """What there is too little of in this minute; `told`: the provider has asked all callers to wait."""
    upto: int | None = None
    """Where the call is for a summary: of the messages before this place."""


class ModelFellBack(Event):
    """A model was given up for this call, which goes on with another."""

    type: Literal["model.fell_back"] = "model.fell_back"
    call_id: str
    attempt: int
    """The first attempt that the other model is asked for."""
    from_model: str
    to_model: str
    index: int
    """Which of the agent's models the other is: 0 its first, then its fallbacks."""
    reason: ErrorCode
    """Of the last failure of the one given up."""
