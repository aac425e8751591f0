"""`ledgent log verify|anchor`: exports checked from the files alone, heads written down elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs

app = typer.Typer(name="log", help="Tamper evidence: check exports, anchor heads.", no_args_is_help=True)


@app.command(short_help="Check exported files, without the log.")
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What `ledgent run export` wrote.")],
    anchors: Annotated[
        Path | None,
        typer.Option("--anchors", metavar="FILE", help="What `ledgent log anchor` wrote: all of it must be there."),
    ] = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """Check that exports are what was written, from the files alone; exit code 1 if one is not.

    Every byte of every record counts, and so does every line: runs have their heads, the file has the list of them.
    Anchors, kept where whoever could change the files cannot, show a chain of digests that was made anew.
    """
    from ledgent.dashboard.cli.output import note, say, write_json, write_rows
    from ledgent.dashboard.importing import anchors_in, check_files

    known = anchors_in(anchors) if anchors else {}
    found = check_files(files, known)
    faulty = {path: check for path, check in found.items() if check.faults}
    rows = [
        {
            "file": str(path),
            "ok": not check.faults,
            "runs": len(check.heads),
            "records": check.records,
            "faults": [fault._asdict() for fault in check.faults],
        }
        for path, check in found.items()
    ]
    if output is Output.TABLE:
        for path, check in found.items():
            for fault in check.faults:
                say(f"{path}: {fault}")
            if not check.faults:
                say(f"{path}: {len(check.heads):,} runs, {check.records:,} records, whole and as they were written")
    else:
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
    if faulty:
        note(f"ledgent: {len(faulty):,} of {len(found):,} files are not what was written")
        raise typer.Exit(1)


@app.command(short_help="Write the heads of all runs where they are safe.")
def anchor(
    to: Annotated[
        str,
        typer.Option("--to", metavar="FILE", help="Append here what the file has not yet; -: all, to the output."),
    ],
    log: LogUrl = None,
) -> None:
    """Write down how long each run is and the digest of its last record, a line each.

    Kept where the log's keeper cannot change it, the file shows later whether the log was made anew.
    """
    import sys
    from datetime import UTC, datetime

    from ledgent.dashboard.cli.output import note
    from ledgent.dashboard.exporting import anchor_lines, append_lines
    from ledgent.dashboard.importing import anchors_in
    from ledgent.dashboard.logs import log_to_read, settings_for

    at = datetime.now(UTC).isoformat(timespec="seconds")
    file = None if to == "-" else Path(to)
    known = anchors_in(file) if file is not None and file.exists() else {}
    with log_to_read(settings_for(log).log) as opened:
        lines = list(anchor_lines(opened, at, known))
    if file is None:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    else:
        append_lines(file, lines)
        note(f"{len(lines):,} heads anchored in {file}")
