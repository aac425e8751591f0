"""`ledgent doctor`: whether everything is in place, and what mends what is not."""

import typer

from ledgent.dashboard.cli.options import DEFAULT_PORT, LogUrl, Output, OutputAs, Port, StoreUrl


def doctor(
    port: Port = DEFAULT_PORT, output: OutputAs = Output.TABLE, log: LogUrl = None, store: StoreUrl = None
) -> None:
    """Check Python, log, store, API key and port; exit code 1 if something is broken, 3 if it does not answer."""
    from rich.text import Text

    from ledgent.dashboard.cli.output import console, write_json, write_rows
    from ledgent.dashboard.health import Verdict, examine
    from ledgent.dashboard.logs import settings_for

    styles = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
    findings = []
    for finding in examine(settings_for(log, store), port):
        findings.append(finding)
        if output is Output.TABLE:
            text = Text(f"{finding.verdict:<5}", style=styles[finding.verdict])
            text.append(f"{finding.subject:<9}", style="bold").append(finding.what, style="default")
            console().print(text)
            if finding.mend:
                console().print(Text(f"{'':14}{finding.mend}", style="dim"))
    rows = [finding._asdict() for finding in findings]
    if output is Output.JSON:
        write_json(rows)
    elif output is Output.JSONL:
        write_rows(rows, output)
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    if failed:
        raise typer.Exit(3 if any(finding.unreachable for finding in failed) else 1)
