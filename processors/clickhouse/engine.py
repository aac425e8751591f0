"""The chDB engine on one directory, inside this process: statements in, bytes out. Knows neither HTTP nor locks."""

import importlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ledgent.schemas.errors import StoreCorrupt, StoreError, StoreQueryRefused, StoreUnavailable

SYNTAX_ERROR = 62
UNKNOWN_SETTING = 115
READONLY = 164
UNKNOWN_CODE = 1001

_CODE = re.compile(r"Code: (\d+)")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FORMAT_NATIVE = re.compile(r"\s+FORMAT\s+Native\s*\Z", re.IGNORECASE)
_SELECT = re.compile(r"\s*(?:SELECT|WITH|FROM|\()", re.IGNORECASE)
_BROKEN_PARTS = "SELECT concat(database, '.', table) FROM system.detached_parts WHERE reason LIKE 'broken%' LIMIT 1"
_LOCKED_BY_ANOTHER = "Cannot lock file"
_SECOND_DIRECTORY = "already initialized with path"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and everything that it runs under."""

    sql: str
    database: str = ""
    result_format: str = "TabSeparated"
    """Used where the statement names no format itself."""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of `{name:Type}` placeholders, escaped as in TabSeparated."""
    data_format: str = ""
    data: bytes | None = None
    """The rows of an INSERT, whose `sql` then ends before its FORMAT clause."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gave."""

    body: bytes = b""
    reads: bool = False
    """Whether the statement was one that gives rows."""
    read_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0


class Connection(Protocol):
    """What we use of a chDB connection: its settings and current database are its own, its data is shared."""

    def query(self, sql: str, format: str = ..., *, params: dict[str, str] = ...) -> Any: ...
    def send_insert(self, sql: str, format: str) -> Any: ...
    def insert_append(self, insert: Any, data: bytes) -> None: ...
    def insert_done(self, insert: Any) -> Any: ...
    def classify_query(self, sql: str) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Engine:
    """A chDB directory held open. Safe to use from several threads.

    Each statement has a connection of its own (80 us), so that nothing it sets, `readonly` least of all,
    outlives it, and so that statements run beside each other.
    """

    def __init__(self, directory: Path) -> None:
        """Raises StoreCorrupt, StoreUnavailable; StoreError if this process holds another directory."""
        self.directory = directory
        self._connect: Callable[[str], Connection] = importlib.import_module("chdb._chdb").connect
        if "?" in str(directory):
            raise StoreUnavailable(f"the engine cannot open a path with a question mark: {directory}")
        self._keeper = self._open()
        try:
            self._refuse_broken_parts()
        except StoreError:
            self.close()
            raise

    def _open(self) -> Connection:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"the store's directory {self.directory} cannot be made: {error.strerror}; "
                "name another one with LEDGENT_STORE"
            ) from error
        with _engine_messages() as messages:
            try:
                return self._connect(str(self.directory))
            except RuntimeError as error:
                raise _opening_failed(self.directory, f"{error}\n{messages()}") from error

    def _refuse_broken_parts(self) -> None:
        """The engine sets parts that it cannot read aside and goes on without their rows; we do not."""
        table = self._keeper.query(_BROKEN_PARTS, "TSVRaw").bytes().decode().strip()
        if table:
            raise StoreCorrupt(
                f"the store at {self.directory} has lost rows: files of {table} cannot be read; "
                "`ledgent store rebuild` brings it back from the log"
            )

    def run(self, statement: Statement) -> Result:
        """The statement's result. Raises StoreQueryRefused with the engine's own text and code."""
        connection = self._connect(str(self.directory))
        try:
            return _run(connection, statement)
        except RuntimeError as error:
            raise _refusal(str(error)) from error
        finally:
            connection.close()

    def interrupt(self) -> None:
        """Cancels every statement under way; each then ends with a refusal."""
        self._keeper.query("KILL QUERY WHERE query NOT ILIKE 'KILL%' ASYNC")

    def close(self) -> None:
        """Nothing may be running any more. The same directory, or another one, can be opened afterwards."""
        self._keeper.close()


