"""Reading a chat completion: parsed JSON in, a reply out, whatever the provider made of the format. No I/O."""

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

import orjson

from ledgent.agent.models.openai_errors import malformed, shown
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import Usage

MOST_TOKENS = 10**12
"""More than that no call has used: whatever the number says, it counts no tokens."""


def parse(data: bytes) -> Any:
    """The value of a JSON text. Raises ModelFailure (malformed_response).

    orjson takes neither NaN nor half a surrogate pair, and servers send both: NaN becomes null, the half a U+FFFD.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        text = json.dumps(json.loads(data, parse_constant=lambda _: None), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise malformed(
            f"the answer is not JSON: {shown(data[:4000].decode(errors='replace')) or 'it is empty'}"
        ) from None


def read_reply(body: object) -> ModelReply:
    """The reply that a whole answer holds; `cost_usd` is what the provider says it cost. Raises ModelFailure."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        raise malformed(f"the answer has no choices: {shown(body)}")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise malformed(f"the answer's first choice has no message: {shown(choice)}")
    text, thoughts = read_content(message.get("content"))
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise malformed(f"the answer's tool calls are no list: {shown(calls)}")
    return finished(
        ModelReply(
            text=text or _said_otherwise(message) or text,
            tool_calls=tuple(_asked(call, n) for n, call in enumerate(calls)) or _legacy_call(message),
            reasoning=read_reasoning(message) or thoughts,
            usage=read_usage(body.get("usage")),
            cost_usd=stated_cost(body.get("usage")),
            finish_reason=string(choice.get("finish_reason")),
            model=string(body.get("model")),
            response_id=string(body.get("id")),
        )
    )


def finished(reply: ModelReply) -> ModelReply:
    """The reply, unless the provider's filter left nothing of it. Raises ModelFailure (content_filtered)."""
    if reply.finish_reason == "content_filter" and not reply.text and not reply.tool_calls:
        error = ErrorInfo(code=ErrorCode.CONTENT_FILTERED, message="the provider's content filter withheld the answer")
        raise ModelFailure(error, reply.usage, reply.cost_usd)
    return reply


def read_content(content: object) -> tuple[str | None, str | None]:
    """Text and reasoning of a message's content, which is a string or a list of parts."""
    if content is None or isinstance(content, str):
        return content, None
    if not isinstance(content, list):
        raise malformed(f"the answer's content is neither text nor a list of parts: {shown(content)}")
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thoughts.append(read_content(part.get("thinking"))[0] or "")
        elif isinstance(part, dict):
            texts.append(string(part.get("text")) or string(part.get("refusal")) or "")
    return "".join(texts), "".join(thoughts) or None


def read_reasoning(message: dict[str, Any]) -> str | None:
    """The reasoning of a message or delta; no provider-independent name for it exists."""
    for name in ("reasoning_content", "reasoning"):
        said = string(message.get(name))
        if said:
            return said
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return None
    parts = [string(d.get("text")) or string(d.get("summary")) or "" for d in details if isinstance(d, dict)]
    return "".join(parts) or None


def read_usage(usage: object) -> Usage:
    """The tokens of a call; zeros where the provider does not say."""
    if not isinstance(usage, dict):
        return Usage()
    took, gave = (_object(usage.get(f"{side}_tokens_details")) for side in ("prompt", "completion"))
    cached = (
        took.get("cached_tokens"),
        *map(usage.get, ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")),
    )
    sent, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    reasoning = _count(gave.get("reasoning_tokens"))
    # Some providers leave the reasoning out of the completion tokens; only their total tells.
    if reasoning and _count(usage.get("total_tokens")) == sent + written + reasoning:
        written += reasoning
    return Usage(
        input_tokens=sent,
        output_tokens=written,
        cached_tokens=min(sent, _first_count(cached)),
        reasoning_tokens=min(written, reasoning),
    )


def stated_cost(usage: object) -> float | None:
    """What the provider itself says the call cost, USD."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    if isinstance(cost, int | float) and not isinstance(cost, bool) and isfinite(cost) and cost >= 0:
        return float(cost)
    return None


def arguments_text(arguments: object) -> str:
    """A tool call's arguments as text; some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    try:
        return "" if arguments is None else orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        raise malformed(f"a tool call's arguments are nested too deep: {shown(arguments)}") from None


def string(value: object) -> str | None:
    """The value if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def _said_otherwise(message: dict[str, Any]) -> str | None:
    """A refusal, or what was spoken: the answer's words where its content has none."""
    return string(message.get("refusal")) or string(_object(message.get("audio")).get("transcript"))


def _asked(call: object, number: int) -> AskedTool:
    function = _object(call.get("function")) if isinstance(call, dict) else {}
    name = string(function.get("name"))
    if not isinstance(call, dict) or name is None:
        raise malformed(f"the answer has a tool call without a name: {shown(call)}")
    return AskedTool(string(call.get("id")) or missing_id(number), name, arguments_text(function.get("arguments")))


def missing_id(number: int) -> str:
    """The id of a tool call that came without one: something must name it when its result is sent back."""
    return f"call_{number}"


def _legacy_call(message: dict[str, Any]) -> tuple[AskedTool, ...]:
    """The one call of the older form, `function_call`."""
    function = _object(message.get("function_call"))
    name = string(function.get("name"))
    return (AskedTool(missing_id(0), name, arguments_text(function.get("arguments"))),) if name else ()


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < MOST_TOKENS else 0


def _first_count(values: Iterable[object]) -> int:
    return next((count for count in map(_count, values) if count), 0)
