"""What agents remember from run to run: the port, and the tools by which a model reads and writes it. No storage.

What is read and written is in the log as the calls of these tools: a replay asks no memory.
"""

from typing import Protocol

from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import tool
from ledgent.agent.tools.toolkit import Toolkit

RECALLED = 5
"""Entries that one call of `recall` tells at most."""


class Memory(Protocol):
    """Texts to find again. Its methods may be called in any thread."""

    def add(self, text: str, key: str) -> None:
        """Durable when it returns; another text with the same key changes nothing. Raises MemoryUnavailable."""
        ...

    def search(self, query: str, limit: int) -> list[str]:
        """Up to `limit` texts that have a word of the query, the best first. Raises MemoryUnavailable."""
        ...


class MemoryTools(Toolkit):
    """Lets a model remember: `Agent(..., tools=[MemoryTools(SqliteMemory("travel"))])`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @tool(idempotent=True, attempts=2, timeout_s=10.0)
    def remember(self, text: str, context: ToolContext) -> str:
        """Remember something for later conversations.

        Args:
            text: What to remember, so that it can be understood on its own.
        """
        self._memory.add(text, context.idempotency_key)
        return "It is remembered."

    @tool(idempotent=True, attempts=2, timeout_s=10.0)
    def recall(self, query: str) -> str:
        """Look up what was remembered in earlier conversations.

        Args:
            query: Words to look for.
        """
        return "\n".join(self._memory.search(query, RECALLED)) or "Nothing is remembered about that."
