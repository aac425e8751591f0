"""What is said: the payload of every event, one frozen class each, and their union. No position, no clock, no logic.

An event says what happened, in the past tense; where it stands in its run is in `Recorded` (codec.py). A class exists
only once some code emits it. A changed shape raises `version` and gets an upcast in codec.py. What people are asked and
say is in people_events.py, what is said of restoring runs in sharing_events.py, of memory in memory_events.py.
"""

from typing import Literal

from pydantic import Field

from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.context_events import ContextSummarized as ContextSummarized
from ledgent.schemas.context_events import ContextTrimmed as ContextTrimmed
from ledgent.schemas.errors import ErrorInfo
from ledgent.schemas.frozen import Event as Event
from ledgent.schemas.memory_events import MemoryRead as MemoryRead
from ledgent.schemas.memory_events import MemoryReadStarted as MemoryReadStarted
from ledgent.schemas.memory_events import MemoryWritten as MemoryWritten
from ledgent.schemas.people_events import ApprovalDenied as ApprovalDenied
from ledgent.schemas.people_events import ApprovalGranted as ApprovalGranted
from ledgent.schemas.people_events import ApprovalRequested as ApprovalRequested
from ledgent.schemas.people_events import QuestionAnswered as QuestionAnswered
from ledgent.schemas.people_events import QuestionAsked as QuestionAsked
from ledgent.schemas.resilience_events import ModelFellBack as ModelFellBack
from ledgent.schemas.resilience_events import RateLimitWaited as RateLimitWaited
from ledgent.schemas.resilience_events import RetryScheduled as RetryScheduled
from ledgent.schemas.sharing_events import CheckpointSaved as CheckpointSaved
from ledgent.schemas.sharing_events import HistoryShared as HistoryShared
from ledgent.schemas.sharing_events import ToolCallReused as ToolCallReused
from ledgent.schemas.tool_events import ToolCallCompleted as ToolCallCompleted
from ledgent.schemas.tool_events import ToolCallFailed as ToolCallFailed
from ledgent.schemas.tool_events import ToolCallRejected as ToolCallRejected
from ledgent.schemas.tool_events import ToolCallStarted as ToolCallStarted
from ledgent.schemas.tool_events import ToolCallUncertain as ToolCallUncertain
from ledgent.schemas.values import Cut, ForkedFrom, Imported, Part, ToolRequest, Usage

# run ----------------------------------------------------------------------------------------------------------------


class RunClaimed(Event):
    """A writer took the run up; from here on only its records count."""

    type: Literal["run.claimed"] = "run.claimed"
    reason: Literal["started", "resumed", "taken_over"]


class RunStarted(Event):
    type: Literal["run.started"] = "run.started"
    request_id: str
    agent: AgentSpec
    input: str | None = None
    """The first user message; None: the conversation waits for one."""
    limits: Limits
    """In force for this run: the agent's, overridden by the request's."""
    session: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    forked_from: ForkedFrom | None = None
    """The run that this one goes on from; `input` then comes after what they share."""
    files: tuple[Part, ...] = ()
    """Sent with the input."""
    imported: Imported | None = None
    """Where the run was recorded, if not here; then nothing in it was decided, asked or called by ledgent."""


class RunSuspended(Event):
    type: Literal["run.suspended"] = "run.suspended"
    reason: Literal["input", "approval", "answer", "handed_over"]


class MessageReceived(Event):
    """The user said something more; it wakes a run that waits for input."""

    type: Literal["message.received"] = "message.received"
    request_id: str
    text: str
    files: tuple[Part, ...] = ()


class RunEndRequested(Event):
    """The conversation is over once what is under way has settled."""

    type: Literal["run.end_requested"] = "run.end_requested"
    request_id: str


class RunCancelRequested(Event):
    """What is under way is stopped, then the run is cancelled."""

    type: Literal["run.cancel_requested"] = "run.cancel_requested"
    request_id: str
    reason: str = ""


class TimerFired(Event):
    type: Literal["timer.fired"] = "timer.fired"
    timer_seq: int
    """The seq of the record that set the timer."""


class RunCompleted(Event):
    type: Literal["run.completed"] = "run.completed"
    output: str | None = None
    reason: str | None = None
    """Why, where a terminator says so."""


class RunFailed(Event):
    type: Literal["run.failed"] = "run.failed"
    error: ErrorInfo


