"""What is said of what a run sends to its model: that it became less. No position, no clock, no logic."""

from typing import Literal

from ledgent.schemas.frozen import Event


class ContextSummarized(Event):
    """A summary is sent to the model from here on in place of what it sums up; that stays in the log."""

    type: Literal["context.summarized"] = "context.summarized"
    call_id: str
    """The model call that wrote it."""
    upto: int
    """The first message, counted from 0, that is still sent as it is, besides the user's first."""
    summary: str
    tokens_before: int
    tokens_after: int
    """Of the next request; an estimate."""


class ContextTrimmed(Event):
    """Some of the messages are no longer sent to the model, or not all of their text; they stay in the log."""

    type: Literal["context.trimmed"] = "context.trimmed"
    start: int
    """The first message, counted from 0, that is still sent, besides the user's first; 0: all are."""
    shortened: tuple[int, ...] = ()
    """The places of tools' results that are sent without their middle."""
    longest: int | None = None
    """How many characters of each of them are sent."""
    tokens_before: int
    tokens_after: int
    """Of the next request; an estimate."""
