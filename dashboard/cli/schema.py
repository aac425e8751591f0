"""`ledgent schema`: the shapes of events as JSON Schema, the states that they lead through, the tables of the store."""

from pathlib import Path
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import Output, OutputAs

app = typer.Typer(name="schema", help="The shapes of events as JSON Schema; states; tables.", no_args_is_help=True)


@app.command("list")
def list_(output: OutputAs = Output.TABLE) -> None:
    """Every event type, its version and its fields."""
    from ledgent.dashboard.cli.output import write_rows, write_table
    from ledgent.schemas.events import EVENT_CLASSES

    rows = [
        (name, event.version, [field for field in event.model_fields if field != "type"])
        for name, event in EVENT_CLASSES.items()
    ]
    columns = ("type", "version", "fields")
    if output is Output.TABLE:
        table = [(name, version, ", ".join(fields)) for name, version, fields in rows]
        write_table(columns, table, right=("version",), wide="fields")
    else:
        write_rows((dict(zip(columns, row, strict=True)) for row in rows), output)


@app.command()
def states() -> None:
    """The states of runs and calls, and the events between them, as Mermaid diagrams in Markdown."""
    import sys

    from ledgent.schemas.transitions import document

    sys.stdout.write(document())


@app.command()
def recovery() -> None:
    """What is done after a call has failed, by the code of its error, as a table in Markdown."""
    import sys

    from ledgent.schemas.recovery import table_in_markdown

    sys.stdout.write(table_in_markdown())


@app.command()
def sql() -> None:
    """The tables of the store and the queries that have names, in Markdown."""
    import sys

    from ledgent.processors.named_queries import document

    sys.stdout.write(document())


@app.command()
def check(
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="What `ledgent schema export` wrote then.")
    ] = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """Whether this code reads every shape of event that was released; exit code 1 if not.

    Fields that are gone, newly required or narrower are found, and versions that no upcast brings to the present one.
    """
    from ledgent.dashboard.cli.output import note, say, write_json, write_rows
    from ledgent.dashboard.schemas_export import event_schemas, schemas_from
    from ledgent.schemas.compatibility import breaking_changes

    released = schemas_from(against)
    found = breaking_changes(released, event_schemas())
    rows = [{"schema": line.partition(": ")[0], "change": line.partition(": ")[2]} for line in found]
    if output is not Output.TABLE:
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
    else:
        for line in found:
            say(line)
        if not found:
            say(f"{len(released)} released shapes of events can be read as they were written")
    if found:
        note(f"ledgent: {len(found)} breaking changes: raise the version and give an upcast (schemas/codec.py)")
        raise typer.Exit(1)


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write one file per type and version here.")
    ] = None,
) -> None:
    """JSON Schema 2020-12 of every event type and version: one document, or a file each."""
    import orjson

    from ledgent.dashboard.cli.output import note, write_json
    from ledgent.dashboard.schemas_export import event_schemas
    from ledgent.schemas.errors import UsageError

    schemas = event_schemas()
    if out is None:
        write_json(schemas)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, schema in schemas.items():
            text = orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            (out / f"{name}.json").write_bytes(text)
    except OSError as error:
        raise UsageError(f"the schemas cannot be written to {out}: {error.strerror}") from error
    note(f"{len(schemas)} schemas written to {out}")
