"""`ledgent run list|show|tail|verify|result|export`: looking at runs. Changes nothing."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledgent.dashboard.cli.options import All, Follow, LogUrl, Output, OutputAs, RunId, RunIds, Since, StoreUrl, point

if TYPE_CHECKING:
    from datetime import datetime

    from ledgent.schemas.ports import History


class Format(StrEnum):
    """How runs are exported."""

    RECORDS = "records"
    OPENAI = "openai"
    OTLP = "otlp"


def list_(
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only runs that stand like this; may be repeated.")
    ] = None,
    agent: Annotated[list[str] | None, typer.Option("--agent", help="Only this agent's; may be repeated.")] = None,
    since: Since = None,
    query: Annotated[
        str, typer.Option("--query", "-q", help="Only runs with this text in their id, input, output, error or labels.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Runs at most, the latest first.")] = 20,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
    store: StoreUrl = None,
) -> None:
    """The runs, the latest first."""
    from ledgent.dashboard.cli.run_lists import checked_statuses, write_runs
    from ledgent.dashboard.cli.waiting import store_to_ask
    from ledgent.processors.reads import RunFilter, list_runs

    which = RunFilter(checked_statuses(status or []), agent or [], query, since)
    with store_to_ask(log, store) as (_, opened):
        page = list_runs(opened, which, limit=limit)
    write_runs(page, output)


def show(
    run: RunId,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="SEQ|NAME", help="The state after this record or at this checkpoint, and what it changed."
        ),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option("--request", metavar="CALL", help="The exact request of a model call, as m3; m3/1: an attempt's."),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Each event's whole payload, too.")] = False,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """One run: what it did step by step, and how it ended; or its state at any point.

    A request is made again from the log and held against the digest of what was sent; exit code 1 if it is another.
    """
    from ledgent.dashboard.cli.run_pages import write_queued, write_request, write_run, write_step
    from ledgent.dashboard.logs import find_run, log_to_read, settings_for
    from ledgent.dashboard.run_view import step_to, view_of

    with log_to_read(settings_for(log).log) as opened:
        run_id = find_run(opened, run)
        if opened.head(run_id) is None:
            write_queued(run_id, output)
        elif request is not None:
            from ledgent.agent.rebuild import rebuilt_request

            if not write_request(rebuilt_request(run_id, opened.records(run_id), request), output):
                raise typer.Exit(1)
        elif at is not None:
            write_step(step_to(run_id, opened.records(run_id), point(at)), output)
        else:
            write_run(view_of(run_id, opened.records(run_id)), output, payloads=events)


def tail(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this run's events.")] = None,
    follow: Follow = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Events that are there already.")] = 20,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """The latest events of all runs, or of one; with --follow also those that come, until the run has ended."""
    from ledgent.dashboard.cli.tailing import write_tail
    from ledgent.dashboard.logs import find_run, log_to_read, opened_log, settings_for

    url = settings_for(log).log
    with opened_log(url) if follow else log_to_read(url) as opened:
        run_id = find_run(opened, run) if run else None
        write_tail(opened, run_id, limit, follow, output)


def verify(
    runs: RunIds = None,
    every: All = False,
    since: Since = None,
    agents: Annotated[
        str | None,
        typer.Option("--agents", metavar="MODULES", help="Would today's agents of these modules decide alike?"),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help="Write the certificates here, as JSON.")
    ] = None,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Check that runs are whole, and that this code decides as recorded; exit code 1 if one is not.

    Every record is checked against the chain of digests and the rules of the log; every decision and every request to
    the model is made again and compared. No model and no tool is called.
    """
    from ledgent.agent.loading import load_agents
    from ledgent.dashboard.cli.certificates import write_certificates
    from ledgent.dashboard.logs import log_to_read, settings_for

    with log_to_read(settings_for(log).log) as opened:
        chosen = _chosen(opened, runs, every, since)
        if not write_certificates(opened, chosen, output, certificate, load_agents(agents or "")):
            raise typer.Exit(1)


def result(
    run: RunId,
    call: Annotated[str, typer.Argument(metavar="CALL", help="The tool call's id, as m1.t0.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here, whole or not at all.")] = None,
    log: LogUrl = None,
) -> None:
    """The whole result of a tool call, also where the model was told only its beginning."""
    from ledgent.dashboard.cli.output import note, say
    from ledgent.dashboard.exporting import write_whole
    from ledgent.dashboard.logs import find_recorded_run, log_to_read, settings_for
    from ledgent.dashboard.run_view import whole_result
    from ledgent.dashboard.timeline import printable
    from ledgent.producers.blobs import DirectoryBlobs

    with log_to_read(settings_for(log).log) as opened:
        run_id = find_recorded_run(opened, run)
        content = whole_result(run_id, opened.records(run_id), call, DirectoryBlobs())
    if out is not None:
        write_whole(out, [content])
        note(f"{len(content):,} bytes written to {out}")
    elif sys.stdout.isatty():
        say(printable(content.decode()))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def export(
    runs: RunIds = None,
    every: All = False,
    format: Annotated[
        Format, typer.Option("--format", help="records: to import again; openai: messages; otlp: spans as OTLP JSON.")
    ] = Format.RECORDS,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here, whole or not at all.")] = None,
    log: LogUrl = None,
) -> None:
    """Write runs as JSON lines: each record's stored bytes, each run's head after it, the list of heads at the end.

    Or an object a run: its chat-completions messages, or its spans.
    """
    from ledgent.dashboard.cli.output import note
    from ledgent.dashboard.exporting import chat_lines, export_lines, span_lines, write_whole
    from ledgent.dashboard.logs import log_to_read, settings_for

    with log_to_read(settings_for(log).log) as opened:
        chosen = _chosen(opened, runs, every)
        written = {Format.RECORDS: export_lines, Format.OPENAI: chat_lines, Format.OTLP: span_lines}[format]
        lines = written(opened, chosen)
        if out is None:
            for line in lines:
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        else:
            write_whole(out, lines)
            note(f"{len(chosen):,} runs written to {out}")


def _chosen(history: "History", runs: list[str] | None, every: bool, since: "datetime | None" = None) -> list[str]:
    """The ids of the runs that are meant, each once. A run that nobody has taken up yet has nothing to be read."""
    from ledgent.dashboard.logs import find_recorded_run, first_id_at
    from ledgent.schemas.errors import UsageError

    if bool(runs) == every:
        raise UsageError("name the runs, or say --all for every run in the log")
    if since is not None and not every:
        raise UsageError("--since goes with --all")
    if every:
        after = first_id_at(since) if since is not None else None
        return [run_id for run_id in history.run_ids(after) if history.head(run_id) is not None]
    return list(dict.fromkeys(find_recorded_run(history, run) for run in runs or []))
