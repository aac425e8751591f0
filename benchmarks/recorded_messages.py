"""What a recorded answer in the Anthropic messages format means: read without a line of the code under test."""

import json
from typing import Any

from benchmarks.recorded_body import (
    CUT,
    MALFORMED,
    Answer,
    Call,
    Failure,
    Json,
    dumped,
    error_of,
    is_error,
    payloads,
)


def message(body: Json) -> Answer | Failure:
    """A whole answer."""
    content = body.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return MALFORMED
    texts = [block["text"] for block in content if block.get("type") == "text"]
    thoughts = [block.get("thinking") or "" for block in content if block.get("type") == "thinking"]
    asked = [block for block in content if block.get("type") == "tool_use"]
    calls = [Call(block["id"], block["name"], dumped(block.get("input") or {})) for block in asked]
    text = "".join(texts) if texts else None
    return Answer(
        text, "".join(thoughts) or None, calls, body.get("stop_reason"), *_messages_usage(body.get("usage") or {})
    )


def _messages_usage(usage: Json) -> tuple[int, int, int, int]:
    """Input, cache reads and cache writes are disjoint in this format; ours counts the first with the others."""
    cached = usage.get("cache_read_input_tokens") or 0
    sent = (usage.get("input_tokens") or 0) + cached + (usage.get("cache_creation_input_tokens") or 0)
    written = usage.get("output_tokens") or 0
    return sent, written, cached, min(written, (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0)


def message_stream(text: str) -> Answer | Failure:
    """The message that the events build up, read like one that came whole."""
    blocks: dict[Any, Json] = {}
    stop: str | None = None
    usage: Json = {}
    for event in payloads(text):
        if event is None:
            return MALFORMED
        if event == "[DONE]":
            break
        if is_error(event):
            return error_of(200, json.dumps(event))
        kind = event.get("type")
        if kind == "message_stop":
            break
        told = (event.get("message") or {}).get("usage") if kind == "message_start" else event.get("usage")
        usage.update({name: value for name, value in (told or {}).items() if value})
        if kind == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif kind == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for name in ("text", "thinking"):
                if name in delta:
                    block[name] = (block.get(name) or "") + delta[name]
            block["json"] += delta.get("partial_json") or ""
        elif kind == "message_delta":
            stop = event["delta"].get("stop_reason") or stop
    else:
        return CUT
    answer = message({"content": list(blocks.values()), "stop_reason": stop, "usage": usage})
    if isinstance(answer, Failure):
        return answer
    raw = [block["json"] for block in blocks.values() if block["type"] == "tool_use"]
    calls = [call._replace(arguments=text or call.arguments) for call, text in zip(answer.calls, raw, strict=True)]
    return answer._replace(calls=calls)
