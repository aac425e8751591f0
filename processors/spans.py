"""The spans of a run, one for each attempt and each wait. Pure: no clock, no ids of its own, no I/O.

The tree reads run > attempts of model calls > attempts of the tool calls that the answer asked for, some of which begin
while it is still being given; a wait stands beside the attempts that it lies between. Spans are computed here only;
pages lay them out.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ledgent.processors.rows import Changes, changer
from ledgent.processors.runs import MESSAGE_CHARACTERS
from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus
from ledgent.schemas.codec import Envelope, Recorded, span_id_of
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    CheckpointSaved,
    MemoryRead,
    MemoryReadStarted,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    QuestionAnswered,
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
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.values import Usage

ROOTS_KEPT = 10_000
"""Runs whose root's id is kept: hashing it for each record would cost as much as the rest of a span."""


changed = changer(SpanRow)


class RunSpans(NamedTuple):
    """What must be known of a run's spans to take in its next record."""

    run_id: str
    open: Mapping[str, SpanRow] = MappingProxyType({})
    """Not yet ended, by span id."""
    answered: str = ""
    """The span of the model call that ended last: the parent of tool calls, unless one is answering just now."""


def project(spans: RunSpans, record: Recorded) -> tuple[SpanRow, ...]:
    """The spans that an accepted record opens, changes or closes."""
    envelope, event = record.envelope, record.event
    match event:
        case ModelCallStarted():
            begun = _opened(spans, envelope, Kind.MODEL_CALL, event.call_id, event.attempt, event.model)
            return (begun._replace(purpose=event.purpose),)
        case ToolCallStarted():
            return (_opened(spans, envelope, Kind.TOOL_CALL, event.call_id, event.attempt, event.name),)
        case ModelCallCompleted():
            row = _span(spans, envelope, Kind.MODEL_CALL, event)
            answer = {
                "purpose": event.purpose,
                "name": row.name or event.model or "",
                "first_token_ms": event.first_token_ms,
            }
            spent = _spent(event.usage, event.cost_usd)
            return (_closed(row, envelope, SpanStatus.OK, event.duration_ms, **answer, **spent),)
        case ModelCallFailed():
            row = _span(spans, envelope, Kind.MODEL_CALL, event)
            spent = _spent(event.usage, event.cost_usd)
            return (_failed(row, envelope, event.error, event.duration_ms, **spent),)
        case ToolCallCompleted():
            row = _span(spans, envelope, Kind.TOOL_CALL, event)
            return (_closed(row, envelope, SpanStatus.OK, event.duration_ms),)
        case ToolCallFailed():
            row = _span(spans, envelope, Kind.TOOL_CALL, event)
            return (_failed(row, envelope, event.error, event.duration_ms),)
        case ToolCallUncertain():
            row = _span(spans, envelope, Kind.TOOL_CALL, event)
            why = _error(ErrorCode.INTERRUPTED, event.message)
            return (_closed(row, envelope, SpanStatus.UNCERTAIN, **why),)
        case ToolCallRejected():
            row = _opened(spans, envelope, Kind.TOOL_CALL, event.call_id, 0, event.name)
            why = _error(event.reason, event.message)
            return (_closed(row, envelope, SpanStatus.REJECTED, 0.0, **why),)
        case ToolCallReused():
            row = _opened(spans, envelope, Kind.TOOL_CALL, event.call_id, 0, event.name)
            return (_closed(row, envelope, SpanStatus.REUSED, 0.0),)
        case MemoryReadStarted():
            return (_opened(spans, envelope, Kind.MEMORY_READ, "", 0, "memory"),)
        case MemoryRead(call_id=""):
            row = spans.open.get(envelope.span_id) or _opened(spans, envelope, Kind.MEMORY_READ, "", 0, "memory")
            if event.error:
                return (_failed(row, envelope, event.error, event.duration_ms),)
            return (_closed(row, envelope, SpanStatus.OK, event.duration_ms),)
        case RetryScheduled():
            wait = _opened(spans, envelope, Kind.RETRY_WAIT, event.call_id, event.attempt, event.code)
            return (changed(wait, {"status": str(SpanStatus.WAITING), "error_code": str(event.code)}),)
        case RateLimitWaited():
            wait = _opened(spans, envelope, Kind.RETRY_WAIT, event.call_id, event.attempt, "rate_limit")
            return (changed(wait, {"status": str(SpanStatus.WAITING)}),)
        case TimerFired():
            waited = spans.open.get(envelope.span_id)
            return (_closed(waited, envelope, SpanStatus.OK),) if waited else ()
        case _:
            return _project_run(spans, record)


