"""The SQLite log's file: made where it is missing, opened with what durability needs. No records."""

import sqlite3
import time
from pathlib import Path

from ledgent.producers.sqlite_errors import translated
from ledgent.producers.sqlite_tables import TABLES
from ledgent.schemas.errors import LogUnavailable

BUSY_S = 30.0
"""How long to wait for a lock that another process has on the file."""


def open_file(path: Path) -> sqlite3.Connection:
    """A connection to the file. Raises LogUnavailable, LogCorrupt."""
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise translated(error, str(path)) from error
    return connection


def prepare(path: Path) -> None:
    """Makes the file, its folder and tables where they are missing."""
    if path.is_dir():
        raise LogUnavailable(f"{path} is a directory: name a file, like LEDGENT_LOG=sqlite:///{path}/log.db")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == ".ledgent" and not (ignored := path.parent / ".gitignore").exists():
            ignored.write_text("*\n")
    except OSError as error:
        raise LogUnavailable(f"the log's folder {path.parent} cannot be made: {error.strerror}") from error
    connection = open_file(path)
    try:
        _switch_to_wal(connection)
        connection.executescript(TABLES)
    except sqlite3.Error as error:
        raise translated(error, str(path)) from error
    finally:
        connection.close()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """As long as several processes do so at once, SQLite refuses all but one, at once and whatever its time-out."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
