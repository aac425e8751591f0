"""The state that a run's events fold into: values only. How events change it is in run.py and calls.py.

Structs, since a fold makes several for each record, and named tuples take five times as long.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.errors import ErrorInfo
from ledgent.schemas.persistent import PersistentList
from ledgent.schemas.values import ForkedFrom, Part, RecordedCall, ToolRequest


class Status(StrEnum):
    """Where a run stands: new, running or suspended, then exactly one of the terminal four."""

    NEW = "new"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LIMITED = "limited"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.LIMITED})


class Phase(StrEnum):
    """Where a call stands."""

    REQUESTED = "requested"
    RUNNING = "running"
    HELD = "held"
    """Until a person allows it, or answers it."""
    LOST = "lost"
    """It was running when another writer took the run up."""
    FAILED = "failed"
    """An attempt failed and what follows is not yet decided."""
    WAITING = "waiting"
    """For the timer of its next attempt."""
    DUE = "due"
    """Its next attempt may start."""
    SETTLED = "settled"


class User(msgspec.Struct, frozen=True, gc=False):
    text: str
    parts: tuple[Part, ...] = ()


class Assistant(msgspec.Struct, frozen=True, gc=False):
    text: str | None
    tool_calls: tuple[ToolRequest, ...]


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    provider_id: str
    text: str
    parts: tuple[Part, ...] = ()


Message = User | Assistant | ToolResult


class ModelCall(msgspec.Struct, frozen=True, gc=False):
    """The model call under way."""

    call_id: str
    attempt: int = 1
    phase: Phase = Phase.RUNNING
    error: ErrorInfo | None = None
    timer_seq: int | None = None
    due_at: datetime | None = None
    asked: int = 0
    """How many tool calls its attempts have asked for while they were still answering."""
    timeouts: int = 0
    """How many of its attempts at this model ran into a time-out."""
    first: int = 1
    """The first attempt at the model that is asked now."""
    models: int = 1
    """How many models have been asked."""


class FellBack(msgspec.Struct, frozen=True, gc=False):
    """Which of the agent's models took the place of the first."""

    index: int
    until: datetime
    """New calls go to it before then."""


class SummaryCall(ModelCall, frozen=True, gc=False):
    """The model call under way, where it is for a summary; settled until what it says has taken effect."""

    upto: int = 0
    """It sums up the messages before this place, as far as they are still sent."""
    refused: ModelCall | None = None
    """The call for an answer that comes after it, where that had been refused for its length."""
    text: str | None = None
    """What it says, once settled."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A tool call of the model's last answer, or of the one that it is giving."""

    request: ToolRequest
    attempt: int = 0
    phase: Phase = Phase.REQUESTED
    error: ErrorInfo | None = None
    answer: str | None = None
    """What the model will be told, once settled."""
    timer_seq: int | None = None
    due_at: datetime | None = None
    question: str | None = None
    """What it asks the user, while held."""
    choices: tuple[str, ...] = ()
    """The answers there are; empty: any text."""
    parts: tuple[Part, ...] = ()
    """Shown to the model beside the answer."""

    @property
    def uncertain(self) -> bool:
        """Whether a person is to say what became of it: it is held although it had begun."""
        return self.phase is Phase.HELD and self.attempt > 0


class Spent(msgspec.Struct, frozen=True, gc=False):
    """What the run has used up so far."""

    steps: int = 0
    """Model calls, each counted once however many attempts it took."""
    tool_calls: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    maybe_tokens: int = 0
    """About what lost model calls may have used beyond that: they may have been billed, and were made again."""
    maybe_cost_usd: float = 0.0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Context(msgspec.Struct, frozen=True, gc=False):
    """What of the messages is sent to the model, and how many tokens that takes; reducers in sent.py."""

    tokens: int = 0
    """Of the last request and its answer; 0: there was none yet."""
    counted: int = 0
    """How many of the messages those tokens are of."""
    start: int = 0
    """The first message that is sent as it is, besides the user's first; 0: all are."""
    summary: str | None = None
    """Sent in place of those before it."""
    omitted: bool = False
    """Whether some of those before it are not in the summary either."""
    shortened: dict[int, int] = msgspec.field(default_factory=dict)
    """Results of tools that are sent without their middle: how many characters of each, by place."""
    summaries: int = 0
    """Model calls for a summary so far."""
    reductions: int = 0
    """How often what is sent was reduced since the last answer."""


class RunState(msgspec.Struct, frozen=True, gc=False):
    """A run after the last record folded; the least that a decision needs."""

    run_id: str
    status: Status = Status.NEW
    seq: int = 0
    epoch: int = 0
    now: datetime | None = None
    started_at: datetime | None = None
    agent: AgentSpec | None = None
    limits: Limits = Limits()
    session: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    applied: PersistentList[str] = msgspec.field(default_factory=PersistentList)
    """Ids of the requests that have caused their event."""
    messages: PersistentList[Message] = msgspec.field(default_factory=PersistentList)
    inbox: tuple[User, ...] = ()
    """User messages that came while calls were under way."""
    model_call: ModelCall | None = None
    tool_calls: dict[str, ToolCall] = msgspec.field(default_factory=dict)
    """The calls of the model's last answer by call id, until all are settled and the answer is whole or given up."""
    spent: Spent = Spent()
    unread: str | None = None
    """The model call whose answer's thought has not been recorded yet."""
    checked: bool = False
    """Whether the last answer has been found to be of the agent's output type."""
    rejected: int = 0
    """Answers in a row that were not."""
    checkpoints: dict[str, int] = msgspec.field(default_factory=dict)
    """The seq that each name means."""
    awaited: int = 0
    """Messages and calls of the run that this one began from that are still to be recorded."""
    numbered: int = 0
    """Model calls of that run: the numbering goes on."""
    origin: ForkedFrom | None = None
    """Where it began from that run."""
    recorded: tuple[RecordedCall, ...] = ()
    """Later calls of that run, as long as this one makes the same in the same order."""
    suspended: str | None = None
    """Why, while suspended."""
    cancel_requested: str | None = None
    """The reason, once asked for."""
    end_requested: bool = False
    output: str | None = None
    """The last answer, or what the tool that ends the run returned."""
    ending_tools: frozenset[str] = frozenset()
    """The tools that end the run once they have returned."""
    ending: bool = False
    """One of them has."""
    error: ErrorInfo | None = None
    limit: str | None = None
    wholes: dict[str, Part] = msgspec.field(default_factory=dict)
    """By call id, the results of which the model has been told only the beginning."""
    context: Context = Context()
    fell_back: FellBack | None = None
    step_at: datetime | None = None
    """When the last step began."""
    reading: str | None = None
    """What memory is being looked through for."""
    recalled: int = 0
    """For the messages before this place memory has been read, or need not be."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL
