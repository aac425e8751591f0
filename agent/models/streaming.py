"""What streamed answers of every format share: bytes to server-sent events, pieces told as they come. No I/O."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply
from ledgent.agent.models.prices import Bill
from ledgent.schemas.errors import ErrorCode, ErrorInfo

DONE = b"[DONE]"


class Event(NamedTuple):
    """A server-sent event."""

    data: bytes
    name: str = ""
    """As its `event` field says; most servers name none."""


class EventData:
    """Splits a body of server-sent events into the events that have data.

    The data may be in several lines, a line may end in CR, LF or both, and comments and other fields are passed over
    (https://html.spec.whatwg.org/multipage/server-sent-events.html). Lines of data that each hold a whole JSON object
    are an event each: some servers forget the blank line between them.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._name = ""
        self._begun = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if not self._begun and chunk:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
        # The last line is not whole until its end has come; a CR may be half of a CRLF.
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return self._take(lines)

    def end(self) -> list[Event]:
        """The last event, when the body ends without the blank line that should close it."""
        lines = [*self._rest.splitlines(), b""]
        self._rest = b""
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for ended in lines:
            line = ended.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode(errors="replace")
            elif not line and self._data:
                if len(self._data) > 1 and not all(map(_is_whole, self._data)):
                    self._data = [b"\n".join(self._data)]
                for data in self._data:
                    if data:
                        events.append(Event(data, self._name))
                self._data = []
            if not line:
                self._name = ""
        return events


class Streamed(ABC):
    """A reply that grows with each event; tells the listener of each piece as it comes."""

    def __init__(self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]) -> None:
        self.bill = Bill()
        """As last told: what a failure had used by then."""
        self.done = False
        """Whether the server has said that nothing more comes."""
        self.on_call: Callable[[AskedTool], None] | None = None
        """Told of each tool call that is whole, in their order. None changes once it has been told."""
        self._call_id = call_id
        self._on_delta = on_delta
        self._elapsed_ms = elapsed_ms
        self._first_token_ms: float | None = None

    @abstractmethod
    def add(self, data: bytes, name: str = "") -> None:
        """Takes in an event. Raises ModelFailure: it is none of this format, or the server reports an error."""

    @abstractmethod
    def reply(self) -> ModelReply:
        """The reply. Raises ModelFailure: the stream was cut, or its content withheld."""

    @abstractmethod
    def whole(self, answer: Any) -> ModelReply:
        """The reply that an answer in one piece holds. Raises ModelFailure."""

    def end(self, rest: list[Event]) -> None:
        """Takes in what the body ended with, which half an event may be."""
        try:
            for event in rest:
                self.add(*event)
        except ModelFailure as failure:
            # Half an event: the stream was cut, which `reply` tells.
            if failure.error.code is not ErrorCode.MALFORMED_RESPONSE:
                raise

    def _piece(self, kind: Literal["text", "reasoning", "tool_arguments"], pieces: list[str], text: object) -> None:
        if not isinstance(text, str) or not text:
            return
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()
        pieces.append(text)
        if self._on_delta is not None:
            self._on_delta(Delta(self._call_id, kind, text))

    def _tell(self, call: AskedTool) -> None:
        if self.on_call is not None:
            self.on_call(call)

    def _cut(self, missing: str) -> ModelFailure:
        message = f"the stream was cut: it ended without {missing}"
        return ModelFailure(ErrorInfo(code=ErrorCode.CONNECTION, message=message, retryable=True))


def _is_whole(line: bytes) -> bool:
    """Whether a line of data looks like all of an event's."""
    text = line.strip()
    return text == DONE or (text.startswith(b"{") and text.endswith(b"}"))
