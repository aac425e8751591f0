"""A run's spans as OTLP JSON, with the names of OpenTelemetry's GenAI conventions. Pure: no clock, no ids, no I/O."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus
from ledgent.processors.spans import RunSpans, project
from ledgent.schemas.codec import Recorded, trace_id_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL, _CLIENT = 1, 3
_OK, _ERROR = 1, 2
_OPERATIONS = {Kind.RUN: "invoke_agent", Kind.MODEL_CALL: "chat", Kind.TOOL_CALL: "execute_tool"}


def otlp_traces(run_id: str, records: Iterable[Recorded]) -> dict[str, Any]:
    """One run as an OTLP `TracesData` object. A span that has not ended ends where the records do."""
    rows: dict[str, SpanRow] = {}
    answered, provider, last = "", "", None
    for record in records:
        open_spans = {span_id: row for span_id, row in rows.items() if row.open}
        for row in project(RunSpans(run_id, open_spans, answered), record):
            rows[row.span_id] = row
            if row.kind == Kind.MODEL_CALL and row.status == SpanStatus.OK:
                answered = row.span_id
        provider, last = getattr(record.event, "provider", provider), record.at
    spans = [_span(row, provider, last) for row in rows.values()]
    resource = {"attributes": [_attribute("service.name", "ledgent")]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "ledgent"}, "spans": spans}]}]}


def _span(row: SpanRow, provider: str, last: datetime | None) -> dict[str, Any]:
    operation = _OPERATIONS.get(Kind(row.kind))
    failed = row.error_code and row.status in (SpanStatus.ERROR, SpanStatus.REJECTED, SpanStatus.UNCERTAIN)
    status: dict[str, Any] = {"code": _OK} if row.status == SpanStatus.OK else {}
    if failed:
        status = {"code": _ERROR, "message": row.error_message}
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.conversation.id": row.run_id,
        "error.type": row.error_code if failed else None,
        "ledgent.kind": row.kind,
        "ledgent.status": row.status,
        "ledgent.attempt": row.attempt or None,
        **_of_kind(row, provider),
    }
    return {
        "traceId": trace_id_of(row.run_id),
        "spanId": row.span_id,
        **({"parentSpanId": row.parent_span_id} if row.parent_span_id else {}),
        "name": f"{operation} {row.name}" if operation else row.kind,
        "kind": _CLIENT if row.kind == Kind.MODEL_CALL else _INTERNAL,
        "startTimeUnixNano": _nanoseconds(row.started_at or last),
        "endTimeUnixNano": _nanoseconds(row.ended_at or last),
        "attributes": [_attribute(name, value) for name, value in attributes.items() if value is not None],
        "status": status,
    }


def _of_kind(row: SpanRow, provider: str) -> dict[str, Any]:
    match Kind(row.kind):
        case Kind.RUN:
            return {"gen_ai.agent.name": row.name}
        case Kind.MODEL_CALL:
            return {
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": row.name,
                "gen_ai.usage.input_tokens": row.input_tokens,
                "gen_ai.usage.output_tokens": row.output_tokens,
                "ledgent.cost_usd": row.cost_usd,
            }
        case Kind.TOOL_CALL:
            return {"gen_ai.tool.name": row.name, "gen_ai.tool.call.id": row.call_id}
        case _:
            return {}


def _attribute(name: str, value: str | int | float) -> dict[str, Any]:
    match value:
        case int():
            return {"key": name, "value": {"intValue": str(value)}}
        case float():
            return {"key": name, "value": {"doubleValue": value}}
        case _:
            return {"key": name, "value": {"stringValue": str(value)}}


def _nanoseconds(at: datetime | None) -> str:
    """As OTLP JSON has 64-bit numbers: text. In whole microseconds, since floats cannot hold it."""
    since = (at or _EPOCH) - _EPOCH
    return str(((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000)
