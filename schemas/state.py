"""The state that a run's events fold into: values only. How events change it is in run.py and calls.py.

Structs, since a fold makes several for each record, and named tuples take five times as long.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.errors import ErrorInfo
from ledgent.schemas.persistent import PersistentList
from ledgent.schemas.values import Part, ToolRequest


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
    """Messages of the run that this one began from that are still to be recorded."""
    numbered: int = 0
    """Model calls of that run: the numbering goes on."""
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

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


def as_json(state: RunState) -> dict[str, Any]:
    """The state as JSON-able values, for people and for comparing: messages in the chat-completions form."""
    model_call = state.model_call
    return {
        "run_id": state.run_id,
        "status": str(state.status),
        "seq": state.seq,
        "epoch": state.epoch,
        "now": state.now.isoformat() if state.now else None,
        "agent": state.agent.name if state.agent else None,
        "limits": state.limits.model_dump(exclude_none=True),
        "spent": msgspec.structs.asdict(state.spent),
        "checkpoints": state.checkpoints,
        "suspended": state.suspended,
        "cancel_requested": state.cancel_requested,
        "end_requested": state.end_requested,
        "model_call": _call_as_json(model_call) if model_call else None,
        "tool_calls": [_tool_call_as_json(call) for call in state.tool_calls.values()],
        "inbox": [message_as_json(message)["content"] for message in state.inbox],
        "context": _context_as_json(state.context),
        "messages": [message_as_json(message) for message in with_files(state.messages)],
        "output": state.output,
        "error": state.error.model_dump(mode="json", exclude_none=True) if state.error else None,
        "limit": state.limit,
        "wholes": {call_id: str(whole) for call_id, whole in state.wholes.items()},
    }


def message_as_json(message: Message) -> dict[str, Any]:
    """The message as chat completions write it."""
    match message:
        case User(text, ()):
            return {"role": "user", "content": text}
        case User(text, parts):
            said = [{"type": "text", "text": text}] if text else []
            return {"role": "user", "content": [*map(_part_as_json, parts), *said]}
        case ToolResult(provider_id, text):
            return {"role": "tool", "tool_call_id": provider_id, "content": text}
        case Assistant(text, ()):
            return {"role": "assistant", "content": text}
        case Assistant(text, tool_calls):
            asked = [
                {
                    "id": c.provider_id,
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                }
                for c in tool_calls
            ]
            return {"role": "assistant", "content": text, "tool_calls": asked}


def with_files(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages as they can be sent: tool messages hold texts only, so the files of a round follow all its results.

    Each round that gave files is followed by a user's message with them, which says whose they are.
    """
    given: list[ToolResult] = []
    for message in messages:
        if given and not isinstance(message, ToolResult):
            yield _given(given)
            given = []
        if isinstance(message, ToolResult) and message.parts:
            given.append(message)
        yield message
    if given:
        yield _given(given)


def _given(results: list[ToolResult]) -> User:
    told = "; ".join(
        f"{part.name or part.media_type} by {result.provider_id}" for result in results for part in result.parts
    )
    parts = tuple(part for result in results for part in result.parts)
    return User(f"These files were given by tool calls, in this order: {told}.", parts)


def _part_as_json(part: Part) -> dict[str, Any]:
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.reference}}
    # Providers ask for a name, and some go by its ending.
    name = part.name or ("file.pdf" if part.media_type == "application/pdf" else "file")
    return {"type": "file", "file": {"filename": name, "file_data": part.reference}}


def _context_as_json(context: Context) -> dict[str, Any]:
    shortened = {str(place): characters for place, characters in context.shortened.items()}
    return {**msgspec.structs.asdict(context), "shortened": shortened}


def _call_as_json(call: ModelCall) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "attempt": call.attempt,
        "phase": str(call.phase),
        "error": call.error.message if call.error else None,
        "asked": call.asked,
    }


def _tool_call_as_json(call: ToolCall) -> dict[str, Any]:
    return {
        "call_id": call.request.call_id,
        "name": call.request.name,
        "arguments": call.request.arguments,
        "attempt": call.attempt,
        "phase": str(call.phase),
        "answer": call.answer,
        "question": call.question,
        "choices": list(call.choices),
    }
