"""`ledgent stats`: the questions that have names."""

from typing import Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, Since, SqlOutput, StoreUrl


def stats(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which question; none lists them all.")] = None,
    since: Since = None,
    output: Annotated[SqlOutput, typer.Option("--output", "-o", help="How to write the rows.")] = SqlOutput.TABLE,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Rows at most.")] = 1_000,
    sql: Annotated[bool, typer.Option("--sql", help="Write the SELECT instead of asking it.")] = False,
    log: LogUrl = None,
    store: StoreUrl = None,
) -> None:
    """Answer a question about cost, speed, errors or endings that has a name; without one, say which there are."""
    from ledgent.dashboard.cli.output import say
    from ledgent.dashboard.cli.sql import ask, write_answer
    from ledgent.processors.named_queries import named_queries, named_query

    if name is None:
        listed = [(query.name, query.about) for query in named_queries()]
        write_answer(("name", "question"), listed, output)
        return
    text = named_query(name).since(since)
    if sql:
        say(text)
        return
    ask(text, output, limit, log, store)
