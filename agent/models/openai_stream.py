"""Reading a streamed chat completion: server-sent events to one reply. No I/O, no waiting."""

from collections.abc import Callable
from typing import Any

import orjson

from ledgent.agent.models.failures import is_error, malformed, shown
from ledgent.agent.models.openai_errors import ERRORS
from ledgent.agent.models.openai_reply import (
    finished,
    read_bill,
    read_content,
    read_function,
    read_reasoning,
    read_reply,
    refuse_broken,
    used_in,
)
from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply
from ledgent.agent.models.reading import arguments_text, fields, missing_id, objects, parse, string
from ledgent.agent.models.streaming import DONE, Streamed


class _Call:
    """A tool call under way."""

    __slots__ = ("arguments", "empty", "id", "index", "name", "told", "whole")

    def __init__(self, index: int | None, id: str | None) -> None:
        self.index = index
        self.id = id
        self.name = ""
        self.arguments: list[str] = []
        self.whole = False
        """Whether its arguments were found to be an object."""
        self.empty = False
        """Whether that object is empty."""
        self.told = False

    def is_whole(self) -> bool:
        """Whether its arguments are an object already, so that more of them belong to another call."""
        return self._object() is not None

    def look(self) -> None:
        """Notes whether its arguments are an object by now."""
        found = self._object()
        self.whole, self.empty = found is not None, found == {}

    def _object(self) -> dict[str, Any] | None:
        text = "".join(self.arguments)
        try:
            found = orjson.loads(text) if text.rstrip().endswith("}") else None
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, dict) else None


class StreamedReply(Streamed):
    """A chat completion that grows with each chunk."""

    def __init__(self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]) -> None:
        super().__init__(call_id, on_delta, elapsed_ms)
        self._text: list[str] = []
        self._has_text = False
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_Call] = []
        self._told = 0
        """How many of them the listener knows."""
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._id: str | None = None

    def add(self, data: bytes, name: str = "") -> None:
        """Takes in an event. Raises ModelFailure: it is no chunk, or the server reports an error."""
        if data.strip() == DONE:
            self.done = True
            return
        chunk = parse(data)
        if is_error(chunk) or name == "error":
            raise ModelFailure(ERRORS.of_answer(200, chunk, {}, "the server"))
        if not isinstance(chunk, dict):
            raise malformed(f"the stream has a chunk that is no object: {shown(chunk)}")
        self._model = self._model or string(chunk.get("model"))
        self._id = self._id or string(chunk.get("id"))
        used = chunk.get("usage") or ("x_groq" in chunk and used_in(chunk, None))
        if used:
            self.bill = read_bill(used)
        for choice in objects(chunk.get("choices"), "choices"):
            # Only the first answer is ours, where several were asked for.
            if not choice.get("index"):
                self._choose(choice)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole. Some servers give no finish reason, but say [DONE]."""
        return self.done or self._finish_reason is not None

    def reply(self) -> ModelReply:
        """The reply. Raises ModelFailure: the stream was cut, or its content withheld."""
        if not self.complete:
            raise self._cut("a finish reason and without [DONE]")
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
                usage=self.bill.usage,
                cost_usd=self.bill.cost_usd,
                finish_reason=self._finish_reason,
                model=self._model,
                response_id=self._id,
                first_token_ms=self._first_token_ms,
            )
        )

    def whole(self, answer: Any) -> ModelReply:
        """The reply that an answer in one piece holds. Raises ModelFailure."""
        choices = fields(answer).get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        self.bill = read_bill(used_in(fields(answer), choice))
        return read_reply(answer, self.bill)

    def _choose(self, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason") or "error" in choice:
            refuse_broken(choice)
            self._finish_reason = string(choice.get("finish_reason")) or self._finish_reason
        if choice.get("usage"):
            self.bill = read_bill(choice["usage"])
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise malformed(f"the stream has a delta that is no object: {shown(delta)}")
        if "delta" not in choice and not self._begun:
            delta = fields(choice.get("message"))  # the answer in one piece, sent as a stream of one event
        content = delta.get("content")
        text, thoughts = read_content(content)
        self._has_text = self._has_text or content is not None
        self._piece("reasoning", self._reasoning, read_reasoning(delta) or thoughts)
        self._piece("text", self._text, text)
        self._piece("text", self._refusal, delta.get("refusal"))
        if "audio" in delta:
            self._piece("text", self._refusal, fields(delta["audio"]).get("transcript"))
        for call in objects(delta.get("tool_calls"), "tool calls"):
            self._ask(call, *read_function(call))
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and (legacy.get("name") or legacy.get("arguments")):
            self._ask({"index": 0}, string(legacy.get("name")), legacy.get("arguments"))

    @property
    def _begun(self) -> bool:
        return bool(self._text or self._reasoning or self._calls or self._refusal)

    def _ask(self, given: dict[str, Any], name: str | None, arguments: object) -> None:
        index = given.get("index") if isinstance(given.get("index"), int) else None
        id, text = string(given.get("id")), arguments_text(arguments)
        if not (id or name or text) and index not in [call.index for call in self._calls]:
            return  # a placeholder: nothing of a call yet
        call = self._call(index, id, name, text)
        call.id = call.id or id
        # A name comes whole, in pieces, or whole again with every piece of the arguments.
        if name and name != call.name and not call.arguments:
            call.name += name
        if call.told:
            if text.strip():
                raise malformed(f"the stream goes on with a tool call that was whole: {shown(text)}")
            return
        self._piece("tool_arguments", call.arguments, text)
        if self.on_call is not None:
            if text.strip():
                call.whole = False
            if text.rstrip().endswith("}"):
                call.look()
            self._tell_whole()

    def _tell_whole(self) -> None:
        """Tells of the calls that are whole, up to the first that is not.

        An empty object may only hold the place of what is yet to come, until a later call has arguments. One that
        never shows whether it is whole, for it has no arguments or no id, is told with the reply.
        """
        for number, call in enumerate(self._calls[self._told :], self._told + 1):
            if not (call.whole and call.id and call.name):
                return
            if call.empty and not any(later.arguments for later in self._calls[number:]):
                return
            call.told = True
            self._told = number
            self._tell(AskedTool(call.id, call.name, "".join(call.arguments)))

    def _call(self, index: int | None, id: str | None, name: str | None, arguments: str) -> _Call:
        """The call that a piece belongs to: indexes are missing with some servers and used twice by others."""
        for call in reversed(self._calls):
            if index is not None and call.index == index:
                another = id and call.id and id != call.id
                if name and (another or (arguments and call.is_whole())):
                    break
                return call
            if index is None and id and call.id == id:
                return call
        if index is None and id is None and self._calls and not (name and self._calls[-1].arguments):
            return self._calls[-1]
        self._calls.append(_Call(index, id))
        return self._calls[-1]
