"""The demo on the terminal: a line for each run that changes as it goes; plain lines where there is no terminal."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ledgent.agent.divergence import Certificate
from ledgent.dashboard.cli.output import console, note, say
from ledgent.dashboard.cli.run_lists import write_run_table
from ledgent.dashboard.cli.run_pages import STATUS_STYLES, TONE_STYLES, write_lines
from ledgent.dashboard.demo.runs import RUNS, OnShownRecord, Shown
from ledgent.dashboard.run_view import view_of
from ledgent.dashboard.timeline import Line, Timeline
from ledgent.processors.runs import RunRow
from ledgent.schemas.codec import Recorded
from ledgent.schemas.ports import History

TIMELINE_OF = "shipping"
"""The run that is shown step by step: the one that is retried."""
_MARKS = {"completed": "✔", "failed": "✘", "limited": "◼", "cancelled": "◼"}


@contextlib.contextmanager
def screen() -> Iterator[OnShownRecord]:
    """A function to be told each record once it is durable."""
    say(f"{len(RUNS)} agents of a small bicycle shop, at once. Every step is in the log before it counts.\n")
    timelines = {shown.agent.name: Timeline() for shown in RUNS}
    latest: dict[str, Line] = {}

    def take_in(shown: Shown, record: Recorded) -> None:
        latest[shown.agent.name] = timelines[shown.agent.name].line(record)

    def write(shown: Shown, record: Recorded) -> None:
        take_in(shown, record)
        _write_plainly(shown, latest[shown.agent.name])

    if not sys.stdout.isatty():
        yield write
        say()
        return

    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots")  # one for all lines, so that they turn together
    # Drawn by another thread, from a dict whose values are replaced whole.
    with Live(get_renderable=lambda: _table(latest, spinner), console=console(), refresh_per_second=12):
        yield take_in
    say()


def write_outcome(rows: Sequence[RunRow], certificates: Sequence[Certificate], history: History) -> None:
    """The runs as the store has them, one of them step by step, whether all are verified, and what to do next."""
    from rich.text import Text

    write_run_table(rows)
    row = next(row for row in rows if row.agent == TIMELINE_OF)
    console().print(Text(f"\nRun {row.run_id}, step by step:", style="bold"))
    write_lines(view_of(row.run_id, history.records(row.run_id)))
    records = sum(certificate.records for certificate in certificates)
    wrong = [certificate for certificate in certificates if not certificate.ok]
    for certificate in wrong:
        note(f"ledgent: run {certificate.run_id}: record {certificate.seq}: {certificate.reason}")
    if wrong:
        raise typer.Exit(1)
    say(f"\n{len(rows)} runs, {records} events: recorded, stored and verified.")
    say(f"\nLook at them in the browser:  {_called()} up")
    say(f"or in the terminal:           {_called()} run show {row.run_id}")


def _write_plainly(shown: Shown, line: Line) -> None:
    if line.type.startswith(("run.", "message.")) or line.tone in ("bad", "odd"):
        say(f"{line.offset_s:6.3f}  {shown.agent.name:<12} {line.type:<22} {line.what}")


def _table(latest: Mapping[str, Line], spinner: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, expand=True)
    for width in (1, 12, 22, 4):
        table.add_column(no_wrap=True, min_width=width)
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    for shown in RUNS:
        line = latest.get(shown.agent.name)
        status = line.type.removeprefix("run.") if line else ""
        style = STATUS_STYLES.get(status) or (TONE_STYLES[line.tone] if line else "")
        mark = Text(_MARKS[status], style=style) if status in _MARKS else spinner
        events = Text(f"{line.seq if line else 0:>4}", style="dim")
        doing = Text(line.what if line else "", style=style)
        table.add_row(mark, Text(shown.agent.name, style="bold"), Text(shown.what, style="dim"), events, doing)
    return table


def _called() -> str:
    """How this shell calls the command: by its path where the environment that it is in is not activated."""
    return "ledgent" if shutil.which("ledgent") else os.path.relpath(Path(sys.executable).parent / "ledgent")
