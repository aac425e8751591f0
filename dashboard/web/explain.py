"""How a run stands or ended, in a sentence, and what to do next. Pure: rows in, words out."""

from collections.abc import Sequence
from typing import NamedTuple

from ledgent.dashboard.timeline import took
from ledgent.dashboard.web.format import money
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.recovery import TABLE
from ledgent.schemas.state import Status

LED_TO_IT = 6
"""Spans that are named as having led to a bad end."""

_LIMITS = {
    "steps": ("model calls", "`Limits(steps=...)` or `--max-steps`"),
    "tokens": ("tokens", "`Limits(tokens=...)` or `--max-tokens`"),
    "cost_usd": ("US dollars", "`Limits(cost_usd=...)` or `--max-cost`"),
    "seconds": ("seconds", "`Limits(seconds=...)` or `--max-seconds`"),
    "tool_calls": ("tool calls", "`Limits(tool_calls=...)`"),
    "repeats": ("identical calls in a row", "`Limits(repeats=...)`"),
    "step_seconds": ("seconds in one step", "`Limits(step_seconds=...)`"),
    "idle_steps": ("rounds of tools that brought nothing new", "`Limits(idle_steps=...)`"),
}


class Explanation(NamedTuple):
    """What there is to say of a run."""

    headline: str
    message: str
    """In the words of whoever failed; may be empty, and is not ours."""
    next_step: str
    """What a person can do; may be empty. Commands stand between backquotes."""
    led_to_it: tuple[SpanRow, ...]
    """What went wrong before a bad end, in order."""
    led_to_it_more: int
    """How many of those are left out."""
    warnings: tuple[str, ...]
    """What is wrong with the records themselves."""


def explain(run: RunRow, spans: Sequence[SpanRow] = ()) -> Explanation:
    """What to tell of the run."""
    headline, message, next_step = _ending(run, spans)
    bad = [span for span in spans if span.kind != Kind.RUN and span.status in _TROUBLE]
    ended_badly = run.status in (Status.FAILED, Status.LIMITED)
    if not ended_badly or (len(bad) == 1 and bad[0].error_message == message):
        bad = []  # nothing to tell, or it has been told
    told = tuple(bad[-LED_TO_IT:])
    return Explanation(headline, message, next_step, told, len(bad) - len(told), _warnings(run))


_TROUBLE = (SpanStatus.ERROR, SpanStatus.REJECTED, SpanStatus.UNCERTAIN)


def _ending(run: RunRow, spans: Sequence[SpanRow]) -> tuple[str, str, str]:
    after = f"after {took(run.duration_ms)}" if run.duration_ms else "at once"
    match run.status:
        case Status.COMPLETED:
            return f"Completed {after}, with {_calls(run)}.", "", ""
        case Status.FAILED:
            code = run.error_code
            known = code in ErrorCode.__members__.values()
            remedy = TABLE[ErrorCode(code)].remedy if known else ""
            return f"Failed {after}: {code or 'no code'}.", run.error_message, remedy
        case Status.CANCELLED:
            why = f": {run.error_message}" if run.error_message else "; no reason was given"
            return f"Cancelled {after}{why}.", "", ""
        case Status.LIMITED:
            unit, remedy = _LIMITS.get(run.limit_reached, (run.limit_reached, "its limits"))
            said = run.error_message or "reached a limit"
            said = said.replace(f" {run.limit_reached}", f" {unit}", 1)
            return f"Stopped {after}: it {said}.", "", f"To let it go on for longer raise {remedy} and start it again."
        case Status.SUSPENDED if run.suspended == "input":
            short = run.run_id[-8:]
            return (
                "Waits for the next message; nothing is running.",
                "",
                f'`ledgent run send {short} "..."` goes on, `ledgent run end {short}` ends the conversation.',
            )
        case Status.SUSPENDED if run.suspended == "approval":
            short = run.run_id[-8:]
            return (
                "Waits until somebody allows its calls; nothing is running.",
                "",
                f"`ledgent run approve {short}` lets it make them, `ledgent run deny {short}` does not.",
            )
        case Status.SUSPENDED if run.suspended == "answer":
            return (
                "Waits until somebody answers its question; nothing is running.",
                "",
                f'`ledgent run answer {run.run_id[-8:]} "..."` answers it.',
            )
        case Status.SUSPENDED:
            return "Handed over; any worker may take it up.", "", "With none running: `ledgent worker --agents ...`."
        case _:
            return _under_way(run, spans), "", ""


def _under_way(run: RunRow, spans: Sequence[SpanRow]) -> str:
    names = [_open(span) for span in spans if span.open and span.kind != Kind.RUN]
    return f"Under way: {', '.join(names)}." if names else "Under way."


def _open(span: SpanRow) -> str:
    if span.kind == Kind.RETRY_WAIT:
        return f"waiting before attempt {span.attempt} of {span.call_id}"
    again = f", attempt {span.attempt}" if span.attempt > 1 else ""
    return f"{span.name or span.kind} ({span.call_id}{again})"


def _calls(run: RunRow) -> str:
    parts = [_plural(run.steps, "model call"), _plural(run.tool_calls, "tool call") if run.tool_calls else ""]
    parts.append(money(run.cost_usd, known=run.cost_known) if run.cost_usd else "")
    return ", ".join(part for part in parts if part)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _warnings(run: RunRow) -> tuple[str, ...]:
    found = []
    if run.broken:
        found.append(
            f"{_plural(run.broken, 'record')} with a wrong digest: the log has been changed or damaged. "
            f"`ledgent run verify {run.run_id}` names the place."
        )
    if run.fenced:
        found.append(
            f"{_plural(run.fenced, 'record')} by a writer that did not hold the run, left out of everything here; "
            "the events show them."
        )
    return tuple(found)
