"""The row that sums up a run for lists: how each record changes it. Pure: no clock, no ids, no I/O.

A row holds no payload, only previews of one, so that a list of runs reads little.
"""

from datetime import datetime
from typing import NamedTuple

from ledgent.processors.rows import Changes, changer
from ledgent.schemas.codec import Envelope, Recorded
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    CheckpointSaved,
    HistoryShared,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    QuestionAnswered,
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
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.state import Status
from ledgent.schemas.values import Usage

PREVIEW_CHARACTERS = 240
"""Of a run's input and output in its row."""
MESSAGE_CHARACTERS = 2_000
"""Of an error's message in a row."""


class RunRow(NamedTuple):
    """A run after the last record it was given; the columns of the table `runs`, in their order."""

    run_id: str
    status: str = str(Status.NEW)
    suspended: str = ""
    """Why, while suspended."""
    agent: str = ""
    model: str = ""
    provider: str = ""
    session: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012  # a row is never written to
    trace_id: str = ""
    started_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float = 0.0
    """From the start to the end, or to the last record."""
    events: int = 0
    """Accepted records."""
    steps: int = 0
    """Model calls, each counted once however many attempts it took."""
    model_attempts: int = 0
    tool_calls: int = 0
    """Tool calls that started, each counted once however many attempts it took."""
    tool_errors: int = 0
    """Attempts that failed or have no known outcome, and calls that were rejected."""
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    cost_known: bool = True
    """Whether every cost is in `cost_usd`, or in `maybe_cost_usd`."""
    maybe_tokens: int = 0
    """About what model calls that were lost, and made again, may have used besides."""
    maybe_cost_usd: float = 0.0
    input: str = ""
    """The beginning of the first user message."""
    output: str = ""
    """The beginning of the last answer."""
    error_code: str = ""
    error_message: str = ""
    limit_reached: str = ""
    """The name of the limit that ended the run."""
    epochs: int = 0
    """How often the run was claimed: once, and again with each resumption or take-over."""
    fenced: int = 0
    """Records of writers that did not hold the run."""
    broken: int = 0
    """Records of the holder whose digest is wrong."""
    topic: str = ""
    partition: int = 0
    last_offset: int = 0
    """The place of the last record that this row has taken in."""


changed = changer(RunRow)


def project(row: RunRow, record: Recorded) -> RunRow:
    """The row after an accepted record."""
    return changed(row, _progress(row, record.envelope) | _changes(row, record))


def project_unread(row: RunRow, envelope: Envelope) -> RunRow:
    """The row after an accepted record whose payload cannot be read."""
    return changed(row, _progress(row, envelope))


def project_fenced(row: RunRow) -> RunRow:
    """The row after a record by a writer that does not hold the run."""
    return changed(row, {"fenced": row.fenced + 1})


def project_broken(row: RunRow) -> RunRow:
    """The row after a record of the holder with a wrong digest."""
    return changed(row, {"broken": row.broken + 1})


def preview(text: str, size: int = PREVIEW_CHARACTERS) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * size].split())
    return line if len(line) <= size and len(text) <= 4 * size else line[: size - 1] + "…"


def _progress(row: RunRow, envelope: Envelope) -> Changes:
    changes: Changes = {"events": row.events + 1, "updated_at": envelope.at}
    if row.started_at is None:
        changes["started_at"] = envelope.at
        changes["trace_id"] = envelope.trace_id
    else:
        changes["duration_ms"] = max((envelope.at - row.started_at).total_seconds() * 1000, 0.0)
    return changes


