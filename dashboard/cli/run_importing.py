"""`ledgent run import`: runs that were recorded elsewhere, into this log."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs


class Format(StrEnum):
    """What the lines of a file hold."""

    RECORDS = "records"
    OPENAI = "openai"


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON Lines, or .gz of them.")],
    format: Annotated[
        Format,
        typer.Option("--format", help="records, as `run export` writes them; openai: messages, a run a line."),
    ] = Format.RECORDS,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Put exported runs into this log, byte for byte; what it has already stays as it is.

    Refused, with nothing written, where a file is not what was exported or the log holds a run with other records. Runs
    of other systems, as chat-completions messages, become runs that say so; lines that hold none are named.
    """
    import asyncio

    from ledgent.dashboard.cli.output import note, say, write_json, write_rows
    from ledgent.dashboard.importing import import_chats, import_records
    from ledgent.dashboard.logs import opened_log, settings_for

    rows, refused = [], list[str]()
    with opened_log(settings_for(log).log) as opened:
        for file in files:
            if format is Format.RECORDS:
                found = asyncio.run(import_records(opened, file))
            else:
                found, bad = asyncio.run(import_chats(opened, file))
                refused += bad
            rows.append({"file": str(file), **found._asdict()})
            if output is Output.TABLE:
                say(f"{file}: {found.runs:,} runs, {found.new:,} of them new; {found.records:,} records written")
    if output is not Output.TABLE:
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
    for reason in refused:
        note(f"ledgent: {reason}")
    if refused:
        raise typer.Exit(1)
