"""`ledgent run import`: runs that were recorded elsewhere, into this log."""

from pathlib import Path
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON Lines, or .gz of them.")],
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Put exported runs into this log, byte for byte; what it has already stays as it is.

    Refused, with nothing written, where a file is not what was exported or the log holds a run with other records.
    """
    import asyncio

    from ledgent.dashboard.cli.output import say, write_json, write_rows
    from ledgent.dashboard.importing import import_records
    from ledgent.dashboard.logs import opened_log, settings_for

    rows = []
    with opened_log(settings_for(log).log) as opened:
        for file in files:
            found = asyncio.run(import_records(opened, file))
            rows.append({"file": str(file), **found._asdict()})
            if output is Output.TABLE:
                say(f"{file}: {found.runs:,} runs, {found.new:,} of them new; {found.records:,} records written")
    if output is not Output.TABLE:
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
