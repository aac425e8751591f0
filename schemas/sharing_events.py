"""What is said of points to restore a run at, and of runs that begin at one. No position, no clock, no logic."""

from typing import Literal

from ledgent.schemas.frozen import Event
from ledgent.schemas.values import Part, RecordedCall, SharedMessage


class CheckpointSaved(Event):
    """The run's state here has a name; a name that was given before means this record from now on."""

    type: Literal["checkpoint.saved"] = "checkpoint.saved"
    name: str
    request_id: str = ""
    """Empty: a tool asked for it."""
    call_id: str = ""
    """The tool's call; empty: it was asked for from outside."""


class HistoryShared(Event):
    """Messages that a restored run has in common with the one that it began from; several records hold many."""

    type: Literal["history.shared"] = "history.shared"
    messages: tuple[SharedMessage, ...] = ()
    output: str | None = None
    """The last answer, where it is not the text of the last of these messages."""
    calls: tuple[RecordedCall, ...] = ()
    """Of that run after those messages, for identical calls to be answered as they were."""


class ToolCallReused(Event):
    """The call was not made: the run that this one began from made the same one, and what came of it stands here."""

    type: Literal["tool_call.reused"] = "tool_call.reused"
    call_id: str
    name: str
    reused_from: str
    """The id of the other run's call."""
    result: str
    """What the model is told."""
    completed: bool
    """Whether the tool returned it there; else it failed, was denied, or the like."""
    files: tuple[Part, ...] = ()
    whole: Part | None = None
