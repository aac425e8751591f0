"""What is said of what agents remember from run to run: looked up, found, written. No position, no clock, no logic."""

from typing import Literal

from ledgent.schemas.errors import ErrorInfo
from ledgent.schemas.frozen import Event


class MemoryReadStarted(Event):
    """The agent's memory is being looked through for what the user has just said."""

    type: Literal["memory.read_started"] = "memory.read_started"
    query: str


class MemoryRead(Event):
    """What memory had to say; the model is told it in its next request, or by the tool that asked."""

    type: Literal["memory.read"] = "memory.read"
    query: str
    entries: tuple[str, ...] = ()
    """The best first; none where nothing was found, or memory could not be read."""
    error: ErrorInfo | None = None
    """Why it could not be read; the run goes on without."""
    duration_ms: float | None = None
    call_id: str = ""
    """The tool call's that asked; empty: it was looked up before the model was asked."""


class MemoryWritten(Event):
    """A tool call has put an entry into the agent's memory, where it is durable."""

    type: Literal["memory.written"] = "memory.written"
    call_id: str
    key: str
    """The call's idempotency key: another attempt with it adds nothing."""
    text: str
