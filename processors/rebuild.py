"""The store made anew from the log, and compared with it. What the tables hold is decided in sink.py."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ledgent.processors.clickhouse import schema
from ledgent.processors.clickhouse.schema import TABLES, Table, Tables
from ledgent.processors.readback import Readback
from ledgent.processors.sink import Progress, Sink
from ledgent.processors.store import Store
from ledgent.schemas import topics
from ledgent.schemas.ports import Feed, Positioned

DIFFERENCES_NAMED = 100
"""In each table; a check stops looking there."""
CHECK_ROUNDS = 5
"""How often a check follows a store that goes on while it is compared."""

_UNEQUAL = """
SELECT {key} FROM (
    SELECT {key}, cityHash64({columns}) AS hash, 1 AS here, 0 AS there FROM {{mine:Identifier}} FINAL
    UNION ALL
    SELECT {key}, cityHash64({columns}) AS hash, 0 AS here, 1 AS there FROM {{other:Identifier}} FINAL
)
GROUP BY {key} HAVING sum(here) != 1 OR sum(there) != 1 OR min(hash) != max(hash)
ORDER BY {key} LIMIT {{most:UInt64}}
"""


class Difference(NamedTuple):
    """A row that is not what the log says."""

    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.table}: {self.key}: {self.what}"


class Checked(NamedTuple):
    """What a check found."""

    records: int
    """Compared: those that the store has taken in."""
    behind: int
    """In the log, but not in the store yet."""
    differences: tuple[Difference, ...]


def rebuild(feed: Feed, store: Store, progress: Progress | None = None) -> int:
    """Drops the tables and makes them anew from the log; the number of records read.

    No sink may write to this store meanwhile. Raises UnknownEventType, StoreUnavailable, LogUnavailable.
    """
    schema.drop(store)
    schema.create(store)
    return Sink(feed, store).catch_up(progress)


def check(feed: Feed, store: Store, progress: Progress | None = None) -> Checked:
    """Compares every row with a second set of tables that is made from the log and dropped again.

    A store that takes in more meanwhile is followed. Raises as `rebuild` does.
    """
    schema.create(store)
    beside = schema.prefixed("check_")
    schema.drop(store, beside)
    positions, records = Readback(store, TABLES), 0
    try:
        for _ in range(CHECK_ROUNDS):
            upto = positions.positions(topics.EVENTS)
            records += Sink(_UpTo(feed, upto), store, beside).catch_up(progress)
            differences = tuple(_differences(store, beside))
            if not differences or positions.positions(topics.EVENTS) == upto:
                break
        ends = feed.ends()
    finally:
        schema.drop(store, beside)
    behind = sum(max(end - upto.get(partition, -1), 0) for partition, end in ends.items())
    return Checked(records, behind, differences)


class _UpTo:
    """A log as it was when it ended at these offsets."""

    def __init__(self, feed: Feed, last: Mapping[int, int]) -> None:
        self._feed = feed
        self._last = dict(last)

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        while True:
            done = {
                partition: end
                for partition, end in self._feed.ends().items()
                if positions.get(partition, -1) >= self._last.get(partition, -1)
            }
            # Past what is done, or the newer records of one partition would hide the others'.
            found = self._feed.read({**positions, **done}, limit, timeout_s)
            within = [place for place in found if place.offset <= self._last.get(place.partition, -1)]
            if within or not found:
                return within

    def ends(self) -> dict[int, int]:
        ends = self._feed.ends()
        return {partition: min(last, ends.get(partition, -1)) for partition, last in self._last.items()}


def _differences(store: Store, beside: Tables) -> Iterator[Difference]:
    for table, other in zip(TABLES, beside, strict=True):
        key = ", ".join(f"`{name}`" for name in table.key)
        columns = ", ".join(f"`{name}`" for name in table.names)
        unequal = store.query(
            _UNEQUAL.format(key=key, columns=columns),
            {"mine": table.name, "other": other.name, "most": DIFFERENCES_NAMED},
        )
        for values in unequal:
            yield _difference(store, table, other, values)


def _difference(store: Store, table: Table, other: Table, key: dict[str, Any]) -> Difference:
    stored, true = (_row(store, source, key) for source in (table, other))
    name = ", ".join(f"{column} {value}" for column, value in key.items())
    if stored is None:
        return Difference(table.name, name, "the row is missing")
    if true is None:
        return Difference(table.name, name, "the row is not in the log")
    unequal = [
        f"{column} is {_short(stored[column])}, by the log {_short(true[column])}"
        for column in table.names
        if stored[column] != true[column]
    ]
    return Difference(table.name, name, "; ".join(unequal) or "bytes that are no text differ")


def _row(store: Store, table: Table, key: dict[str, Any]) -> dict[str, Any] | None:
    types = {name: type for name, type, _ in table.columns}
    conditions = " AND ".join(f"`{name}` = {{{name}:{types[name]}}}" for name in key)
    found = store.query(
        f"SELECT * FROM {{rows_of:Identifier}} FINAL WHERE {conditions}", {"rows_of": table.name, **key}
    )
    return found[0] if found else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
