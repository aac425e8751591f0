"""What there is to read about one span or one record: titled sections of facts and texts. Pure: no markup, no I/O."""

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from ledgent.dashboard.timeline import files_in_short
from ledgent.dashboard.web.format import NONE, duration, moment, money, tokens
from ledgent.dashboard.web.history import History
from ledgent.dashboard.web.json_view import pretty, pretty_text
from ledgent.processors.reads import EventRead
from ledgent.processors.span_rows import Kind, SpanRow
from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.agents import AgentSpec
from ledgent.schemas.codec import Recorded, decode
from ledgent.schemas.errors import BadRecord
from ledgent.schemas.events import (
    AnyEvent,
    MemoryRead,
    MemoryReadStarted,
    ModelCallCompleted,
    ModelCallStarted,
    ModelCallToolRequested,
    RetryScheduled,
    RunStarted,
    ToolCallStarted,
)
from ledgent.schemas.state import Assistant, Message, ToolResult, User
from ledgent.schemas.values import Cut, Part

MESSAGES = 12
"""Of a model call's request: the last ones; the conversation has them all."""


class Section(NamedTuple):
    """A titled part of what is shown; any of its fields may be empty."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    text: str = ""
    """As it is; shown in full up to a limit that is announced."""
    code: bool = False
    """Whether the text is JSON or the like."""
    tone: str = ""
    remark: str = ""
    """Small print above the text."""
    said: tuple[tuple[str, str], ...] = ()
    """Messages: who, and what."""


def of_span(span: SpanRow, history: History) -> list[Section]:
    """What is known of a span, the most telling first."""
    started, ended = history.record(span.started_seq), history.record(span.ended_seq)
    sections: list[Section] = []
    if span.error_message or span.error_code:
        title = "Why it waited" if span.kind == Kind.RETRY_WAIT else "Error"
        sections.append(Section(title, (("Code", span.error_code),), span.error_message, tone="bad"))
    match span.kind:
        case Kind.RUN:
            sections += _run(history)
        case Kind.MODEL_CALL:
            sections += _model_call(started, ended, history)
        case Kind.TOOL_CALL:
            sections += _tool_call(started, ended, span, history)
        case Kind.MEMORY_READ:
            sections += _memory_read(started, ended)
        case Kind.RETRY_WAIT:
            sections += _retry_wait(started)
        case _:
            pass
    return [*sections, Section("Figures", _figures(span)), Section("Log position", _positions(span, started, ended))]


def of_record(read: EventRead) -> list[Section]:
    """What is known of a record, its payload as it is stored; of one that cannot be read, why."""
    sections: list[Section] = []
    if read.verdict != Verdict.ACCEPTED:
        sections.append(Section("Left out", text=_VERDICTS.get(read.verdict, read.verdict), tone="bad"))
    try:
        decode(read.stored)
    except BadRecord as error:
        sections.append(Section("Cannot be read", text=read.reason or str(error), tone="bad"))
        raw = read.stored.body.decode(errors="replace")
        sections.append(Section("Bytes as stored", text=raw, code=True))
    else:
        payload = orjson.loads(read.stored.body)["event"]
        sections.append(Section("Payload", text=pretty(payload), code=True))
    return [*sections, Section("Envelope", _envelope(read)), Section("Log position", _place(read))]


_VERDICTS: dict[str, str] = {
    Verdict.FENCED: "Fenced: its writer did not hold the run, or it is out of place. Every reader passes over it.",
    Verdict.DUPLICATE: "It repeats a record that was accepted before. Every reader passes over it.",
    Verdict.BROKEN: "Its digest does not match its bytes and those before it: the log was changed or damaged. "
    "`ledgent run verify` names the place.",
}


def _run(history: History) -> Iterator[Section]:
    event = next((record.event for record in history.records if isinstance(record.event, RunStarted)), None)
    if event is None:
        return
    if event.input is not None:
        yield Section("Input", text=event.input)
    if history.state.output:
        yield Section("Output", text=history.state.output)
    labels = tuple(sorted(event.labels.items()))
    session = (("Session", event.session),) if event.session else ()
    limits = tuple((f"Limit of {name}", f"{bound:g}") for name, bound in event.limits if bound is not None)
    yield Section("Asked for", (*session, *labels, *limits, ("Request", event.request_id)))
    yield from _agent(event.agent)


def _agent(agent: AgentSpec) -> Iterator[Section]:
    model = agent.model
    where = (("Address", model.base_url),) if model.base_url else ()
    memory = (("Memory", agent.memory),) if agent.memory else ()
    facts = (("Agent", agent.name), ("Model", model.name), ("Provider", model.provider), *where, *memory)
    parameters = tuple((name, pretty(value)) for name, value in model.parameters.items())
    yield Section("Agent", (*facts, *parameters))
    if agent.instructions:
        yield Section("Instructions", text=agent.instructions)
    if agent.tools:
        yield Section("Tools", tuple((tool.name, tool.description) for tool in agent.tools))


def _model_call(started: Recorded | None, ended: Recorded | None, history: History) -> Iterator[Section]:
    answer = ended.event if ended else None
    if isinstance(answer, ModelCallCompleted):
        if answer.reasoning:
            yield Section("Reasoning", text=answer.reasoning)
        if answer.text:
            title = "Summary" if answer.purpose == "summary" else "Answer"
            yield Section(title, text=answer.text, remark=_cut_remark(answer.cut))
        for call in answer.tool_calls:
            facts = (("Call", call.call_id), ("Provider's id", call.provider_id))
            yield Section(f"Asks for {call.name}", facts, pretty_text(call.arguments), code=True)
        facts = (("Finish reason", answer.finish_reason or NONE), ("Answered by", answer.model or NONE))
        yield Section("Response", (*facts, ("Response id", answer.response_id or NONE)))
    if started is not None and isinstance(started.event, ModelCallStarted):
        yield from _messages_sent(started, history)
        yield Section("Request", (("Digest", started.event.request_digest),))


def _messages_sent(started: Recorded, history: History) -> Iterator[Section]:
    state = history.state_after(started.seq)
    messages = state.messages
    said = [_said(message) for message in messages[max(len(messages) - MESSAGES, 0) :]]
    if state.agent and state.agent.instructions and len(said) == len(messages):
        said.insert(0, ("system", state.agent.instructions))
    left = len(messages) - MESSAGES
    remark = f"the last {MESSAGES} of {len(messages)}; the conversation has them all" if left > 0 else ""
    yield Section("Messages sent", said=tuple(said), remark=remark)


def _said(message: Message) -> tuple[str, str]:
    match message:
        case User(text, parts):
            return "user", text + files_in_short(parts)
        case ToolResult(provider_id, text, parts):
            return f"tool, to {provider_id}", text + files_in_short(parts)
        case Assistant(text, tool_calls):
            calls = [f"{call.name}({call.arguments})" for call in tool_calls]
            return "assistant", "\n".join([*([text] if text else []), *calls])


def _tool_call(started: Recorded | None, ended: Recorded | None, span: SpanRow, history: History) -> Iterator[Section]:
    arguments = _arguments(started.event if started else None, span, history)
    if arguments is not None:
        yield Section("Arguments", text=pretty_text(arguments), code=True)
    outcome = ended.event if ended else None
    result = getattr(outcome, "result", None)
    if result is not None:
        yield Section("Result", text=pretty_text(result) or "(empty)", code=True, remark=_kept_remark(outcome, span))
        files = getattr(outcome, "files", ())
        if files:
            yield Section("Files", tuple((part.name or part.kind, f"{part}, SHA-256 {part.sha256}") for part in files))
    suggestions = getattr(outcome, "suggestions", ())
    if suggestions:
        yield Section("Suggested instead", text=", ".join(suggestions))
    if started is not None and isinstance(started.event, ToolCallStarted):
        yield Section("Call", (("Idempotency key", started.event.idempotency_key),))


def _arguments(event: AnyEvent | None, span: SpanRow, history: History) -> str | None:
    if isinstance(event, ToolCallStarted):
        return event.arguments
    # A rejected call never started: what was asked for is in the answer before.
    for record in reversed(history.records[: span.started_seq]):
        if isinstance(record.event, ModelCallToolRequested) and record.event.request.call_id == span.call_id:
            return record.event.request.arguments
        if isinstance(record.event, ModelCallCompleted):
            return next((call.arguments for call in record.event.tool_calls if call.call_id == span.call_id), None)
    return None


def _memory_read(started: Recorded | None, ended: Recorded | None) -> Iterator[Section]:
    if started and isinstance(started.event, MemoryReadStarted):
        yield Section("Looked for", text=started.event.query)
    if ended and isinstance(ended.event, MemoryRead):
        yield Section("Remembered", text="\n".join(ended.event.entries) or "Nothing.")


def _retry_wait(started: Recorded | None) -> Iterator[Section]:
    if started is not None and isinstance(started.event, RetryScheduled):
        event = started.event
        facts = (("For attempt", str(event.attempt)), ("Of", event.call_id), ("Delay", duration(event.delay_s * 1_000)))
        before = _failure_before(started)
        yield Section("Scheduled", (*facts, *before))


def _failure_before(started: Recorded) -> tuple[tuple[str, str], ...]:
    cause = started.envelope.cause
    return (("Caused by record", str(cause)),) if cause else ()


def _figures(span: SpanRow) -> tuple[tuple[str, str], ...]:
    found = [("Status", span.status), ("Duration", duration(span.duration_ms))]
    if span.first_token_ms is not None:
        found.append(("First token after", duration(span.first_token_ms)))
    if span.input_tokens or span.output_tokens:
        cached = f", {tokens(span.cached_tokens)} of them cached" if span.cached_tokens else ""
        reasoning = f", {tokens(span.reasoning_tokens)} of them reasoning" if span.reasoning_tokens else ""
        found.append(("Tokens in", tokens(span.input_tokens) + cached))
        found.append(("Tokens out", tokens(span.output_tokens) + reasoning))
        found.append(("Cost", money(span.cost_usd)))
    if span.attempt > 1:
        found.append(("Attempt", str(span.attempt)))
    return (*found, ("Began", moment(span.started_at)), ("Ended", moment(span.ended_at)))


def _positions(span: SpanRow, started: Recorded | None, ended: Recorded | None) -> tuple[tuple[str, str], ...]:
    last = ended or started
    found = [
        ("Records", f"{span.started_seq} to {span.ended_seq}" if span.ended_seq else f"from {span.started_seq} on"),
        ("Call", span.call_id),
        ("Span", span.span_id),
        ("Topic, partition, offset", f"{span.topic}, {span.partition}, {span.last_offset}"),
    ]
    if last is not None:
        envelope = last.envelope
        found += [("Epoch", str(envelope.epoch)), ("Writer", envelope.writer), ("Trace", envelope.trace_id)]
        found.append(("Digest", last.digest))
    return tuple((name, value) for name, value in found if value)


def _envelope(read: EventRead) -> tuple[tuple[str, str], ...]:
    return (
        ("Type", f"{read.type} v{read.version}"),
        ("At", moment(read.at)),
        ("Caused by record", str(read.cause) if read.cause else NONE),
        ("Epoch", str(read.epoch)),
        ("Writer", read.writer),
        ("Span", read.span_id),
        ("Trace", read.trace_id),
        ("Digest of the bytes", read.stored.digest),
        ("Size", f"{len(read.stored.body):,} bytes"),
    )


def _place(read: EventRead) -> tuple[tuple[str, str], ...]:
    where = f"{read.topic}, {read.partition}, {read.offset}"
    return (("Run, seq", f"{read.run_id}, {read.seq}"), ("Topic, partition, offset", where), ("Verdict", read.verdict))


def _kept_remark(event: AnyEvent | None, span: SpanRow) -> str:
    whole: Part | None = getattr(event, "whole", None)
    if whole is None:
        return ""
    return f"cut for the model; `ledgent run result {span.run_id[-8:]} {span.call_id}` has all {whole.size:,} bytes"


def _cut_remark(cut: Cut | None) -> str:
    return f"cut when it was recorded; it had {cut.size:,} bytes, SHA-256 {cut.sha256}" if cut else ""
