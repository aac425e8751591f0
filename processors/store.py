"""The store as the rest of the project sees it: rows in, rows out, over HTTP, whoever owns it. Knows no tables."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from ledgent.processors.clickhouse.lock import Address
from ledgent.processors.clickhouse.routes import DirectoryRoute, Route, never_sent, reason, unreached
from ledgent.processors.store_url import route_to
from ledgent.schemas.errors import StoreError, StoreQueryRefused, StoreUnavailable

if TYPE_CHECKING:
    import pandas
    import pyarrow

T = TypeVar("T")
Parameters = Mapping[str, Any]
Settings = Mapping[str, Any]

PATIENCE_S = 30.0
"""How long to wait for another process that holds a chDB directory, and to put up with owners that come and go."""

_WRITING: Settings = {"async_insert": 0}
"""A row whose insert has returned is in the table."""


@dataclass(frozen=True, slots=True)
class PeopleLimits:
    """What one statement of a person may use."""

    rows: int = 10_000
    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    result_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a person's statement gave."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    cut: bool
    """Whether there were more rows than the limit let through."""


class Store:
    """A database in ClickHouse. Safe to use from several threads; close it, or use it in a `with`.

    Raises, from every method: StoreUnavailable when the store does not answer, StoreQueryRefused when it
    refuses. Where the owner of a chDB directory has left, the next one is found, or this process becomes it.
    """

    def __init__(self, route: Route, database: str, patience_s: float = PATIENCE_S) -> None:
        """Connects, and makes the database if there is none."""
        self.database = database
        self._patience_s = patience_s
        self.url = route.url
        self._route = route
        self._turn = threading.Lock()
        self._closed = False
        self._column_types: dict[tuple[str, ...], Sequence[Any]] = {}
        try:
            self._client = self._connect()
        except BaseException:
            route.leave()
            raise

    def _connect(self) -> Client:
        deadline = time.monotonic() + self._patience_s
        while True:
            client = self._route.connect()
            try:
                self._make_database(client)
            except ClickHouseError as error:
                _hang_up(client)
                # An owner may leave right after its hello; there is another one then, or it is us.
                if not unreached(error) or time.monotonic() > deadline:
                    raise self._failure(error) from error
            else:
                client.database = self.database
                return client

    def _make_database(self, client: Client) -> None:
        # Looked for first: on a server, CREATE may be forbidden even where there is nothing to create.
        sql = "SELECT 1 FROM system.databases WHERE name = {name:String}"
        if not client.query(sql, parameters={"name": self.database}).result_rows:
            client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}` ENGINE = Atomic")

    @property
    def owner(self) -> Address | None:
        """Where this process itself serves the store; None if it is only a guest."""
        owner = self._route.owner if isinstance(self._route, DirectoryRoute) else None
        return owner.address if owner else None

    def query(
        self, sql: str, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[dict[str, Any]]:
        """The rows, each as a dict of its columns. Parameters fill `{name:Type}`; times are aware, in UTC."""
        result = self._reach(lambda client: client.query(sql, **_arguments(parameters, settings)))
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def query_df(
        self, sql: str, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> "pandas.DataFrame":
        """The rows as a pandas frame, which has its columns even without rows."""
        import pandas

        frame = self._reach(lambda client: client.query_df(sql, **_arguments(parameters, settings)))
        if len(frame):
            return frame
        # Of an empty answer the client makes a frame without columns.
        empty = self._reach(lambda client: client.query(sql, **_arguments(parameters, settings)))
        return pandas.DataFrame(columns=list(empty.column_names))

    def query_arrow(
        self, sql: str, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> "pyarrow.Table":
        """The rows as an Arrow table: the cheapest way to many of them."""
        arguments = _arguments(parameters, settings)
        return self._reach(lambda client: client.query_arrow(sql, use_strings=True, **arguments))

    def query_people(self, sql: str, *, tables: frozenset[str], limits: PeopleLimits = PeopleLimits()) -> Answer:
        """What a person asked: one SELECT over `tables`, read-only and bounded. Raises SqlRefused."""
        # Here, because few need the SQL parser, which takes a while to load.
        from ledgent.processors.sql_guard import checked_select

        checked = checked_select(sql, tables=tables)
        settings = {
            "readonly": 1,
            "final": 1,  # rows replace each other: nobody shall count one twice
            "limit": limits.rows + 1,
            "max_execution_time": limits.seconds,
            "max_memory_usage": limits.memory_bytes,
            "max_result_rows": limits.rows + 1,
            "max_result_bytes": limits.result_bytes,
            "result_overflow_mode": "throw",
        }
        result = self._reach(lambda client: client.query(checked, settings=settings))
        rows = [tuple(row) for row in result.result_rows]
        return Answer(tuple(result.column_names), rows[: limits.rows], len(rows) > limits.rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        """How many rows were stored: all of them, each partition's in one step.

        At least once: they are sent again if the other side dies before it has answered. So they must be rows
        that replace themselves.
        """
        if not rows:
            return 0
        key = (table, *columns)
        if key not in self._column_types:
            context = self._reach(lambda client: client.create_insert_context(table, list(columns)))
            self._column_types[key] = context.column_types
        types = self._column_types[key]
        # Turned into columns here: the client's own way to do it costs a fifth more for 1,000 rows.
        turned = [list(values) for values in zip(*rows, strict=True)]
        self._reach(
            lambda client: client.insert(
                table,
                turned,
                list(columns),
                column_types=types,
                column_oriented=True,
                settings=dict(_WRITING),
            )
        )
        return len(rows)

    def command(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Settings | None = None,
        *,
        once: bool = False,
    ) -> None:
        """Carries out a statement that gives no rows; at least once, as with `insert`.

        With `once` it is not said again when its outcome is unknown: for one like EXCHANGE, which a second
        time would undo.
        """
        arguments = _arguments(parameters, {**_WRITING, **(settings or {})})
        self._column_types.clear()  # the statement may change a table
        self._reach(lambda client: client.command(sql, **arguments), once=once)

    def close(self) -> None:
        """Gives the store back; the next process can own it."""
        with self._turn:
            if not self._closed:
                self._closed = True
                _hang_up(self._client)
                self._route.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reach(self, action: Callable[[Client], T], *, once: bool = False) -> T:
        client = self._client
        deadline = time.monotonic() + self._patience_s
        while True:
            if self._closed:
                raise StoreUnavailable(f"the store {self.url} has been closed by this program")
            try:
                return action(client)
            except ClickHouseError as error:
                if not unreached(error) or time.monotonic() > deadline:
                    raise self._failure(error) from error
                if once and not never_sent(error):
                    raise StoreUnavailable(
                        f"the store {self.url} went away during a write ({reason(error)}); "
                        "whether it was done is unknown: read before writing again"
                    ) from error
            client = self._after(client)

    def _after(self, lost: Client) -> Client:
        """The client to go on with when one has lost its other side; several threads may come with the same."""
        with self._turn:
            if self._client is lost and not self._closed:
                _hang_up(lost)
                self._client = self._connect()
            return self._client

    def _failure(self, error: ClickHouseError) -> StoreError | StoreUnavailable:
        if unreached(error):
            return StoreUnavailable(
                f"the store {self.url} does not answer ({reason(error)}); start it, for example with `ledgent up`"
            )
        code = (error.code if isinstance(error, Error) else None) or 0
        text = str(error).partition("server response: ")[2] or str(error)
        first_line = text.strip().splitlines()[0][:500]
        return StoreQueryRefused(f"the store refused the statement: {first_line}", code)


def open_store(
    url: str,
    *,
    stay: bool = False,
    port: int = 0,
    patience_s: float = PATIENCE_S,
    join_only: bool = False,
) -> Store:
    """The store at a `chdb:` or `clickhouse:` URL.

    A chDB directory is reached through the process that owns it. With no owner running this process is it
    until the store is closed; with `stay` it must be, and waits until a momentary owner has left. `port` is
    where it then listens on loopback, 0 for any. With `join_only` this process never owns it: with no owner
    running within the patience, that is StoreUnavailable.

    Raises UsageError for a URL of another kind, StoreUnavailable, StoreCorrupt; StoreError if this process
    holds another chDB directory.
    """
    route, database = route_to(url, stay=stay, port=port, patience_s=patience_s, join_only=join_only)
    return Store(route, database, patience_s)


def _arguments(parameters: Parameters | None, settings: Settings | None) -> dict[str, Any]:
    return {"parameters": dict(parameters or {}), "settings": dict(settings or {})}


def _hang_up(client: Client) -> None:
    client.close_connections()
    client.close()
