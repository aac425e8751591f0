"""Records as lines for people: when, what, about which call, how long. Pure: it prints nothing and reads no clock."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import orjson

from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    CheckpointSaved,
    ContextSummarized,
    ContextTrimmed,
    HistoryShared,
    MemoryRead,
    MemoryReadStarted,
    MemoryWritten,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    ModelFellBack,
    OutputAccepted,
    OutputRejected,
    QuestionAnswered,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunStarted,
    RunSuspended,
    ThoughtRecorded,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.values import Part

TEXT_CHARACTERS = 160
"""Of a text in a line."""

_TONES = {
    "run.completed": "good",
    "tool_call.completed": "good",
    "model_call.completed": "good",
    "run.failed": "bad",
    "model_call.failed": "bad",
    "tool_call.failed": "bad",
    "tool_call.rejected": "bad",
    "tool_call.uncertain": "bad",
    "tool_call.reused": "odd",
    "approval.granted": "good",
    "approval.denied": "bad",
    "question.answered": "good",
    "output.accepted": "good",
    "output.rejected": "bad",
    "context.summarized": "odd",
    "context.trimmed": "odd",
    "retry.scheduled": "odd",
    "model.fell_back": "odd",
    "rate_limit.waited": "odd",
    "run.limited": "odd",
    "run.cancelled": "odd",
    "run.cancel_requested": "odd",
}


_SUSPENDED = {
    "input": "waits for the next message",
    "approval": "waits until its calls are allowed",
    "answer": "waits until its question is answered",
    "handed_over": "handed over, for any worker",
}


class Line(NamedTuple):
    """One record of a run."""

    seq: int
    at: datetime
    offset_s: float
    """Since the run's first record."""
    type: str
    call_id: str
    what: str
    """On one line, without control characters."""
    took_ms: float | None
    tone: str
    """`good`, `bad`, `odd` or `plain`."""


class Timeline:
    """The lines of one run, fed record by record from the first on: later records name what earlier ones began."""

    def __init__(self) -> None:
        self._began: datetime | None = None
        self._tools: dict[str, str] = {}

    def line(self, record: Recorded) -> Line:
        """The line of the run's next record."""
        self._began = self._began or record.at
        event = record.event
        if isinstance(event, ToolCallStarted | ToolCallRejected):
            self._tools[event.call_id] = event.name
        offset_s = (record.at - self._began).total_seconds()
        took_ms: float | None = getattr(event, "duration_ms", None)
        if event.type in ("run.completed", "run.failed", "run.cancelled", "run.limited"):
            took_ms = offset_s * 1000
        call_id: str = getattr(event, "call_id", "")
        tone = "bad" if event.type == "memory.read" and event.error else _TONES.get(event.type, "plain")
        return Line(
            record.seq,
            record.at,
            offset_s,
            event.type,
            call_id,
            one_line(self._what(event), TEXT_CHARACTERS),
            took_ms,
            tone,
        )

    def _what(self, event: AnyEvent) -> str:
        match event:
            case ToolCallStarted():
                return f"{event.name}({arguments_in_short(event.arguments)}){_attempt(event.attempt)}"
            case ToolCallCompleted():
                return f"{self._tools.get(event.call_id, 'it')} gave {event.result}{files_in_short(event.files)}"
            case ToolCallReused():
                return f"{event.name} not made, as call {event.reused_from} gave {event.result}"
            case ToolCallFailed():
                return f"{self._tools.get(event.call_id, 'it')} failed: {_explained(event.error)}"
            case ToolCallRejected() | ToolCallUncertain() | ApprovalDenied():
                return event.message
            case ApprovalRequested():
                return f"may it call {event.name}({arguments_in_short(event.arguments)})?"
            case ApprovalGranted():
                return f"allowed by {event.by}" if event.by else "allowed"
            case QuestionAsked():
                return f"{event.question} [{' | '.join(event.choices)}]" if event.choices else event.question
            case QuestionAnswered():
                return f"{event.by}: {event.text}" if event.by else event.text
            case ModelCallStarted():
                about = f" for a summary of the messages before {event.upto}" if event.purpose == "summary" else ""
                return f"asks {event.model}{about}{_attempt(event.attempt)}"
            case ModelCallToolRequested(request=request):
                return f"asks for {request.name}({arguments_in_short(request.arguments)})"
            case ModelCallCompleted():
                return _answered(event)
            case ModelCallFailed():
                return _explained(event.error) + _maybe(event) + _attempt(event.attempt)
            case RetryScheduled():
                return f"attempt {event.attempt} in {took(event.delay_s * 1000)}, after {event.code}"
            case RateLimitWaited():
                return f"attempt {event.attempt} in {took(event.delay_s * 1000)}, for the rate limit ({event.reason})"
            case ModelFellBack():
                return f"{event.from_model} is given up after {event.reason}: {event.to_model} is asked next"
            case _:
                return what_of_the_run(event)


