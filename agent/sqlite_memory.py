"""The memory of this machine: one SQLite file with a full-text index, for any number of processes."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ledgent.schemas.errors import MemoryUnavailable, UsageError

FILE = Path(".ledgent/memory.db")
WAIT_S = 5.0
"""For another process that is writing."""
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (namespace, key)
);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='entries', content_rowid='id');
CREATE TRIGGER IF NOT EXISTS indexed AFTER INSERT ON entries BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
"""


class SqliteMemory:
    """The entries of one namespace, say an agent's name or a user's; other namespaces in the file are not seen."""

    def __init__(self, namespace: str, file: Path | str = FILE) -> None:
        if not namespace:
            raise UsageError("a memory needs a namespace: an agent's name, or a user's")
        self.name = namespace
        self._file = Path(file)

    def add(self, text: str, key: str) -> None:
        """As `Memory.add`."""
        with self._opened() as connection, connection:
            connection.execute(
                "INSERT INTO entries (namespace, key, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (self.name, key, text),
            )

    def search(self, query: str, limit: int) -> list[str]:
        """As `Memory.search`."""
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        if not words:
            return []
        with self._opened() as connection:
            found = connection.execute(
                "SELECT entries.text FROM words JOIN entries ON entries.id = words.rowid "
                "WHERE words MATCH ? AND namespace = ? ORDER BY rank, entries.id DESC LIMIT ?",
                (words, self.name, limit),
            )
            return [text for (text,) in found]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each call: calls come in any thread. Raises MemoryUnavailable."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=WAIT_S)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_TABLES)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise MemoryUnavailable(f"the memory {self._file} does not answer: {error}") from error
