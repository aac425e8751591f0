"""What a recorded chat completion means, whole or streamed: read without a line of the code under test."""

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
    json_of,
    payloads,
)


def chat_answer(body: Json) -> Answer | Failure:
    """A whole answer."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return MALFORMED
    choice = choices[0]
    if isinstance(choice.get("error"), dict):
        return error_of(200, json.dumps(choice["error"]))
    if not isinstance(choice.get("message"), dict):
        return MALFORMED
    message = choice["message"]
    calls = [call for call in map(_chat_call, message.get("tool_calls") or []) if any(call)]
    older = message.get("function_call") or {}
    if not calls and older.get("name"):
        calls = [Call(None, older["name"], older.get("arguments") or "")]
    text, reasoning = _said(message)
    usage = body.get("usage") or choice.get("usage") or (body.get("x_groq") or {}).get("usage") or {}
    return _ended(Answer(text, reasoning, calls, choice.get("finish_reason") or None, *_chat_usage(usage)))


def _chat_call(call: Json) -> Call:
    function = call.get("function") or {}
    if not function.get("name") and (call.get("custom") or {}).get("name"):
        function = {"name": call["custom"]["name"], "arguments": call["custom"].get("input")}
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else dumped(arguments)
    return Call(call.get("id") or None, function.get("name") or "", text)


def _said(message: Json) -> tuple[str | None, str | None]:
    """Text and reasoning of a message, or of a delta."""
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        reasoning += "".join(_texts(part["thinking"]) for part in content if _kind(part) == "thinking")
        content = "".join(_texts([part]) for part in content if _kind(part) != "thinking")
    if not reasoning:
        details = message.get("reasoning_details") or []
        reasoning = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
    spoken = message.get("refusal") or (message.get("audio") or {}).get("transcript")
    return content or spoken or content, reasoning or None


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _texts(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else part.get("text") or part.get("refusal") or "" for part in parts)


def _chat_usage(usage: Json) -> tuple[int, int, int, int]:
    sent = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    written = usage.get("completion_tokens") or usage.get("output_tokens") or 0
    thought = (
        (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or usage.get("reasoning_tokens") or 0
    )
    # Where the total has the reasoning on top, the provider does not count it among the completion's tokens.
    if usage.get("total_tokens") == sent + written + thought:
        written += thought
    elsewhere = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    cached = cached or next((usage[name] for name in elsewhere if usage.get(name)), 0)
    return sent, written, min(cached, sent), min(thought, written)


def chat_stream(text: str) -> Answer | Failure:
    """A stream, added up."""
    said: list[str] = []
    refused: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    finish: str | None = None
    usage: Json = {}
    has_text = done = False
    for chunk in payloads(text):
        if chunk is None:
            return MALFORMED
        if chunk == "[DONE]":
            done = True
            break
        if is_error(chunk):
            return error_of(200, json.dumps(chunk))
        choices = chunk.get("choices") or []
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for choice in choices:
            usage = choice.get("usage") or usage
            if choice.get("index"):
                continue
            if isinstance(choice.get("error"), dict):
                return error_of(200, json.dumps(choice["error"]))
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or ({} if said or calls else choice.get("message")) or {}
            piece, thought = _said({**delta, "refusal": None, "audio": None})
            has_text = has_text or delta.get("content") is not None
            said.append(piece or "")
            thoughts.append(thought or "")
            refused.append(delta.get("refusal") or (delta.get("audio") or {}).get("transcript") or "")
            older = delta.get("function_call")
            for call in delta.get("tool_calls") or ([{"index": 0, "function": older}] if older else []):
                _add_piece(calls, call)
    if not (done or finish):
        return CUT
    whole = "".join(said) if has_text else None
    named = [Call(call["id"], call["name"], call["arguments"]) for call in calls]
    answer = Answer(whole or "".join(refused) or whole, "".join(thoughts) or None, named, finish, *_chat_usage(usage))
    return _ended(answer)


def _add_piece(calls: list[Json], piece: Json) -> None:
    function = piece.get("function") or piece.get("custom") or {}
    id, name, index = piece.get("id") or None, function.get("name") or "", piece.get("index")
    more = function.get("arguments", function.get("input"))
    more = more if isinstance(more, str) else dumped(more)
    if not (id or name or more):
        return
    known = [call for call in calls if call["index"] == index] if index is not None else calls[-1:]
    if id and index is None:
        known = [call for call in calls if call["id"] == id]
    call = known[-1] if known else None
    if call is not None and name:
        other_id = id and call["id"] and id != call["id"]
        if other_id or (more and _is_object(call["arguments"])) or (index is None and not id and call["arguments"]):
            call = None
    if call is None:
        call = {"index": index, "id": id, "name": "", "arguments": ""}
        calls.append(call)
    call["id"] = call["id"] or id
    if name != call["name"] and not call["arguments"]:
        call["name"] += name
    call["arguments"] += more


def _is_object(text: str) -> bool:
    return isinstance(json_of(text), dict)


def _ended(answer: Answer) -> Answer | Failure:
    """The answer, unless the server says that it broke it off, or asks for a tool without naming it."""
    if answer.finish in ("error", "network_error", "insufficient_system_resource"):
        return Failure("server_error", None, "")
    return answer if all(call.name for call in answer.calls) else MALFORMED