def _project_run(spans: RunSpans, record: Recorded) -> tuple[SpanRow, ...]:
    envelope, event = record.envelope, record.event
    root = _root(spans, envelope)
    match event:
        case RunClaimed():
            if envelope.epoch == 1:
                return (root,)
            return _awake(spans, root, envelope, Kind.HANDOVER_WAIT)
        case RunStarted():
            return (changed(root, {"name": event.agent.name}),)
        case RunSuspended():
            kind = Kind.HANDOVER_WAIT if event.reason == "handed_over" else Kind.INPUT_WAIT
            wait = _opened(spans, envelope, kind, "", 0, event.reason)
            waiting = {"status": str(SpanStatus.WAITING)}
            # Of its own: the record's span is the run's.
            own = {"span_id": span_id_of(spans.run_id, "suspended", envelope.seq)}
            return changed(root, waiting), changed(wait, own | waiting)
        case (
            MessageReceived()
            | RunEndRequested()
            | RunCancelRequested()
            | ApprovalGranted()
            | ApprovalDenied()
            | QuestionAnswered()
            | CheckpointSaved()
        ):
            return _awake(spans, root, envelope, Kind.INPUT_WAIT, Kind.HANDOVER_WAIT)
        case RunCompleted():
            return _ended(spans, root, envelope, SpanStatus.OK)
        case RunFailed():
            why = _error(event.error.code, event.error.message)
            return _ended(spans, root, envelope, SpanStatus.ERROR, **why)
        case RunCancelled():
            why = _error(ErrorCode.CANCELLED, event.reason)
            return _ended(spans, root, envelope, SpanStatus.CANCELLED, **why)
        case RunLimited():
            return _ended(spans, root, envelope, SpanStatus.LIMITED)
        case _:
            return ()


def _root(spans: RunSpans, envelope: Envelope) -> SpanRow:
    span_id = _root_id(spans.run_id)
    root = spans.open.get(span_id)
    return root or SpanRow(spans.run_id, span_id, kind=str(Kind.RUN), started_at=envelope.at, started_seq=envelope.seq)


def _opened(spans: RunSpans, envelope: Envelope, kind: Kind, call_id: str, attempt: int, name: str) -> SpanRow:
    # A tool call is numbered within the model call that asked for it: `m1.t0`.
    answering = (row.span_id for row in spans.open.values() if row.kind == Kind.MODEL_CALL)
    asked_by = next(answering, spans.answered) if "." in call_id else ""
    return SpanRow(
        run_id=spans.run_id,
        span_id=envelope.span_id,
        parent_span_id=asked_by or _root_id(spans.run_id),
        kind=str(kind),
        name=str(name),
        call_id=call_id,
        attempt=attempt,
        started_at=envelope.at,
        started_seq=envelope.seq,
    )


_Outcome = ModelCallCompleted | ModelCallFailed | ToolCallCompleted | ToolCallFailed | ToolCallUncertain


def _span(spans: RunSpans, envelope: Envelope, kind: Kind, event: _Outcome) -> SpanRow:
    """The span that an outcome closes; one made from the outcome alone where the start could not be read."""
    row = spans.open.get(envelope.span_id)
    return row or _opened(spans, envelope, kind, event.call_id, event.attempt, "")


def _awake(spans: RunSpans, root: SpanRow, envelope: Envelope, *kinds: Kind) -> tuple[SpanRow, ...]:
    waits = [row for row in spans.open.values() if row.kind in kinds]
    if not waits:
        return ()
    running = changed(root, {"status": str(SpanStatus.RUNNING)})
    return running, *(_closed(wait, envelope, SpanStatus.OK) for wait in waits)


def _ended(
    spans: RunSpans, root: SpanRow, envelope: Envelope, status: SpanStatus, **changes: Any
) -> tuple[SpanRow, ...]:
    """The run is over, and so is whatever was still open: nothing will close it later."""
    rest = [row for span_id, row in spans.open.items() if span_id != root.span_id]
    closed = _closed(root, envelope, status, **changes)
    return closed, *(_closed(row, envelope, SpanStatus.CANCELLED) for row in rest)


def _closed(
    row: SpanRow, envelope: Envelope, status: SpanStatus, duration_ms: float | None = None, **changes: Any
) -> SpanRow:
    """The span as it ended; with all other changes in the same step, since each step copies the row."""
    if duration_ms is None and row.started_at is not None:
        duration_ms = max((envelope.at - row.started_at).total_seconds() * 1000, 0.0)
    changes.update(status=str(status), ended_at=envelope.at, duration_ms=duration_ms, ended_seq=envelope.seq)
    return changed(row, changes)


def _failed(row: SpanRow, envelope: Envelope, error: ErrorInfo, duration_ms: float | None, **changes: Any) -> SpanRow:
    status = SpanStatus.CANCELLED if error.code is ErrorCode.CANCELLED else SpanStatus.ERROR
    return _closed(row, envelope, status, duration_ms, **_error(error.code, error.message), **changes)


def _error(code: str, message: str) -> Changes:
    return {"error_code": str(code), "error_message": message[:MESSAGE_CHARACTERS]}


def _spent(usage: Usage, cost_usd: float | None) -> Changes:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": cost_usd,
    }


@lru_cache(maxsize=ROOTS_KEPT)
def _root_id(run_id: str) -> str:
    return span_id_of(run_id)
