"""Recorded requests in the Anthropic messages format, written as chat completions, and both compared with what arrives.

The adapter is given the first and must make the second of it: the way there is not the adapter's, so that a fault in
one does not hide a fault in the other.
"""

import json
from typing import Any

from benchmarks.recorded_exchanges import Json

CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def as_chat(request: Json) -> Json:
    """A recorded messages request as a chat-completions one; what that format has no words for goes as it is."""
    chat = {name: value for name, value in request.items() if name not in ("system", "messages", "tools")}
    messages: list[Json] = []
    if request.get("system"):
        messages.append({"role": "system", "content": request["system"]})
    for turn in request["messages"]:
        messages += _turn(turn)
    chat["messages"] = messages
    if request.get("tools"):
        chat["tools"] = [_tool(tool) for tool in request["tools"]]
    choice = chat.pop("tool_choice", None)
    if choice:
        name = choice.get("name")
        chat["tool_choice"] = {"type": "function", "function": {"name": name}} if name else CHOICES[choice["type"]]
        if choice.get("disable_parallel_tool_use"):
            chat["parallel_tool_calls"] = False
    if "stop_sequences" in chat:
        chat["stop"] = chat.pop("stop_sequences")
    return chat


def _turn(turn: Json) -> list[Json]:
    content = turn["content"]
    if isinstance(content, str):
        return [turn]
    results = [
        {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block.get("content", "")}
        for block in content
        if block["type"] == "tool_result"
    ]
    asked = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in content
        if block["type"] == "tool_use"
    ]
    parts = [_part(block) for block in content if block["type"] not in ("tool_result", "tool_use")]
    said = {"role": turn["role"], "content": parts or None, **({"tool_calls": asked} if asked else {})}
    return [*results, *([said] if parts or asked else [])]


def _part(block: Json) -> Json:
    source = block.get("source") or {}
    if block["type"] == "image" and source.get("type") == "base64":
        return {"type": "image_url", "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"}}
    if block["type"] == "image" and source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": source["url"]}}
    return block


def _tool(tool: Json) -> Json:
    if "input_schema" not in tool:
        return tool
    named = {"name": tool["name"], "description": tool.get("description"), "parameters": tool["input_schema"]}
    rest = {name: value for name, value in tool.items() if name not in ("name", "description", "input_schema", "type")}
    return {"type": "function", "function": named, **rest}


def same_request(recorded: Json, arrived: bytes | None) -> str:
    """What differs first between the recorded request and the one that arrived; empty: nothing that has a meaning."""
    if arrived is None:
        return "nothing arrived"
    return _first_difference(_plain(recorded), _plain(json.loads(arrived)), "")


def _plain(value: Any) -> Any:
    """The value less what says the same in another form: a text as a list of one block, a false flag, a null."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain(each) for name, each in value.items() if each is not None and each is not False}
    for name in ("content", "system"):
        if isinstance(plain.get(name), str):
            plain[name] = [{"type": "text", "text": plain[name]}]
    return plain


def _first_difference(a: Any, b: Any, place: str) -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted({*a, *b}):
            found = _first_difference(a.get(name), b.get(name), f"{place}.{name}" if place else name)
            if found:
                return found
        return ""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return next(filter(None, (_first_difference(x, y, f"{place}[{n}]") for n, (x, y) in pairs)), "")
    return "" if a == b else f"{place}: recorded {a!r:.200}, sent {b!r:.200}"
