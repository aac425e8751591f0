"""What agents remember from run to run: the port, and how much of it is told. No storage, no tools.

All that is read and written is in the log: a replay asks no memory.
"""

from typing import Protocol, runtime_checkable

from ledgent.schemas.codec import whole_characters

RECALLED = 5
"""Entries that are read at once, at most."""
LONGEST_ENTRY = 1_000
"""Characters of an entry; a longer one is read without its end, and `remember` takes none."""


@runtime_checkable
class Memory(Protocol):
    """Texts to find again. Its methods may be called in any thread."""

    @property
    def name(self) -> str:
        """What runs know it by; never holds a secret."""
        ...

    def add(self, text: str, key: str) -> None:
        """Durable when it returns; another text with the same key changes nothing. Raises MemoryUnavailable."""
        ...

    def search(self, query: str, limit: int) -> list[str]:
        """Up to `limit` texts that have a word of the query, the best first. Raises MemoryUnavailable."""
        ...


def found_in(memory: Memory, query: str) -> tuple[str, ...]:
    """What there is about the query, as it is told. Raises what the memory raises."""
    return tuple(_cut(whole_characters(text)) for text in memory.search(query, RECALLED)[:RECALLED])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ENTRY else text[: LONGEST_ENTRY - 1] + "…"
