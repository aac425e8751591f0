"""How commands write: tables for people, JSON for programs, one line for errors. Knows no run and no store."""

import csv
import functools
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ledgent.dashboard.cli.options import Output, SqlOutput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

PIPED_WIDTH = 1_000
"""Of a line that goes to a program, which has no edge to break at."""
GAP = 2
"""Between columns."""
LEAST_WIDE, LEAST_CUT = 24, 8
"""Of the column that gives way: before others are left out, and after."""


@functools.cache
def console() -> "Console":
    """Where people read: the terminal's own width; colours, wrapping and emphasis only there."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would leave with exit code 1

    piped = None if sys.stdout.isatty() else PIPED_WIDTH
    return Terminal(highlight=False, markup=False, emoji=False, width=piped, soft_wrap=False)


def say(text: str = "") -> None:
    """A line on the standard output, at once: whoever reads a pipe may wait for it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_line(text: "Text") -> None:
    """A styled line, cut where the terminal ends."""
    console().print(text, no_wrap=True, overflow="ellipsis")


def note(text: str) -> None:
    """A remark that is not the answer: on the standard error, or in the log where that goes there as JSON."""
    if os.environ.get("LEDGENT_LOG_FORMAT") == "json":
        logging.getLogger("ledgent").info(text.removeprefix("ledgent: "))
    else:
        sys.stderr.write(f"{text}\n")


def write_rows(rows: Iterable[Mapping[str, Any]], output: Output | SqlOutput) -> None:
    """The rows as JSON: one array, or an object a line."""
    if output == Output.JSON:
        write_json(list(rows))
        return
    for row in rows:
        say(json.dumps(row, ensure_ascii=False, default=_as_text))


def write_json(value: Any) -> None:
    """One JSON document."""
    say(json.dumps(value, ensure_ascii=False, indent=2, default=_as_text))


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Comma-separated values with a head line, as spreadsheets read them."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)


def write_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[str] = (),
    wide: str = "",
    spare: Sequence[str] = (),
    styles: Mapping[str, str] | None = None,
) -> None:
    """A table for people.

    On a terminal that is too narrow the columns in `spare` are left out, the first one first, and the column `wide` is
    cut; without one each row becomes a paragraph. `right`: columns of numbers; `styles`: the style of a cell by its
    text.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    texts = [[_cell(value) for value in row] for row in rows]
    widths = {
        name: max(cell_len(text) for text in (name, *(row[index] for row in texts)))
        for index, name in enumerate(columns)
    }
    room = console().width
    if wide:
        others = sum(width + GAP for name, width in widths.items() if name != wide)
        for name in spare:
            if others + LEAST_WIDE > room:
                others -= widths.pop(name) + GAP
        widths[wide] = min(widths[wide], max(room - others, LEAST_CUT))
    elif sum(width + GAP for width in widths.values()) > room + GAP:
        _write_one_below_the_other(columns, texts)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_edge=False)
    for name, width in widths.items():
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
    for row in texts:
        cells = (text for name, text in zip(columns, row, strict=True) if name in widths)
        table.add_row(*(Text(text, style=(styles or {}).get(text, "")) for text in cells))
    if sys.stdout.isatty():
        console().print(table)
        return
    with console().capture() as captured:
        console().print(table)
    for line in captured.get().splitlines():
        say(line.rstrip())  # rich fills each line up to the longest


def _write_one_below_the_other(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.text import Text

    width = max(map(len, columns))
    for number, row in enumerate(rows, 1):
        console().print(Text(f"row {number}", style="bold"))
        for name, text in zip(columns, row, strict=True):
            console().print(Text(f"  {name:<{width}}  ", style="dim").append(text, style="default"))


def progress(what: str) -> "Progress":
    """A progress bar on the terminal, nothing where there is none; `with progress(...) as bar: bar.add_task(what)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    return bar


def _cell(value: Any) -> str:
    from ledgent.dashboard.timeline import printable

    match value:
        case None:
            return ""
        case str():
            return " ".join(printable(value).split("\n"))
        case bool() | int():
            return str(value)
        case float():
            return f"{value:.12g}"
        case dict() | list() | tuple():
            return printable(json.dumps(value, ensure_ascii=False, default=_as_text))
        case _:
            return printable(str(value))


def _as_text(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
