"""Chat-completions requests, and what becomes of them in the messages format."""

from typing import Any

import orjson

from ledgent.agent.models.anthropic_request import messages_request

Json = dict[str, Any]
USER = {"role": "user", "content": "Hi"}
SAYS_HI = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


def translated(messages: list[Json] | None = None, **rest: Any) -> Json:
    chat = {"model": "claude-sonnet-4-5", "messages": [USER] if messages is None else messages, **rest}
    once, again = messages_request(orjson.dumps(chat)), messages_request(orjson.dumps(chat))
    assert once == again
    sent: Json = orjson.loads(once.body)
    return sent


def turns(*messages: Json, **rest: Any) -> list[Json]:
    sent: list[Json] = translated(list(messages), **rest)["messages"]
    return sent


def asking(*calls: tuple[str, str], content: str | None = None) -> Json:
    asked = [
        {"id": id, "type": "function", "function": {"name": "add", "arguments": arguments}} for id, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": asked}


def result(id: str, content: Any) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(said: str) -> Json:
    return {"type": "text", "text": said}
