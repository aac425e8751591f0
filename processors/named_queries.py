"""Questions that people ask of the store again and again: one SELECT each, in queries/, its purpose in the first line.

Each runs as it stands in `ledgent sql` too. What they read is documented in docs/sql.md, which is made from here.
"""

from datetime import datetime
from difflib import get_close_matches
from importlib import resources
from typing import NamedTuple

from ledgent.processors.clickhouse.schema import TABLES, Table
from ledgent.schemas.errors import UsageError

ALWAYS = "'1970-01-01 00:00:00'"
"""The earliest time in each query; another takes its place."""


class NamedQuery(NamedTuple):
    """A question by its name."""

    name: str
    about: str
    sql: str

    def since(self, when: datetime | None) -> str:
        """The SELECT over what began at this time (aware) or later; None: over all."""
        return self.sql if when is None else self.sql.replace(ALWAYS, f"fromUnixTimestamp64Micro({_micros(when)})")


def named_queries() -> list[NamedQuery]:
    """All of them, by name."""
    files = sorted(resources.files("ledgent.processors").joinpath("queries").iterdir(), key=lambda file: file.name)
    return [_read(file.name.removesuffix(".sql"), file.read_text()) for file in files if file.name.endswith(".sql")]


def named_query(name: str) -> NamedQuery:
    """The one of that name. Raises UsageError, which names the nearest."""
    known = {query.name: query for query in named_queries()}
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise UsageError(f"there is no query named {name!r}. {hint}")
    return known[name]


def document() -> str:
    """docs/sql.md."""
    tables = "\n".join(map(_described, TABLES))
    queries = "\n".join(f"### {query.name}\n\n{query.about}\n\n```sql\n{query.sql}\n```\n" for query in named_queries())
    return f"{_HEAD}\n## Tables\n\n{tables}\n## Named queries\n\n{_STATS}\n{queries}".rstrip() + "\n"


def _read(name: str, text: str) -> NamedQuery:
    about, _, sql = text.partition("\n")
    return NamedQuery(name, about.removeprefix("-- "), sql.strip())


def _micros(when: datetime) -> int:
    return round(when.timestamp() * 1_000_000)


def _described(table: Table) -> str:
    rows = "\n".join(f"| `{name}` | {type} | {meaning} |" for name, type, meaning in table.columns)
    return f"### {table.name}\n\n{table.about}\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


_HEAD = """# The store in SQL

The store is a ClickHouse database computed from the log: drop it and `ledgent store rebuild` brings it back, row for
row. `ledgent sql "SELECT ..."` asks it, and so does any ClickHouse client where the store is a server. One SELECT at a
time, over these tables, with functions that read nothing else; every table is read with `FINAL`, so that nothing counts
twice however often a record came. Made from the code by `ledgent schema sql`.
"""

_STATS = f"""`ledgent stats NAME` runs one of these, with `--since 7d` over what began since; `ledgent stats` lists
them. Each runs as it stands in `ledgent sql` too, where another time may take the place of `{ALWAYS}`.
"""
