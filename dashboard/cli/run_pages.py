"""One run on the terminal: summed up with its timeline, or its state at one point."""

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import console, note, say, write_json, write_line, write_rows, write_table
from ledgent.dashboard.logs import NOBODY_YET
from ledgent.dashboard.run_view import RunView, Step
from ledgent.dashboard.timeline import Line, one_line, printable, took
from ledgent.processors.runs import RunRow
from ledgent.schemas.codec import Recorded
from ledgent.schemas.events import ToolCallUncertain

if TYPE_CHECKING:
    from rich.text import Text

    from ledgent.agent.rebuild import Rebuilt

STATUS_STYLES = {
    "completed": "green",
    "failed": "red",
    "limited": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
    "suspended": "magenta",
    "queued": "dim",
}
TONE_STYLES = {"good": "green", "bad": "red", "odd": "yellow", "plain": ""}


def write_queued(run_id: str, output: Output) -> None:
    """A run that is only a request yet."""
    if output is Output.TABLE:
        say(f"Run {run_id} is queued: {NOBODY_YET}.")
    else:
        write_rows([{"run": {"run_id": run_id, "status": "queued"}, "events": []}], output)


def write_run(view: RunView, output: Output, *, payloads: bool) -> None:
    """The run: its summary, its timeline, how it ended. Raises why the records could not be read to their end."""
    if output is Output.JSONL:
        write_rows(map(event_as_json, view.records), output)
    elif output is Output.JSON:
        events = [event_as_json(record) for record in view.records]
        write_json({"run": view.row._asdict(), "output": view.output, "events": events})
    else:
        _write_summary(view.row)
        write_lines(view, payloads=payloads)
        _write_ending(view)
    if view.unread is not None:
        raise view.unread


def write_step(step: Step, output: Output) -> None:
    """The state after a record, and what the record changed."""
    record = event_as_json(step.record)
    if output is not Output.TABLE:
        write_rows([{"record": record, "changed": step.changed, "state": step.state}], Output.JSONL) if (
            output is Output.JSONL
        ) else write_json({"record": record, "changed": step.changed, "state": step.state})
        return
    _heading(f"Record {step.record.seq}: {step.record.event.type}")
    say(_pretty(record["event"]))
    _heading("What it changed")
    for path, change in step.changed.items():
        if "added" in change:
            say(f"{path}: added {_in_short(change['added'])}")
        else:
            say(f"{path}: {_in_short(change['before'])} -> {_in_short(change['after'])}")
    _heading(f"State after record {step.record.seq}")
    say(_pretty(step.state))


def write_request(request: "Rebuilt", output: Output) -> bool:
    """The request's bytes and a line, and beside them whether they are those that were sent; that."""
    if output is Output.TABLE:
        body = request.body.decode()
        say(printable(body) if console().is_terminal else body)
        sent = "as sent" if request.ok else f"NOT what was sent, which has the digest {request.recorded_digest}"
        note(
            f"{request.call_id}, attempt {request.attempt}, record {request.seq}: {len(request.body):,} bytes, "
            f"SHA-256 {request.digest}, {sent}"
        )
    else:
        facts = {**request._asdict(), "ok": request.ok, "request": orjson.loads(request.body)}
        del facts["body"]
        write_json(facts) if output is Output.JSON else write_rows([facts], output)
    return request.ok


def write_lines(view: RunView, *, payloads: bool = False) -> None:
    """The run's timeline."""
    if payloads:
        for line, record in zip(view.lines, view.records, strict=True):
            write_line(text_line(line))
            say(_pretty(record.event.model_dump(mode="json", exclude={"type"})))
        return
    write_table(
        ("#", "time", "took", "event", "call", "what"),
        [
            (line.seq, f"{line.offset_s:.3f}", took(line.took_ms), line.type, line.call_id, line.what)
            for line in view.lines
        ],
        right=("#", "time", "took"),
        wide="what",
        spare=("call", "took"),
        styles={line.type: TONE_STYLES[line.tone] for line in view.lines},
    )


