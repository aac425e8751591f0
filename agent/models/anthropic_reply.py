"""Reading an answer in the Anthropic messages format: parsed JSON in, a reply out. No I/O."""

from typing import Any

from ledgent.agent.models.failures import cut, malformed, shown
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply
from ledgent.agent.models.prices import Bill
from ledgent.agent.models.reading import arguments_text, count, fields, missing_id, stated_cost, string
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.values import Usage

COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def read_message(body: object) -> ModelReply:
    """The reply that a whole answer holds. Raises ModelFailure.

    Tools that the provider runs itself (server_tool_use, mcp_tool_use and their results) are no calls of ours.
    """
    content = body.get("content") if isinstance(body, dict) else None
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(body, dict) or not isinstance(content, list):
        raise malformed(f"the answer has no content: {shown(body)}")
    blocks = [fields(block) for block in content]
    texts = [read_text(block) for block in blocks if block.get("type") == "text"]
    asked = [block for block in blocks if block.get("type") == "tool_use"]
    return finished(
        ModelReply(
            text="".join(texts) if texts else None,
            tool_calls=tuple(asked_tool(block, number) for number, block in enumerate(asked)),
            reasoning="".join(read_thinking(block) for block in blocks) or None,
            usage=read_bill(fields(body.get("usage"))).usage,
            finish_reason=string(body.get("stop_reason")),
            model=string(body.get("model")),
            response_id=string(body.get("id")),
        ),
        body.get("stop_details"),
    )


def read_text(block: dict[str, Any]) -> str:
    """The text of a text block."""
    return string(block.get("text")) or ""


def read_thinking(block: dict[str, Any]) -> str:
    """The reasoning of a block; what the provider has redacted is none."""
    return string(block.get("thinking")) or "" if block.get("type") == "thinking" else ""


def asked_tool(block: dict[str, Any], number: int, arguments: str | None = None) -> AskedTool:
    """The call that a tool_use block is; `arguments` as streamed, should they have been. Raises ModelFailure."""
    name = string(block.get("name"))
    if name is None:
        raise malformed(f"the answer has a tool call without a name: {shown(block)}")
    # A tool without parameters is called with an empty object; in a stream, with nothing at all.
    text = arguments or arguments_text(block.get("input")) or "{}"
    return AskedTool(string(block.get("id")) or missing_id(number), name, text)


def read_bill(usage: dict[str, Any]) -> Bill:
    """The tokens of a call. Anthropic counts input, cache reads and cache writes apart; ours is their sum."""
    plain, read, written, out = (count(usage.get(name)) for name in COUNTS)
    for_an_hour = min(written, count(fields(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")))
    thought = count(fields(usage.get("output_tokens_details")).get("thinking_tokens"))
    tokens = Usage(
        input_tokens=plain + read + written,
        output_tokens=out,
        cached_tokens=read,
        reasoning_tokens=min(out, thought),
    )
    return Bill(tokens, stated_cost(usage), written - for_an_hour, for_an_hour)


def finished(reply: ModelReply, details: object) -> ModelReply:
    """The reply, unless the provider's classifiers left nothing of it. Raises ModelFailure (content_filtered)."""
    if reply.finish_reason == "refusal" and not reply.text and not reply.tool_calls:
        why = string(fields(details).get("explanation")) or string(fields(details).get("category"))
        message = "the provider's classifiers withheld the answer" + (f": {cut(why)}" if why else "")
        raise ModelFailure(ErrorInfo(code=ErrorCode.CONTENT_FILTERED, message=message), reply.usage)
    return reply
