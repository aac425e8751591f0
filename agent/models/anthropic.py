"""A model behind any server of the Anthropic messages format."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ledgent.agent.models.anthropic_request import messages_request
from ledgent.agent.models.anthropic_stream import StreamedMessage
from ledgent.agent.models.http_model import HttpModel
from ledgent.agent.models.port import Delta
from ledgent.agent.models.reading import parse_exactly
from ledgent.agent.models.streaming import Streamed

if TYPE_CHECKING:
    from ledgent.agent.models.http_wire import Service


class AnthropicModel(HttpModel):
    """A Claude model by its name: `AnthropicModel("claude-opus-5-5")`.

    Without `base_url` the address is ANTHROPIC_BASE_URL, or else Anthropic's own; without `api_key` the key is
    ANTHROPIC_API_KEY, read when the first call is made. `parameters` go into each request; they may be called as in
    chat completions or as in the messages format (`anthropic_request.py` says what becomes of them), and `betas` names
    beta features. `prices` replaces what the price table says, `context_window` what the table of windows says. Raises
    UsageError.
    """

    provider: ClassVar[str] = "anthropic"
    reads_texts: ClassVar[bool] = True

    def _find_service(self) -> "Service":
        from ledgent.agent.models.anthropic_wire import ANTHROPIC

        return ANTHROPIC

    def _streamed(
        self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]
    ) -> Streamed:
        return StreamedMessage(call_id, on_delta, elapsed_ms)

    def _sent(self, body: bytes) -> tuple[bytes, Mapping[str, str]]:
        request, betas = messages_request(body)
        return request, {"anthropic-beta": ",".join(betas)} if betas else {}

    def _parse(self, content: bytes) -> Any:
        # Unlike in chat completions, arguments are not text inside the JSON: no digit of theirs may be lost.
        return parse_exactly(content)