def _run(connection: Connection, statement: Statement) -> Result:
    verdict = connection.classify_query(statement.sql)
    reads = verdict["query_class"].name == "READ_ONLY"
    if verdict["statement_count"] > 1:
        raise _refusal("Multi-statements are not allowed", SYNTAX_ERROR, "SYNTAX_ERROR")
    if not reads and statement.settings.get("readonly", "0") != "0":
        # `readonly` alone would let the engine write INTO OUTFILE and run KILL QUERY.
        raise _refusal("Cannot execute query in readonly mode", READONLY, "READONLY")
    if statement.database:
        connection.query(f"USE {_quoted(statement.database, '`')}")
    if statement.settings:
        connection.query("SET " + ", ".join(_assignment(*pair) for pair in statement.settings.items()))
    if statement.data is not None:
        return _insert(connection, statement, statement.data)
    answer = connection.query(statement.sql, statement.result_format, params=dict(statement.parameters))
    body: bytes = answer.bytes()
    if reads and not body:
        body = _columns_only(connection, statement)
    return Result(body, reads, answer.storage_rows_read(), answer.rows_written(), answer.bytes_written())


def _insert(connection: Connection, statement: Statement, data: bytes) -> Result:
    # Apart from the SQL: the engine takes line feeds behind it for the end of the statement, and Native that
    # begins with two of them is a block of ten columns and ten rows.
    insert = connection.send_insert(statement.sql, statement.data_format)
    connection.insert_append(insert, data)
    answer = connection.insert_done(insert)
    return Result(written_rows=answer.rows_written(), written_bytes=answer.bytes_written())


def _columns_only(connection: Connection, statement: Statement) -> bytes:
    """A Native block of no rows with the columns' names and types, which chDB leaves out and a server does not."""
    select, found = _FORMAT_NATIVE.subn("", statement.sql)
    if not _SELECT.match(select) or not (found or statement.result_format == "Native"):
        return b""
    try:
        described = connection.query(f"DESCRIBE ({select}\n)", "JSONCompactEachRow", params=dict(statement.parameters))
    except RuntimeError:
        return b""  # the answer without columns is still the true answer
    columns = [json.loads(line)[:2] for line in described.bytes().splitlines()]
    return b"".join((_varint(len(columns)), b"\0", *(_native_string(text) for pair in columns for text in pair)))


def _native_string(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(high) if high else bytes((low,))


def _assignment(name: str, value: str) -> str:
    if not _SETTING_NAME.match(name):
        raise _refusal(f"Unknown setting {name!r}", UNKNOWN_SETTING, "UNKNOWN_SETTING")
    return f"{name} = {_quoted(value, chr(39))}"


def _quoted(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return f"{quote}{escaped}{quote}"


def _refusal(text: str, code: int = 0, name: str = "") -> StoreQueryRefused:
    if code:
        return StoreQueryRefused(f"Code: {code}. DB::Exception: {text}. ({name})", code)
    found = _CODE.search(text)
    return StoreQueryRefused(text, int(found[1]) if found else UNKNOWN_CODE)


def _opening_failed(directory: Path, text: str) -> StoreError | StoreUnavailable:
    if _SECOND_DIRECTORY in text:
        return StoreError(
            f"this process has another store open, and a process can open only one chDB directory: "
            f"close the other one first, or open {directory} from a process of its own"
        )
    if _LOCKED_BY_ANOTHER in text:
        return StoreUnavailable(
            f"the store at {directory} is held by a process that does not serve it; close the program "
            "that has opened this directory with chDB or clickhouse-local"
        )
    reasons = [line for line in text.splitlines() if line.startswith("Code: ")]
    return StoreCorrupt(
        f"the store at {directory} cannot be opened: {(reasons or text.splitlines())[-1][:300]}; "
        "`ledgent store rebuild` brings it back from the log"
    )


@contextmanager
def _engine_messages() -> Iterator[Callable[[], str]]:
    """What the engine writes to the process's stderr meanwhile: it gives the reason for a failed start nowhere else."""
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)

        def text() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
