"""Reading a chat completion: parsed JSON in, a reply out, whatever the provider made of the format. No I/O."""

import itertools
from typing import Any

from ledgent.agent.models.failures import malformed, shown
from ledgent.agent.models.openai_errors import ERRORS, FINISHES
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply
from ledgent.agent.models.prices import Bill
from ledgent.agent.models.reading import arguments_text, count, fields, first_count, missing_id, stated_cost, string
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.recovery import RETRYABLE
from ledgent.schemas.values import Usage


def read_reply(body: object, bill: Bill | None = None) -> ModelReply:
    """The reply that a whole answer holds; `cost_usd` is what the provider says it cost. Raises ModelFailure.

    `bill` is the answer's, should it have been read already.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        raise malformed(f"the answer has no choices: {shown(body)}")
    choice = choices[0]
    refuse_broken(choice)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise malformed(f"the answer's first choice has no message: {shown(choice)}")
    text, thoughts = read_content(message.get("content"))
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise malformed(f"the answer's tool calls are no list: {shown(calls)}")
    bill = bill or read_bill(used_in(body, choice))
    return finished(
        ModelReply(
            text=text or _said_otherwise(message) or text,
            tool_calls=tuple(map(_asked, filter(_says_something, calls), itertools.count())) or _legacy_call(message),
            reasoning=read_reasoning(message) or thoughts,
            usage=bill.usage,
            cost_usd=bill.cost_usd,
            finish_reason=string(choice.get("finish_reason")),
            model=string(body.get("model")),
            response_id=string(body.get("id")),
        )
    )


def refuse_broken(choice: object) -> None:
    """Raises ModelFailure if a choice says that the server broke the answer off, in whole answers and in streams."""
    if not isinstance(choice, dict):
        return
    code = FINISHES.get(string(choice.get("finish_reason")) or "")
    if isinstance(choice.get("error"), dict):
        raise ModelFailure(ERRORS.of_answer(200, choice, {}, "the server"))
    if code is not None:
        message = f"the server broke the answer off: its finish reason is {choice['finish_reason']!r}"
        raise ModelFailure(ErrorInfo(code=code, message=message, retryable=code in RETRYABLE))


def finished(reply: ModelReply) -> ModelReply:
    """The reply, unless the provider's filter left nothing of it. Raises ModelFailure (content_filtered)."""
    if reply.finish_reason in ("content_filter", "sensitive") and not reply.text and not reply.tool_calls:
        error = ErrorInfo(code=ErrorCode.CONTENT_FILTERED, message="the provider's content filter withheld the answer")
        raise ModelFailure(error, reply.usage, reply.cost_usd)
    return reply


def read_content(content: object) -> tuple[str | None, str | None]:
    """Text and reasoning of a message's content, which is a string, a part or a list of parts."""
    if content is None or isinstance(content, str):
        return content, None
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise malformed(f"the answer's content is neither text nor a list of parts: {shown(content)}")
    texts, thoughts = [], []
    for part in parts:
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


def used_in(body: dict[str, Any], choice: object) -> object:
    """What an answer or a chunk says of its tokens; some servers say it in the choice, or apart."""
    return body.get("usage") or fields(choice).get("usage") or fields(body.get("x_groq")).get("usage")


def read_bill(usage: object) -> Bill:
    """The tokens of a call, zeros where the provider does not say, and its cost where it does."""
    if not isinstance(usage, dict):
        return Bill()
    took, gave = (fields(usage.get(f"{side}_tokens_details")) for side in ("prompt", "completion"))
    cached = (
        took.get("cached_tokens"),
        *map(usage.get, ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")),
    )
    sent = first_count(map(usage.get, ("prompt_tokens", "input_tokens")))
    written = first_count(map(usage.get, ("completion_tokens", "output_tokens")))
    reasoning = first_count((gave.get("reasoning_tokens"), usage.get("reasoning_tokens")))
    # Some providers leave the reasoning out of the completion tokens; only their total tells.
    if reasoning and count(usage.get("total_tokens")) == sent + written + reasoning:
        written += reasoning
    tokens = Usage(
        input_tokens=sent,
        output_tokens=written,
        cached_tokens=min(sent, first_count(cached)),
        reasoning_tokens=min(written, reasoning),
    )
    return Bill(tokens, stated_cost(usage))


def read_function(call: dict[str, Any]) -> tuple[str | None, object]:
    """Name and arguments of a tool call, or of a piece of one; a custom tool's arguments are its input."""
    function, custom = fields(call.get("function")), fields(call.get("custom"))
    name = string(function.get("name"))
    if name is None and (custom.get("name") or custom.get("input")):
        return string(custom.get("name")), custom.get("input")
    return name, function.get("arguments")


def _said_otherwise(message: dict[str, Any]) -> str | None:
    """A refusal, or what was spoken: the answer's words where its content has none."""
    return string(message.get("refusal")) or string(fields(message.get("audio")).get("transcript"))


def _says_something(call: object) -> bool:
    """Whether a tool call is more than a placeholder, in which all is empty."""
    if not isinstance(call, dict) or call.get("id"):
        return True
    return any((*fields(call.get("function")).values(), *fields(call.get("custom")).values()))


def _asked(call: object, number: int) -> AskedTool:
    name, arguments = read_function(fields(call))
    if not isinstance(call, dict) or name is None:
        raise malformed(f"the answer has a tool call without a name: {shown(call)}")
    return AskedTool(string(call.get("id")) or missing_id(number), name, arguments_text(arguments))


def _legacy_call(message: dict[str, Any]) -> tuple[AskedTool, ...]:
    """The one call of the older form, `function_call`."""
    function = fields(message.get("function_call"))
    name = string(function.get("name"))
    return (AskedTool(missing_id(0), name, arguments_text(function.get("arguments"))),) if name else ()