class RunCancelled(Event):
    type: Literal["run.cancelled"] = "run.cancelled"
    reason: str = ""


class RunLimited(Event):
    """The run reached a bound before it was done."""

    type: Literal["run.limited"] = "run.limited"
    limit: Literal["steps", "tokens", "cost_usd", "seconds", "tool_calls", "repeats", "idle_steps", "step_seconds"]
    bound: float
    used: float


# model --------------------------------------------------------------------------------------------------------------


class ModelCallStarted(Event):
    type: Literal["model_call.started"] = "model_call.started"
    call_id: str
    attempt: int = 1
    provider: str
    model: str
    request_digest: str
    """SHA-256 of the request's bytes; replay builds the request from the log and compares. Empty: imported, unknown."""
    purpose: Literal["answer", "summary"] = "answer"
    upto: int | None = None
    """Of a summary: it is of the messages before this place, counted from 0."""


class ModelCallToolRequested(Event):
    """A call that the model has asked for in full while it is still answering; its answer will begin with these."""

    type: Literal["model_call.tool_requested"] = "model_call.tool_requested"
    call_id: str
    attempt: int = 1
    request: ToolRequest


class ModelCallCompleted(Event):
    type: Literal["model_call.completed"] = "model_call.completed"
    call_id: str
    attempt: int = 1
    text: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolRequest, ...] = ()
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: the price of this model is not known."""
    finish_reason: str | None = None
    model: str | None = None
    """The model that answered, as the provider names it."""
    response_id: str | None = None
    first_token_ms: float | None = None
    """From the start of the attempt; streamed calls only."""
    duration_ms: float | None
    """None: imported, and not known."""
    cut: Cut | None = None
    purpose: Literal["answer", "summary"] = "answer"


class ModelCallFailed(Event):
    type: Literal["model_call.failed"] = "model_call.failed"
    call_id: str
    attempt: int = 1
    error: ErrorInfo
    usage: Usage = Usage()
    """What the failed attempt is known to have used."""
    cost_usd: float | None = None
    duration_ms: float | None = None
    """None: the process that made the call is gone."""
    maybe_usage: Usage = Usage()
    """About what it may have used beyond that, where its process went away and nobody saw the answer."""
    maybe_cost_usd: float | None = None
    """What that would cost."""


class ThoughtRecorded(Event):
    """What a model that thinks before it acts said in its last answer: a thought, and an action or the final answer."""

    type: Literal["thought.recorded"] = "thought.recorded"
    call_id: str
    """The model call's."""
    thought: str
    action: ToolRequest | None = None
    """Asked for in text; None: its tool calls are in the answer, or it acts no more."""
    answer: str | None = None
    """The final answer, given in text."""


class OutputAccepted(Event):
    """An answer is of the agent's output type."""

    type: Literal["output.accepted"] = "output.accepted"
    output: str
    """The value as JSON."""


class OutputRejected(Event):
    """An answer is not of the agent's output type."""

    type: Literal["output.rejected"] = "output.rejected"
    attempt: int
    """How many answers in a row have been rejected, this one included."""
    message: str
    """What the model is told."""


AnyEvent = (
    RunClaimed
    | RunStarted
    | RunSuspended
    | MessageReceived
    | RunEndRequested
    | RunCancelRequested
    | TimerFired
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunLimited
    | ModelCallStarted
    | ModelCallToolRequested
    | ModelCallCompleted
    | ModelCallFailed
    | ThoughtRecorded
    | OutputAccepted
    | OutputRejected
    | ContextSummarized
    | ContextTrimmed
    | ToolCallStarted
    | ToolCallCompleted
    | ToolCallFailed
    | ToolCallRejected
    | ToolCallUncertain
    | ApprovalRequested
    | ApprovalGranted
    | ApprovalDenied
    | QuestionAsked
    | QuestionAnswered
    | CheckpointSaved
    | HistoryShared
    | ToolCallReused
    | MemoryReadStarted
    | MemoryRead
    | MemoryWritten
    | RetryScheduled
    | ModelFellBack
    | RateLimitWaited
)

EVENT_CLASSES: dict[str, type[AnyEvent]] = {cls.model_fields["type"].default: cls for cls in AnyEvent.__args__}
"""Every payload class by its type name."""

TERMINAL_TYPES = frozenset({"run.completed", "run.failed", "run.cancelled", "run.limited"})
"""After one of these a run takes no more records."""
