"""`ledgent store`: the store made anew from the log, or compared with it."""

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs, StoreUrl

app = typer.Typer(name="store", help="The store: rebuild it from the log, or check it.", no_args_is_help=True)


@app.command()
def rebuild(log: LogUrl = None, store: StoreUrl = None) -> None:
    """Drop the store's tables and make them anew from the log. Nothing is lost: the log has it all.

    Stop first what else fills the store: `ledgent sink` and `ledgent up`.
    """
    from ledgent.dashboard.cli.output import say
    from ledgent.dashboard.cli.waiting import records_progress
    from ledgent.dashboard.compose import rebuilt_store
    from ledgent.dashboard.logs import log_is_there, opened_log, settings_for, without_password
    from ledgent.schemas.errors import LogUnavailable

    settings = settings_for(log, store)
    if not log_is_there(settings.log):
        # An empty store is what a mistyped --log would make of a full one.
        raise LogUnavailable(f"there is no log at {settings.log}; name it with --log or LEDGENT_LOG")
    with opened_log(settings.log) as opened, records_progress("Rebuilding the store") as told:
        records = rebuilt_store(settings, opened, told)
    say(f"The store {without_password(settings.store)} holds the log's {records:,} records again.")


@app.command()
def check(output: OutputAs = Output.TABLE, log: LogUrl = None, store: StoreUrl = None) -> None:
    """Compare every row of the store with the log; exit code 1 if one differs."""
    from ledgent.dashboard.cli.output import note, say, write_json, write_rows, write_table
    from ledgent.dashboard.cli.waiting import records_progress, store_to_ask
    from ledgent.processors.rebuild import check as compare

    with store_to_ask(log, store) as (opened, asked), records_progress("Comparing") as told:
        found = compare(opened, asked, told)
    differences = [difference._asdict() for difference in found.differences]
    match output:
        case Output.JSON:
            write_json({**found._asdict(), "differences": differences})
        case Output.JSONL:
            write_rows(differences, output)
        case Output.TABLE if differences:
            write_table(("table", "row", "what"), [tuple(row.values()) for row in differences], wide="what")
        case Output.TABLE:
            say(f"The store holds exactly what the log's {found.records:,} records say.")
    if differences:
        note(f"ledgent: {len(differences)} rows are not what the log says; `ledgent store rebuild` mends them")
        raise typer.Exit(1)