def _changes(row: RunRow, record: Recorded) -> Changes:
    match record.event:
        case ModelCallStarted(attempt=attempt, purpose=purpose):
            step = attempt == 1 and purpose == "answer"
            return {"model_attempts": row.model_attempts + 1, "steps": row.steps + step}
        case ModelCallCompleted() as event:
            changes = _spent(row, event.usage, event.cost_usd)
            changes["cost_known"] = row.cost_known and event.cost_usd is not None
            if event.text and event.purpose == "answer":
                changes["output"] = preview(event.text)
            return changes
        case ModelCallFailed() as event:
            changes = _spent(row, event.usage, event.cost_usd)
            # Most failed attempts cost nothing; one that had used tokens, or whose end nobody saw, may have.
            lost = event.error.code is ErrorCode.INTERRUPTED and event.maybe_cost_usd is None
            paid = event.usage != Usage() or lost
            changes["cost_known"] = row.cost_known and (event.cost_usd is not None or not paid)
            maybe = event.maybe_usage
            changes["maybe_tokens"] = row.maybe_tokens + maybe.input_tokens + maybe.output_tokens
            changes["maybe_cost_usd"] = row.maybe_cost_usd + (event.maybe_cost_usd or 0.0)
            return changes
        case ToolCallStarted(attempt=attempt):
            return {"tool_calls": row.tool_calls + (attempt == 1)}
        case ToolCallCompleted():
            return {}
        case ToolCallFailed() | ToolCallRejected() | ToolCallUncertain():
            return {"tool_errors": row.tool_errors + 1}
        case RetryScheduled():
            return {"retries": row.retries + 1}
        case _:
            return _run_changes(row, record)


def _run_changes(row: RunRow, record: Recorded) -> Changes:
    match record.event:
        case RunClaimed():
            awake = _awake(row) if row.suspended == "handed_over" else {}
            return {"epochs": record.envelope.epoch, **awake}
        case RunStarted() as event:
            return {"started_at": record.at, "duration_ms": 0.0, **_started(event)}
        case RunSuspended(reason=reason):
            return {"status": str(Status.SUSPENDED), "suspended": reason}
        case MessageReceived(text=text):
            first = {} if row.input else {"input": preview(text)}
            return {**_awake(row), **first}
        case RunEndRequested() | RunCancelRequested() | ApprovalGranted() | ApprovalDenied() | QuestionAnswered():
            return _awake(row)
        case CheckpointSaved():
            return _awake(row)
        case HistoryShared(messages=messages) if not row.input:
            said = next((message.text for message in messages if message.role == "user"), None)
            return {"input": preview(said or "")}
        case RunCompleted(output=output):
            last = {} if output is None else {"output": preview(output)}
            return {**_ended(record, Status.COMPLETED), **last}
        case RunFailed(error=error):
            return _ended(record, Status.FAILED, error.code, error.message)
        case RunCancelled(reason=reason):
            return _ended(record, Status.CANCELLED, ErrorCode.CANCELLED, reason)
        case RunLimited() as event:
            why = f"reached its limit of {event.bound:g} {event.limit}: used {event.used:g}"
            return {**_ended(record, Status.LIMITED, message=why), "limit_reached": event.limit}
        case _:
            return {}


def _started(event: RunStarted) -> Changes:
    return {
        "status": str(Status.RUNNING),
        "agent": event.agent.name,
        "model": event.agent.model.name,
        "provider": event.agent.model.provider,
        "session": event.session or "",
        "labels": event.labels | ({"imported": event.imported.source} if event.imported else {}),
        "input": preview(event.input or ""),
    }


def _awake(row: RunRow) -> Changes:
    return {"status": str(Status.RUNNING), "suspended": ""} if row.status == Status.SUSPENDED else {}


def _ended(record: Recorded, status: Status, code: str = "", message: str = "") -> Changes:
    return {
        "status": str(status),
        "suspended": "",
        "ended_at": record.at,
        "error_code": str(code),
        "error_message": message[:MESSAGE_CHARACTERS],
    }


def _spent(row: RunRow, usage: Usage, cost_usd: float | None) -> Changes:
    return {
        "input_tokens": row.input_tokens + usage.input_tokens,
        "output_tokens": row.output_tokens + usage.output_tokens,
        "cached_tokens": row.cached_tokens + usage.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens + usage.reasoning_tokens,
        "cost_usd": row.cost_usd + (cost_usd or 0.0),
    }
