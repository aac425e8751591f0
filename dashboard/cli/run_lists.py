"""Many runs on the terminal, one a line."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import say, write_rows, write_table
from ledgent.dashboard.cli.run_pages import STATUS_STYLES
from ledgent.dashboard.timeline import short_id, took
from ledgent.processors.runs import RunRow
from ledgent.schemas.errors import UsageError
from ledgent.schemas.state import Status

if TYPE_CHECKING:
    from ledgent.processors.reads import RunPage


def checked_statuses(given: Sequence[str]) -> tuple[str, ...]:
    """The statuses, none of them unknown. Raises UsageError."""
    from difflib import get_close_matches

    known = [str(status) for status in Status if status is not Status.NEW]
    for status in given:
        if status not in known:
            near = get_close_matches(status, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise UsageError(f"no run has the status {status!r}. {hint}")
    return tuple(given)


def write_runs(page: "RunPage", output: Output) -> None:
    """A page of runs, and of how many it is."""
    if output is not Output.TABLE:
        write_rows([row._asdict() for row in page.runs], output)
        return
    if not page.total:
        say("No runs yet: `ledgent demo` makes some, `ledgent run start` one of your own.")
        return
    if page.runs:
        write_run_table(page.runs)
    counted = ", ".join(f"{count:,} {status}" for status, count in page.statuses.items())
    of_all = "" if page.matching == page.total else f" that match; the store has {page.total:,}"
    say(f"\n{len(page.runs):,} of {page.matching:,} runs{of_all}" + (f" ({counted})" if counted else ""))


def write_run_table(runs: Sequence[RunRow]) -> None:
    """The runs, one a line."""
    write_table(
        ("run", "status", "agent", "started", "took", "steps", "tools", "retries", "tokens", "outcome"),
        [
            (
                short_id(row.run_id),
                row.status,
                row.agent,
                _when(row.started_at),
                took(row.duration_ms),
                row.steps,
                row.tool_calls,
                row.retries,
                row.input_tokens + row.output_tokens,
                outcome(row),
            )
            for row in runs
        ],
        right=("took", "steps", "tools", "retries", "tokens"),
        wide="outcome",
        spare=("retries", "tools", "tokens", "steps", "took"),
        styles=STATUS_STYLES,
    )


def outcome(row: RunRow) -> str:
    """What came of a run, in a line: what went wrong, or the last answer, or what it was asked."""
    if row.status == "failed":
        return f"{row.error_code}: {row.error_message}"
    return row.error_message or row.output or row.input


def _when(time: datetime | None) -> str:
    if time is None:
        return ""
    local = time.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"
