"""What is said of tool calls: the part of the union in events.py. No position, no clock, no logic."""

from typing import Literal

from ledgent.schemas.agents import OnUncertain
from ledgent.schemas.errors import ErrorInfo
from ledgent.schemas.frozen import Event
from ledgent.schemas.values import Cut, Part


class ToolCallStarted(Event):
    type: Literal["tool_call.started"] = "tool_call.started"
    call_id: str
    attempt: int = 1
    name: str
    arguments: str
    idempotency_key: str
    """The same for every attempt of the call."""


class ToolCallCompleted(Event):
    type: Literal["tool_call.completed"] = "tool_call.completed"
    call_id: str
    attempt: int = 1
    result: str
    """What the model is told."""
    duration_ms: float | None
    """None: imported, and not known."""
    files: tuple[Part, ...] = ()
    """Shown to the model beside it."""
    whole: Part | None = None
    """The whole result, where the model is told only its beginning."""


class ToolCallFailed(Event):
    type: Literal["tool_call.failed"] = "tool_call.failed"
    call_id: str
    attempt: int = 1
    error: ErrorInfo
    """Its message is what the model is told."""
    duration_ms: float | None = None
    cut: Cut | None = None


class ToolCallRejected(Event):
    """The call never started."""

    type: Literal["tool_call.rejected"] = "tool_call.rejected"
    call_id: str
    name: str
    reason: Literal["unknown_tool", "invalid_arguments", "not_made_before"]
    message: str
    """What the model is told."""
    suggestions: tuple[str, ...] = ()


class ToolCallUncertain(Event):
    """The process that made the call went away: it may have happened, or may yet happen. Nobody repeats it unasked."""

    type: Literal["tool_call.uncertain"] = "tool_call.uncertain"
    call_id: str
    attempt: int = 1
    message: str
    """What the model is told, or the person who is asked."""
    then: OnUncertain = "ask_model"
