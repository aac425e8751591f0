"""Reading a streamed chat completion: bytes to server-sent events, events to one reply. No I/O, no waiting."""

from collections.abc import Callable
from typing import Any

from ledgent.agent.models.openai_errors import error_of_answer, is_error, malformed, shown
from ledgent.agent.models.openai_reply import (
    arguments_text,
    finished,
    missing_id,
    parse,
    read_content,
    read_reasoning,
    read_usage,
    stated_cost,
    string,
)
from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import Usage

DONE = b"[DONE]"


class EventData:
    """Splits a body of server-sent events into the data of each event.

    The data may be in several lines, a line may end in CR, LF or both, and comments and other fields are passed over
    (https://html.spec.whatwg.org/multipage/server-sent-events.html).
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        if not self._begun and chunk:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
        # The last line is not whole until its end has come; a CR may be half of a CRLF.
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return [event for event in map(self._take, lines) if event]

    def end(self) -> list[bytes]:
        """The data of the last event, when the body ends without the blank line that should close it."""
        lines = [*self._rest.splitlines(), b""]
        self._rest = b""
        return [event for event in map(self._take, lines) if event]

    def _take(self, line: bytes) -> bytes:
        line = line.rstrip(b"\r\n")
        if not line:
            data, self._data = b"\n".join(self._data), []
            return data
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        return b""


class _Call:
    """A tool call under way."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None, id: str | None) -> None:
        self.index = index
        self.id = id
        self.name = ""
        self.arguments: list[str] = []


class StreamedReply:
    """A reply that grows with each chunk; tells the listener of each piece as it comes."""

    def __init__(self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]) -> None:
        self.usage = Usage()
        """As last told: what a failure had used by then."""
        self.cost_usd: float | None = None
        self.done = False
        """Whether the server has said that nothing more comes."""
        self._call_id = call_id
        self._on_delta = on_delta
        self._elapsed_ms = elapsed_ms
        self._first_token_ms: float | None = None
        self._text: list[str] = []
        self._has_text = False
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_Call] = []
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._id: str | None = None

    def add(self, data: bytes) -> None:
        """Takes in the data of one event. Raises ModelFailure: it is no chunk, or the server reports an error."""
        if data.strip() == DONE:
            self.done = True
            return
        chunk = parse(data)
        if is_error(chunk):
            raise ModelFailure(error_of_answer(200, chunk, {}, "the server"), self.usage, self.cost_usd)
        if not isinstance(chunk, dict):
            raise malformed(f"the stream has a chunk that is no object: {shown(chunk)}")
        self._model = self._model or string(chunk.get("model"))
        self._id = self._id or string(chunk.get("id"))
        self._count(chunk.get("usage"))
        for choice in _objects(chunk.get("choices"), "choices"):
            # Only the first answer is ours, where several were asked for.
            if not choice.get("index"):
                self._choose(choice)

    def end(self, rest: list[bytes]) -> None:
        """Takes in what the body ended with, which half an event may be."""
        try:
            for data in rest:
                self.add(data)
        except ModelFailure as failure:
            # Half an event: the stream was cut, which `reply` tells.
            if failure.error.code is not ErrorCode.MALFORMED_RESPONSE:
                raise

    @property
    def complete(self) -> bool:
        """Whether the answer is whole. Some servers give no finish reason, but say [DONE]."""
        return self.done or self._finish_reason is not None

    def reply(self) -> ModelReply:
        """The reply. Raises ModelFailure: the stream was cut, or its content withheld."""
        if not self.complete:
            raise ModelFailure(
                ErrorInfo(
                    code=ErrorCode.CONNECTION,
                    message="the stream was cut: it ended without a finish reason and without [DONE]",
                    retryable=True,
                ),
                self.usage,
                self.cost_usd,
            )
        calls = []
        for number, call in enumerate(self._calls):
            if not call.name:
                raise malformed("the stream has a tool call without a name")
            calls.append(AskedTool(call.id or missing_id(number), call.name, "".join(call.arguments)))
        text = "".join(self._text) if self._has_text else None
        return finished(
            ModelReply(
                text=text or "".join(self._refusal) or text,
                tool_calls=tuple(calls),
                reasoning="".join(self._reasoning) or None,
                usage=self.usage,
                cost_usd=self.cost_usd,
                finish_reason=self._finish_reason,
                model=self._model,
                response_id=self._id,
                first_token_ms=self._first_token_ms,
            )
        )

    def _choose(self, choice: dict[str, Any]) -> None:
        self._finish_reason = string(choice.get("finish_reason")) or self._finish_reason
        self._count(choice.get("usage"))
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise malformed(f"the stream has a delta that is no object: {shown(delta)}")
        content = delta.get("content")
        text, thoughts = read_content(content)
        self._has_text = self._has_text or content is not None
        self._piece("reasoning", self._reasoning, read_reasoning(delta) or thoughts)
        self._piece("text", self._text, text)
        self._piece("text", self._refusal, delta.get("refusal"))
        for call in _objects(delta.get("tool_calls"), "tool calls"):
            self._ask(call, call.get("function"))
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and (legacy.get("name") or legacy.get("arguments")):
            self._ask({"index": 0}, legacy)

    def _ask(self, given: dict[str, Any], function: object) -> None:
        if not isinstance(function, dict):
            function = {}
        index = given.get("index") if isinstance(given.get("index"), int) else None
        id, name = string(given.get("id")), string(function.get("name"))
        call = self._call(index, id, name)
        call.id = call.id or id
        # A name comes whole, in pieces, or whole again with every piece of the arguments.
        if name and name != call.name and not call.arguments:
            call.name += name
        self._piece("tool_arguments", call.arguments, arguments_text(function.get("arguments")))

    def _call(self, index: int | None, id: str | None, name: str | None) -> _Call:
        """The call that a piece belongs to: indexes are missing with some servers and used twice by others."""
        for call in reversed(self._calls):
            if index is not None and call.index == index:
                if id and call.id and id != call.id and name:
                    break
                return call
            if index is None and id and call.id == id:
                return call
        if index is None and id is None and self._calls and not (name and self._calls[-1].arguments):
            return self._calls[-1]
        self._calls.append(_Call(index, id))
        return self._calls[-1]

    def _piece(self, kind: Any, pieces: list[str], text: object) -> None:
        if not isinstance(text, str) or not text:
            return
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()
        pieces.append(text)
        if self._on_delta is not None:
            self._on_delta(Delta(self._call_id, kind, text))

    def _count(self, usage: object) -> None:
        if usage:
            self.usage = read_usage(usage)
            self.cost_usd = stated_cost(usage)


def _objects(values: object, what: str) -> list[dict[str, Any]]:
    if not values:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise malformed(f"the stream has {what} that are no list of objects: {shown(values)}")
    return values
