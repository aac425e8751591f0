"""What tests ask of a store that a sink has filled, and stores that fail or take notes. No test, no fixture."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from clickhouse_connect.driver.binding import format_bind_value

from ledgent.processors.clickhouse import schema
from ledgent.processors.clickhouse.schema import TABLES
from ledgent.processors.store import Store
from ledgent.schemas.errors import StoreUnavailable

Rows = dict[str, list[dict[str, Any]]]


class BreakingStore:
    """A store whose n-th insert fails, before it is carried out or after."""

    def __init__(self, store: Store, *failing: int, done: bool = False) -> None:
        self._store = store
        self._failing = failing
        self._done = done
        self.inserts = 0

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        self.inserts += 1
        fails = self.inserts in self._failing
        if self._done or not fails:
            self._store.insert(table, columns, rows)
        if fails:
            raise StoreUnavailable("the store went away")
        return len(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def as_store(self) -> Store:
        return cast(Store, self)


def tables_of(store: Store) -> Rows:
    """Every row, deduplicated, in the order of its key."""
    return {
        table.name: store.query(
            f"SELECT {columns_of(table)} FROM {table.name} FINAL "
            f"ORDER BY {', '.join(f'`{name}`' for name in table.key)}"
        )
        for table in TABLES
    }


def columns_of(table: schema.Table) -> str:
    return ", ".join(f"hex({name}) AS {name}" if name == "body" else f"`{name}`" for name in table.names)


class NotedStore:
    """A store that notes how often it is asked, and how long the longest parameter is, as a server counts it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = 0
        self.longest = 0

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        sizes = (len(format_bind_value(value)) for value in (parameters or {}).values())
        self.asked += 1
        self.longest = max(self.longest, *sizes)
        return self._store.query(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def as_store(self) -> Store:
        return cast(Store, self)
