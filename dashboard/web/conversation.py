"""A run as the talk it was: who said what, which tools were called and what they gave. Pure: records in, turns out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ledgent.dashboard.timeline import remembered, sent_less, took, what_of_the_run
from ledgent.schemas.codec import Recorded
from ledgent.schemas.events import (
    CheckpointSaved,
    ContextSummarized,
    ContextTrimmed,
    HistoryShared,
    MemoryRead,
    MemoryWritten,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallToolRequested,
    ModelFellBack,
    OutputRejected,
    QuestionAnswered,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    RunCancelled,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunStarted,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.values import Part, SharedMessage, ToolRequest

TURNS_PER_PAGE = 100


@dataclass
class ToolUse:
    """A tool call that an answer asked for, and what has come of it so far."""

    request: ToolRequest
    state: str = "waiting"
    """`waiting`, `running`, `ok`, `error`, `rejected`, `uncertain` or `reused`."""
    answer: str | None = None
    """What the model is told."""
    attempts: int = 0
    duration_ms: float | None = None
    seq: int = 0
    """Of the record with the outcome so far; 0: none."""
    files: tuple[Part, ...] = ()
    """Shown to the model beside the answer."""


@dataclass(frozen=True)
class Turn:
    """Something said, or a remark on how it went."""

    role: str
    """`system`, `user`, `assistant` or `note`."""
    seq: int
    text: str = ""
    reasoning: str = ""
    tools: tuple[ToolUse, ...] = ()
    fold: str = ""
    """What stands behind a note, shown when it is opened."""
    tone: str = "calm"
    facts: tuple[str, ...] = field(default=())
    """Small print: model, tokens, duration; each file sent with it."""


def turns_of(records: Sequence[Recorded]) -> list[Turn]:
    """The talk so far, in order."""
    turns: list[Turn] = []
    uses: dict[str, ToolUse] = {}
    early: list[ToolUse] = []
    shared = 0
    for record in records:
        event = record.event
        match event:
            case RunStarted():
                if event.agent.instructions:
                    turns.append(Turn("system", record.seq, event.agent.instructions))
                shared = len(turns)  # what it shares with another run comes before what the user says in it
                if event.input is not None:
                    turns.append(Turn("user", record.seq, event.input, facts=tuple(map(str, event.files))))
            case HistoryShared():
                before = _shared(record.seq, event.messages)
                turns[shared:shared] = before
                shared += len(before)
            case CheckpointSaved():
                turns.append(Turn("note", record.seq, f"Checkpoint {event.name}"))
            case MessageReceived():
                turns.append(Turn("user", record.seq, event.text, facts=tuple(map(str, event.files))))
            case ModelCallToolRequested():
                use = uses[event.request.call_id] = ToolUse(event.request)
                early.append(use)
            case MemoryRead(call_id=""):
                said, tone = f"Memory: {remembered(event)}", "bad" if event.error else "calm"
                turns.append(Turn("note", record.seq, said, fold="\n".join(event.entries), tone=tone))
            case MemoryRead():
                pass  # the tool's result says it
            case MemoryWritten():
                turns.append(Turn("note", record.seq, "Written to memory", fold=event.text))
            case ModelCallCompleted(purpose="summary"):
                pass  # told once it takes effect
            case ContextSummarized() | ContextTrimmed():
                summary = event.summary if isinstance(event, ContextSummarized) else ""
                turns.append(Turn("note", record.seq, f"To the model, {sent_less(event)}", fold=summary, tone="odd"))
            case ModelCallCompleted():
                turn = _answer(record.seq, event, uses)
                early = []
                uses = {use.request.call_id: use for use in turn.tools}
                turns.append(turn)
            case ModelCallFailed():
                turns += _unfinished(record.seq, [use for use in early if use.seq])
                early = []
                said = f"Attempt {event.attempt} of {event.call_id} failed, {event.error.code}: {event.error.message}"
                turns.append(Turn("note", record.seq, said, tone="bad"))
            case RateLimitWaited():
                wait = f"Waited {took(event.delay_s * 1_000)} for the rate limit before {event.call_id} was asked"
                turns.append(Turn("note", record.seq, wait, tone="odd"))
            case QuestionAsked():
                turns.append(Turn("note", record.seq, f"It asks the user: {event.question}", facts=event.choices))
            case ToolCallUncertain(then="ask_person"):
                turns.append(Turn("note", record.seq, event.message, tone="bad"))
                _settle(uses, record)
            case QuestionAnswered():
                turns.append(Turn("user", record.seq, event.text, facts=(event.by,) if event.by else ()))
                _settle(uses, record)
            case RetryScheduled():
                wait = f"Waited {took(event.delay_s * 1_000)} before attempt {event.attempt} of {event.call_id}"
                turns.append(Turn("note", record.seq, wait, tone="odd"))
            case ModelFellBack():
                fell = f"{event.from_model} was given up after {event.reason}; {event.to_model} was asked from here on"
                turns.append(Turn("note", record.seq, fell, tone="odd"))
            case OutputRejected():
                turns.append(Turn("note", record.seq, f"The answer was sent back: {event.message}", tone="bad"))
            case RunEndRequested():
                turns.append(Turn("note", record.seq, "The conversation was asked to end"))
            case RunCompleted() | RunFailed() | RunCancelled() | RunLimited():
                turns.append(_end(record.seq, event))
            case _:
                _settle(uses, record)
    return turns + _unfinished(records[-1].seq if records else 0, early)


def _unfinished(seq: int, early: Sequence[ToolUse]) -> list[Turn]:
    """What an answer that is not whole has asked for."""
    return [Turn("assistant", seq, tools=tuple(early))] if early else []


def _shared(seq: int, messages: Sequence[SharedMessage]) -> list[Turn]:
    """What was said in the run that this one went on from."""
    turns: list[Turn] = []
    asked: list[ToolUse] = []
    for message in messages:
        if message.role == "tool" and asked:
            use = asked.pop(0)
            use.state, use.answer, use.seq = "ok", message.text, seq
        elif message.role != "tool":
            tools = tuple(ToolUse(request) for request in message.tool_calls)
            asked = list(tools)
            turns.append(Turn(message.role, seq, message.text or "", tools=tools, facts=("from another run",)))
    return turns


def _answer(seq: int, event: ModelCallCompleted, uses: Mapping[str, ToolUse]) -> Turn:
    usage = event.usage
    used = f"{usage.input_tokens:,} → {usage.output_tokens:,} tokens" if usage.input_tokens else ""
    facts = tuple(fact for fact in (event.model or "", used, took(event.duration_ms)) if fact)
    tools = tuple(uses.get(request.call_id) or ToolUse(request) for request in event.tool_calls)
    return Turn("assistant", seq, event.text or "", event.reasoning or "", tools, facts=facts)


def _end(seq: int, event: RunCompleted | RunFailed | RunCancelled | RunLimited) -> Turn:
    match event:
        case RunCompleted():
            return Turn("note", seq, "The run completed", tone="good")
        case RunFailed():
            return Turn("note", seq, f"The run failed, {what_of_the_run(event)}", tone="bad")
        case RunLimited():
            return Turn("note", seq, f"The run reached a limit, {what_of_the_run(event)}", tone="odd")
        case RunCancelled():
            return Turn("note", seq, f"The run was cancelled: {event.reason or 'no reason given'}", tone="odd")


def _settle(uses: dict[str, ToolUse], record: Recorded) -> None:
    """Notes what has come of a tool call; what is said of one that is not known is passed over."""
    event = record.event
    use = uses.get(getattr(event, "call_id", ""))
    if use is None:
        return
    use.seq = record.seq
    match event:
        case ToolCallStarted():
            use.state, use.attempts = "running", event.attempt
        case ToolCallCompleted():
            use.state, use.answer, use.duration_ms = "ok", event.result, event.duration_ms
            use.files = event.files
        case QuestionAnswered():
            use.state, use.answer = "ok", event.text
        case ToolCallReused():
            use.state, use.answer, use.files = "reused", event.result, event.files
        case ToolCallFailed():
            use.state, use.answer, use.duration_ms = "error", event.error.message, event.duration_ms
        case ToolCallRejected():
            use.state, use.answer = "rejected", event.message
        case ToolCallUncertain():
            use.state, use.answer = "uncertain", event.message
        case _:
            pass
