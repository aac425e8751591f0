"""`ledgent sql`: one SELECT over the store."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, SqlOutput, StoreUrl


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT over runs, spans and events; - reads it.")],
    output: Annotated[SqlOutput, typer.Option("--output", "-o", help="How to write the rows.")] = SqlOutput.TABLE,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Rows at most.")] = 1_000,
    log: LogUrl = None,
    store: StoreUrl = None,
) -> None:
    """Ask the store a question in SQL (ClickHouse's): read-only, over the tables runs, spans and events.

    For example: ledgent sql "SELECT agent, status, count() AS runs FROM runs GROUP BY ALL ORDER BY runs DESC"
    """
    ask(sys.stdin.read() if query == "-" else query, output, limit, log, store)


def ask(text: str, output: SqlOutput, limit: int, log: str | None, store: str | None) -> None:
    """Writes the answer to a SELECT, at most `limit` rows of it."""
    from ledgent.dashboard.cli.output import note
    from ledgent.dashboard.cli.waiting import store_to_ask
    from ledgent.processors.clickhouse.schema import TABLES
    from ledgent.processors.store import PeopleLimits

    tables = frozenset(table.name for table in TABLES)
    with store_to_ask(log, store) as (_, opened):
        answer = opened.query_people(text, tables=tables, limits=PeopleLimits(rows=limit))
    write_answer(answer.columns, answer.rows, output)
    if answer.cut:
        note(f"There are more rows; these are the first {limit:,} (--limit).")


def write_answer(columns: tuple[str, ...], rows: Sequence[tuple[object, ...]], output: SqlOutput) -> None:
    """The rows of an answer, numbers to the right."""
    from ledgent.dashboard.cli.output import write_csv, write_rows, write_table

    if output is SqlOutput.TABLE:
        write_table(columns, rows, right=_numbers(columns, rows))
    elif output is SqlOutput.CSV:
        write_csv(columns, rows)
    else:
        write_rows((dict(zip(columns, row, strict=True)) for row in rows), output)


def _numbers(columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    if not rows:
        return []
    return [name for name, value in zip(columns, rows[0], strict=True) if isinstance(value, int | float)]