def text_line(line: Line, before: str = "") -> "Text":
    """The record on one line, in its tone."""
    from rich.text import Text

    text = Text(before, style="dim")
    text.append(f"{line.seq:>4} {line.offset_s:8.3f}  ", style="dim")
    text.append(f"{line.type:<22}", style=TONE_STYLES[line.tone])
    text.append(f"{line.call_id:<7} ", style="dim")
    text.append(line.what)
    if line.took_ms is not None:
        text.append(f"  {took(line.took_ms)}", style="dim")
    return text


def event_as_json(record: Recorded) -> dict[str, Any]:
    """The record as JSON-able values: envelope, event, digest."""
    envelope = msgspec.structs.asdict(record.envelope) | {"at": record.at.isoformat()}
    return {**envelope, "event": record.event.model_dump(mode="json"), "digest": record.digest}


def spent_in_words(row: RunRow) -> str:
    """What a run used up."""
    words = [_counted(row.steps, "model call"), _counted(row.tool_calls, "tool call")]
    if row.tool_errors:
        words.append(_counted(row.tool_errors, "tool error"))
    if row.retries:
        words.append(_counted(row.retries, "retry", "retries"))
    words.append(f"{row.input_tokens:,} tokens in, {row.output_tokens:,} out")
    if row.cost_usd:
        words.append(f"${row.cost_usd:.4f}" + ("" if row.cost_known else " or more"))
    if row.maybe_cost_usd:
        words.append(f"about ${row.maybe_cost_usd:.4f} more may have been billed for calls lost in a crash")
    return ", ".join(words)


def _write_summary(row: RunRow) -> None:
    from rich.text import Text

    title = Text("Run ", style="bold")
    title.append(row.run_id, style="bold")
    console().print(title)
    labels = ", ".join(f"{name}={value}" for name, value in row.labels.items())
    facts: dict[str, str | Text] = {
        "agent": f"{row.agent} on {row.model} ({row.provider})" if row.model else row.agent,
        "status": Text(row.status, style=STATUS_STYLES.get(row.status, "")).append(_why(row), style="default"),
        "started": f"{row.started_at.astimezone():%Y-%m-%d %H:%M:%S}" if row.started_at else "",
        "took": took(row.duration_ms),
        "used": spent_in_words(row),
        "session": row.session,
        "labels": labels,
        "input": row.input,
    }
    for name, value in facts.items():
        if value:
            shown = value if isinstance(value, Text) else Text(printable(value))
            write_line(Text(f"{name:<9}", style="dim").append(shown))
    say()


_SUSPENDED = {
    "input": "waits for a message",
    "approval": "waits until its calls are allowed",
    "answer": "waits until its question is answered",
    "handed_over": "handed over: any worker may take it up",
}


def _why(row: RunRow) -> str:
    if row.status == "suspended":
        return f", {_SUSPENDED.get(row.suspended, row.suspended)}"
    reasons = [reason for reason in (row.error_code if row.status == "failed" else "", row.error_message) if reason]
    return f": {one_line(': '.join(reasons), 400)}" if reasons else ""


def _write_ending(view: RunView) -> None:
    if view.output:
        _heading("Output")
        say(printable(view.output))
    run_id = view.row.run_id
    if view.row.status == "suspended" and view.row.suspended == "input":
        say(f'\nGo on: ledgent run send {run_id} "..."   or end it: ledgent run end {run_id}')
    if view.row.status == "suspended" and view.row.suspended == "approval":
        say(f"\nAllow its calls: ledgent run approve {run_id}   or do not: ledgent run deny {run_id}")
    if view.row.status == "suspended" and view.row.suspended == "answer":
        say(f'\nAnswer its question: ledgent run answer {run_id} "..."')
        if any(isinstance(record.event, ToolCallUncertain) for record in view.records):
            say(
                f"Of a call whose outcome is unknown, also: ledgent run approve {run_id}   or ledgent run deny {run_id}"
            )


def _heading(text: str) -> None:
    from rich.text import Text

    console().print(Text(f"\n{text}", style="bold"))


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _in_short(value: Any) -> str:
    return one_line(orjson.dumps(value).decode(), 300)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
