"""A model server with a small window: it counts tokens in its own way, and refuses what is longer as providers do."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import orjson

from ledgent.agent import AnthropicModel, OpenAIModel
from ledgent.agent.abridged import INSTRUCTIONS
from ledgent.agent.models.prices import Price
from tests.agent.raw_server import RawServer, Seen, Step, whole

Json = dict[str, Any]

PRICE = Price(input=1.0, output=2.0)
NOTES = "The user wants all shelves counted; those so far were full."


def counted(value: object) -> int:
    """Words and signs, unlike our own estimate."""
    return len(re.findall(rb"\w+|[^\w\s]", orjson.dumps(value)))


class NarrowServer(RawServer):
    """Asks for a tool `rounds` times, then answers; writes NOTES when asked for a summary."""

    def __init__(self, api: Literal["openai", "anthropic"], window: int, rounds: int, notes: str = NOTES) -> None:
        super().__init__()
        self.api = api
        self.window = window
        self.rounds = rounds
        self.notes = notes
        self.taken: list[Json] = []
        """Requests that were answered."""
        self.refused: list[Json] = []
        self.summaries: list[Json] = []
        self.billed_usd = 0.0
        self.largest = 0

    def model(self, **options: Any) -> OpenAIModel | AnthropicModel:
        """Our model of it; `context_window` says what it is taken to hold."""
        make = OpenAIModel if self.api == "openai" else AnthropicModel
        return make("narrow", base_url=self.url, api_key="k", prices=PRICE, **options)

    def answer_to(self, request: Seen) -> Sequence[Step]:
        asked: Json = orjson.loads(request.body)
        size = counted([asked["messages"], asked.get("system", ""), asked.get("tools", [])])
        if fault := torn_apart(asked["messages"]):
            return whole(self._error(fault), 400)
        if size > self.window:
            self.refused.append(asked)
            return whole(self._error(self._too_long(size)), 400)
        self.taken.append(asked)
        self.largest = max(self.largest, size)
        system = asked.get("system") or asked["messages"][0]["content"]
        if INSTRUCTIONS in str(system):
            self.summaries.append(asked)
            return whole(self._reply(size, self.notes, None))
        number = len(self.taken) - len(self.summaries)
        return whole(self._reply(size, None, number) if number <= self.rounds else self._reply(size, "done", None))

    def _too_long(self, size: int) -> str:
        if self.api == "anthropic":
            return f"prompt is too long: {size} tokens > {self.window} maximum"
        return (
            f"This model's maximum context length is {self.window} tokens. However, your messages resulted in {size} "
            "tokens. Please reduce the length of the messages."
        )

    def _error(self, message: str) -> Json:
        error: Json = {"type": "invalid_request_error", "message": message}
        if self.api == "anthropic":
            return {"type": "error", "error": error, "request_id": "req_1"}
        code = "context_length_exceeded" if "maximum context length" in message else None
        return {"error": {**error, "param": "messages", "code": code}}

    def _reply(self, size: int, text: str | None, number: int | None) -> Json:
        self.billed_usd += (size * PRICE.input + 10 * PRICE.output) / 1_000_000
        if self.api == "anthropic":
            content = [{"type": "text", "text": text}] if text else []
            if number is not None:
                content.append({"type": "tool_use", "id": f"t{number}", "name": "count", "input": {"shelf": number}})
            reason = "end_turn" if number is None else "tool_use"
            usage = {"input_tokens": size, "output_tokens": 10}
            return {"id": "1", "type": "message", "role": "assistant", "model": "narrow", "content": content} | {
                "stop_reason": reason,
                "usage": usage,
            }
        message: Json = {"role": "assistant", "content": text}
        if number is not None:
            function = {"name": "count", "arguments": f'{{"shelf": {number}}}'}
            message["tool_calls"] = [{"id": f"t{number}", "type": "function", "function": function}]
        choice = {"index": 0, "finish_reason": "stop" if number is None else "tool_calls", "message": message}
        usage = {"prompt_tokens": size, "completion_tokens": 10, "total_tokens": size + 10}
        return {"id": "1", "model": "narrow", "choices": [choice], "usage": usage}


def torn_apart(messages: list[Json]) -> str | None:
    """What a provider says of a result without its call, or of a call without its result."""
    asked = list[str]()
    for message in messages:
        content = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        results += [message["tool_call_id"]] if message["role"] == "tool" else []
        if any(result not in asked for result in results):
            return "a tool result must follow the call that it is of"
        asked = [id for id in asked if id not in results]
        if asked and not results:
            return f"calls without results: {asked}"
        asked += [block["id"] for block in content if block["type"] == "tool_use"]
        asked += [call["id"] for call in message.get("tool_calls") or ()]
    return None
