"""`ledgent sql`: one SELECT over the store."""

import sys
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
    from ledgent.dashboard.cli.output import note, write_csv, write_rows, write_table
    from ledgent.dashboard.cli.waiting import store_to_ask
    from ledgent.processors.clickhouse.schema import TABLES
    from ledgent.processors.store import PeopleLimits

    text = sys.stdin.read() if query == "-" else query
    tables = frozenset(table.name for table in TABLES)
    with store_to_ask(log, store) as (_, opened):
        answer = opened.query_people(text, tables=tables, limits=PeopleLimits(rows=limit))
    if output is SqlOutput.TABLE:
        write_table(answer.columns, answer.rows, right=_numbers(answer.columns, answer.rows))
    elif output is SqlOutput.CSV:
        write_csv(answer.columns, answer.rows)
    else:
        write_rows((dict(zip(answer.columns, row, strict=True)) for row in answer.rows), output)
    if answer.cut:
        note(f"There are more rows; these are the first {limit:,} (--limit).")


def _numbers(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    if not rows:
        return []
    return [name for name, value in zip(columns, rows[0], strict=True) if isinstance(value, int | float)]
