"""What SQLite's errors mean to a user of the log. The mapping only."""

import sqlite3

from ledgent.schemas.errors import LedgentError, LogCorrupt, LogError, LogFull, LogUnavailable

_MEANINGS: dict[int, tuple[type[LedgentError], str]] = {
    sqlite3.SQLITE_FULL: (
        LogFull,
        "there is no space left for the log: free some and start again; nothing was half written",
    ),
    sqlite3.SQLITE_IOERR: (LogFull, "the disk refused to write or read the log: it may be full or failing"),
    sqlite3.SQLITE_CORRUPT: (LogCorrupt, "the log's database file is damaged: restore it from a copy"),
    sqlite3.SQLITE_NOTADB: (
        LogCorrupt,
        "the log's file is no SQLite database: restore it, or name another path in LEDGENT_LOG",
    ),
    sqlite3.SQLITE_BUSY: (LogUnavailable, "another process kept the log locked for too long: try again"),
    sqlite3.SQLITE_CANTOPEN: (
        LogUnavailable,
        "the log's file cannot be opened: name a writable path in LEDGENT_LOG",
    ),
    sqlite3.SQLITE_READONLY: (
        LogUnavailable,
        "the log's file is read-only: name a writable path in LEDGENT_LOG",
    ),
    sqlite3.SQLITE_PERM: (
        LogUnavailable,
        "the log's file may not be opened: name a writable path in LEDGENT_LOG",
    ),
}


def translated(error: sqlite3.Error, path: str = "") -> LedgentError:
    """The error in the log's own terms; its primary result code decides."""
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind, meaning = _MEANINGS.get(primary, (LogError, "SQLite refused"))
    where = f"{path}: " if path else ""
    return kind(f"{where}{meaning} ({error})")
