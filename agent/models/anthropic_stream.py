"""Reading a streamed answer in the Anthropic messages format: server-sent events to one reply. No I/O, no waiting."""

from collections.abc import Callable
from typing import Any

from ledgent.agent.models.anthropic_errors import ERRORS
from ledgent.agent.models.anthropic_reply import asked_tool, finished, read_bill, read_message
from ledgent.agent.models.failures import is_error, malformed, shown
from ledgent.agent.models.port import Delta, ModelFailure, ModelReply
from ledgent.agent.models.reading import fields, parse, string
from ledgent.agent.models.streaming import DONE, Streamed


class _Block:
    """A content block under way."""

    __slots__ = ("arguments", "ended", "given", "told")

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        """As its start gave it."""
        self.arguments: list[str] = []
        self.ended = False
        self.told = False

    @property
    def is_call(self) -> bool:
        """Whether it is a call of a tool of ours."""
        return self.given.get("type") == "tool_use"


class StreamedMessage(Streamed):
    """A message that grows with each event."""

    def __init__(self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]) -> None:
        super().__init__(call_id, on_delta, elapsed_ms)
        self._blocks: list[_Block] = []
        self._open: dict[object, _Block] = {}
        self._has_text = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._stop_details: object = None
        self._model: str | None = None
        self._id: str | None = None

    def add(self, data: bytes, name: str = "") -> None:
        """Takes in an event. Raises ModelFailure: it is none, or the server reports an error."""
        if data.strip() == DONE:  # some other servers of the format end like this
            self.done = True
            return
        event = parse(data)
        kind = string(fields(event).get("type")) or name
        if name == "error" or is_error(event):
            raise ModelFailure(ERRORS.of_answer(200, event, {}, "the server"))
        if not isinstance(event, dict):
            raise malformed(f"the stream has an event that is no object: {shown(event)}")
        match kind:
            case "message_start":
                self._begin(fields(event.get("message")))
            case "content_block_start":
                self._start(event.get("index"), fields(event.get("content_block")))
            case "content_block_delta":
                self._grow(event.get("index"), fields(event.get("delta")))
            case "content_block_stop":
                self._stop(event.get("index"))
            case "message_delta":
                delta = fields(event.get("delta"))
                self._stop_reason = string(delta.get("stop_reason")) or self._stop_reason
                self._stop_details = delta.get("stop_details") or self._stop_details
                self._count(event.get("usage"))
            case "message_stop":
                self.done = True
            case _:
                pass  # pings, and what newer servers may send besides

    def reply(self) -> ModelReply:
        """The reply. Raises ModelFailure: the stream was cut, or its content withheld."""
        if not self.done:
            raise self._cut("message_stop")
        calls = [block for block in self._blocks if block.is_call]
        return finished(
            ModelReply(
                text="".join(self._text) if self._has_text else None,
                tool_calls=tuple(asked_tool(call.given, n, "".join(call.arguments)) for n, call in enumerate(calls)),
                reasoning="".join(self._reasoning) or None,
                usage=self.bill.usage,
                finish_reason=self._stop_reason,
                model=self._model,
                response_id=self._id,
                first_token_ms=self._first_token_ms,
            ),
            self._stop_details,
        )

    def whole(self, answer: Any) -> ModelReply:
        """The reply that an answer in one piece holds. Raises ModelFailure."""
        self.bill = read_bill(fields(fields(answer).get("usage")))
        return read_message(answer)

    def _begin(self, message: dict[str, Any]) -> None:
        self._model = string(message.get("model"))
        self._id = string(message.get("id"))
        self._stop_reason = string(message.get("stop_reason"))
        self._count(message.get("usage"))
        content = message.get("content")
        for number, block in enumerate(content if isinstance(content, list) else []):
            self._start(number, fields(block))

    def _start(self, index: object, given: dict[str, Any]) -> None:
        block = _Block(given)
        self._blocks.append(block)
        self._open[shown(index)] = block
        self._has_text = self._has_text or given.get("type") == "text"
        self._grow(index, {kind: given.get(kind) for kind in ("text", "thinking") if given.get("type") == kind})

    def _grow(self, index: object, delta: dict[str, Any]) -> None:
        text = delta.get("text")
        self._has_text = self._has_text or bool(string(text))
        self._piece("reasoning", self._reasoning, delta.get("thinking"))
        self._piece("text", self._text, text)
        block = self._block(index)
        if block is None or not block.is_call:
            return
        more = delta.get("partial_json")
        if not block.told:
            self._piece("tool_arguments", block.arguments, more)
        elif isinstance(more, str) and more.strip():
            raise malformed(f"the stream goes on with a tool call that had ended: {shown(more)}")

    def _stop(self, index: object) -> None:
        """The block has ended. Tells of the calls that have, up to the first that has not."""
        block = self._block(index)
        if block is None or not block.is_call or self.on_call is None:
            return
        block.ended = True
        for number, call in enumerate(block for block in self._blocks if block.is_call):
            if not call.ended:
                return
            if not call.told:
                call.told = True
                self._tell(asked_tool(call.given, number, "".join(call.arguments)))

    def _block(self, index: object) -> _Block | None:
        return self._open.get(shown(index)) or (self._blocks[-1] if self._blocks else None)

    def _count(self, usage: object) -> None:
        """Counts are of the whole answer so far: what a later event tells anew replaces what it told before."""
        told = {name: value for name, value in fields(usage).items() if value}
        if told:
            self._usage.update(told)
            self.bill = read_bill(self._usage)
