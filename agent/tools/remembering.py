"""The tools by which a model reads and writes its agent's memory: `Agent(..., memory=...)` has them. No storage."""

from ledgent.agent.memory import LONGEST_ENTRY, Memory, found_in
from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import tool
from ledgent.agent.tools.toolkit import Toolkit
from ledgent.schemas.errors import ToolError
from ledgent.schemas.events import MemoryRead, MemoryWritten


class MemoryTools(Toolkit):
    """`remember` and `recall`, over one memory. What they did to it is recorded before their outcome."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @tool(idempotent=True, attempts=2, timeout_s=10.0)
    def remember(self, text: str, context: ToolContext) -> str:
        """Remember something for later conversations.

        Args:
            text: What to remember, in a sentence or a few, so that it can be understood on its own.
        """
        if len(text) > LONGEST_ENTRY:
            raise ToolError(f"That is {len(text):,} characters. Remember {LONGEST_ENTRY:,} at most at a time.")
        if not text.strip():
            raise ToolError("There is nothing to remember in an empty text.")
        self._memory.add(text, context.idempotency_key)
        context.record(MemoryWritten(call_id=context.call_id, key=context.idempotency_key, text=text))
        return "It is remembered."

    @tool(idempotent=True, attempts=2, timeout_s=10.0)
    def recall(self, query: str, context: ToolContext) -> str:
        """Look up what was remembered in earlier conversations.

        Args:
            query: Words to look for.
        """
        entries = found_in(self._memory, query)
        context.record(MemoryRead(query=query, entries=entries, call_id=context.call_id))
        return "\n".join(entries) or "Nothing is remembered about that."