def what_of_the_run(event: AnyEvent) -> str:
    """What an event of the run as a whole says; empty for one of a call."""
    match event:
        case RunClaimed():
            return {"started": "a worker took it up", "resumed": "a worker took it up again"}.get(
                event.reason, "another worker took it over"
            )
        case RunStarted():
            who = event.agent.name + (f", imported from {event.imported.source}" if event.imported else "")
            said = f"{who}: {event.input}" if event.input is not None else who
            said += files_in_short(event.files)
            origin = event.forked_from
            if origin is None:
                return said
            otherwise = f" with other {' and '.join(origin.changed)}" if origin.changed else ""
            return f"{said} (from run {short_id(origin.run_id)} at {origin.seq}{otherwise})"
        case CheckpointSaved():
            return event.name
        case HistoryShared():
            if not event.messages:
                return f"{len(event.calls)} tool calls of that run, not to be made again"
            return f"{len(event.messages)} messages, the last: {event.messages[-1].text or ''}"
        case RunSuspended():
            return _SUSPENDED[event.reason]
        case MessageReceived():
            return event.text + files_in_short(event.files)
        case RunEndRequested():
            return "the conversation may end"
        case RunCancelRequested() | RunCancelled():
            return event.reason
        case TimerFired():
            return f"the wait of record {event.timer_seq} is over"
        case ThoughtRecorded():
            return event.thought
        case OutputAccepted():
            return event.output
        case OutputRejected():
            return event.message
        case ContextSummarized():
            return f"{sent_less(event)}: {event.summary}"
        case ContextTrimmed():
            return sent_less(event)
        case MemoryReadStarted():
            return f"what is remembered about: {event.query}"
        case MemoryRead():
            return remembered(event) + "".join(f" | {entry}" for entry in event.entries)
        case MemoryWritten():
            return event.text
        case RunCompleted():
            return event.output or ""
        case RunFailed():
            return _explained(event.error)
        case RunLimited():
            return f"{event.limit}: {event.used:g} used of {event.bound:g}"
        case _:
            return ""


def sent_less(event: ContextSummarized | ContextTrimmed) -> str:
    """What is no longer sent to the model, and what that saves."""
    saved = f"about {event.tokens_before:,} tokens become {event.tokens_after:,}"
    if isinstance(event, ContextSummarized):
        return f"the messages before {event.upto} are summed up, {saved}"
    what = [f"the messages before {event.start} are no longer sent"] if event.start else []
    if event.shortened:
        results = "1 result is" if len(event.shortened) == 1 else f"{len(event.shortened)} results are"
        what.append(f"{results} sent with {event.longest:,} characters at most")
    return f"{' and '.join(what)}, {saved}"


def remembered(event: MemoryRead) -> str:
    """What a look through memory gave, or why it gave nothing."""
    if event.error is not None:
        return f"could not be read, {_explained(event.error)}"
    found = len(event.entries)
    return {0: "nothing is remembered", 1: "1 entry is remembered"}.get(found, f"{found} entries are remembered")


def took(duration_ms: float | None) -> str:
    """A duration in the unit that suits it; empty for none."""
    if duration_ms is None:
        return ""
    if duration_ms < 1:
        return f"{duration_ms:.1f} ms"
    if duration_ms < 1_000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1_000:.2f} s"
    minutes, seconds = divmod(round(duration_ms / 1_000), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def one_line(text: str, size: int) -> str:
    """The text's beginning as one line that a terminal can be given: no control characters."""
    line = " ".join(printable(text[: 4 * size]).split())
    return line if len(line) <= size and len(text) <= 4 * size else line[: size - 1] + "…"


def printable(text: str) -> str:
    """The text without what would steer a terminal; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def short_id(run_id: str) -> str:
    """The end of a run's id: its beginning is only the time."""
    return run_id[-8:]


def files_in_short(files: Iterable[Part]) -> str:
    """Files as they follow a text; empty for none."""
    return "".join(f" [{part}]" for part in files)


def arguments_in_short(arguments: str) -> str:
    """A tool call's JSON arguments as Python would write them; as they are where they are no JSON object."""
    try:
        parsed = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    if not isinstance(parsed, dict):
        return arguments
    return ", ".join(f"{name}={orjson.dumps(value).decode()}" for name, value in parsed.items())


def _answered(event: ModelCallCompleted) -> str:
    asked = ", ".join(call.name for call in event.tool_calls)
    said = " ".join(filter(None, (event.text, f"[calls {asked}]" if asked else "")))
    return said or "answered nothing"


def _explained(error: ErrorInfo) -> str:
    if error.code is ErrorCode.TOOL_ERROR:
        return error.message
    return f"{error.code}: {error.message}"


def _maybe(failed: ModelCallFailed) -> str:
    return f" (about ${failed.maybe_cost_usd:.4f})" if failed.maybe_cost_usd else ""


def _attempt(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""
