"""A model behind any OpenAI-compatible chat-completions server."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from ledgent.agent.models.http_model import HttpModel
from ledgent.agent.models.openai_stream import StreamedReply
from ledgent.agent.models.port import Delta
from ledgent.agent.models.streaming import Streamed

if TYPE_CHECKING:
    from ledgent.agent.models.http_wire import Service


class OpenAIModel(HttpModel):
    """A model by its name at the provider.

    Without `base_url` the address is OPENAI_BASE_URL, or else OpenAI's own; without `api_key` the key is
    OPENAI_API_KEY, read when the first call is made. `parameters` go into each request as they are. `prices`
    replaces what the price table says, `context_window` what the table of windows says. Raises UsageError.
    """

    provider: ClassVar[str] = "openai"

    def _find_service(self) -> "Service":
        from ledgent.agent.models.openai_wire import OPENAI

        return OPENAI

    def _streamed(
        self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]
    ) -> Streamed:
        return StreamedReply(call_id, on_delta, elapsed_ms)
