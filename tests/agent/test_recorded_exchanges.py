"""Real answers of some twenty providers, served byte for byte, against a second, plainer reading of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import ModelFailure, ModelReply
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from tests.agent.openai_calls import KEY, a_request
from tests.agent.raw_server import RawServer, Step, events, streamed, whole

Json = dict[str, Any]

CODES_BY_STATUS = {
    400: {ErrorCode.INVALID_REQUEST, ErrorCode.CONTEXT_OVERFLOW, ErrorCode.CONTENT_FILTERED},
    401: {ErrorCode.AUTH},
    402: {ErrorCode.QUOTA_EXHAUSTED},
    403: {ErrorCode.AUTH, ErrorCode.CONTENT_FILTERED},
    404: {ErrorCode.INVALID_REQUEST},
    413: {ErrorCode.TOO_LARGE, ErrorCode.RATE_LIMITED, ErrorCode.CONTEXT_OVERFLOW},
    422: {ErrorCode.INVALID_REQUEST},
    429: {ErrorCode.RATE_LIMITED, ErrorCode.QUOTA_EXHAUSTED},
}

CODES_BY_KIND = {
    "context_length_exceeded": ErrorCode.CONTEXT_OVERFLOW,
    "insufficient_quota": ErrorCode.QUOTA_EXHAUSTED,
    "insufficient_balance": ErrorCode.QUOTA_EXHAUSTED,
    "rate_limit": ErrorCode.RATE_LIMITED,
    "content_filter": ErrorCode.CONTENT_FILTERED,
    "server_error": ErrorCode.SERVER_ERROR,
    "overloaded": ErrorCode.SERVER_ERROR,
    "gateway_timeout": ErrorCode.SERVER_ERROR,
    "bad_gateway_html": ErrorCode.SERVER_ERROR,
    "invalid_max_tokens": ErrorCode.CONTEXT_OVERFLOW,
    "tools_not_enabled": ErrorCode.INVALID_REQUEST,
    "tools_not_supported": ErrorCode.INVALID_REQUEST,
    "invalid_request": ErrorCode.INVALID_REQUEST,
    "tool_pairing": ErrorCode.INVALID_REQUEST,
}


async def ask(answer: list[Step], stream: bool) -> ModelReply | ModelFailure:
    async with RawServer(answer) as server:
        model = OpenAIModel("gpt-4o", base_url=server.url, api_key=KEY, stream=stream)
        try:
            return await model.complete(a_request())
        except ModelFailure as failure:
            return failure
        finally:
            await model.aclose()


def lines(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def chat_exchanges(data: Path) -> list[Json]:
    recorded = lines(data / "http" / "dev" / "recordings.jsonl")
    return [exchange for exchange in recorded if exchange["api"] == "openai.chat"]


def served(response: Json) -> tuple[list[Step], bool]:
    """The response as it was sent, and whether it is a stream."""
    body, text = response["body"]["kind"], response["body"]["text"]
    status = response["status"] or 400
    if body == "sse_payload_lines":
        return streamed(events(*(line for line in text.splitlines() if line.strip()), "[DONE]")), True
    if body == "sse":
        raw = text.encode()
        return streamed(*(raw[at : at + 1000] for at in range(0, len(raw), 1000))), True
    return whole(text.encode(), status), False


def plainly_read(response: Json) -> Json:
    """Text, reasoning, calls, tokens and finish reason, read without the code under test."""
    if response["body"]["kind"] == "json":
        answer = json.loads(response["body"]["text"])
        return {**read_message(answer["choices"][0]["message"]), **read_rest(answer["choices"][0], answer)}
    text = response["body"]["text"]
    chunks = [json.loads(data) for data in event_data(text) if data.startswith("{")]
    return fold(chunks)


def event_data(text: str) -> Iterator[str]:
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if data and data != "[DONE]" and not line.startswith((":", "event:")):
            yield data


def fold(chunks: list[Json]) -> Json:
    message: Json = {"content": None, "reasoning": "", "tool_calls": []}
    last: Json = {}
    usage: Json = {}
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            read = read_message({**delta, "tool_calls": None})
            if read["text"] is not None:
                message["content"] = (message["content"] or "") + read["text"]
            message["reasoning"] += read["reasoning"] or ""
            add_calls(message["tool_calls"], delta.get("tool_calls") or [])
            last = {"finish_reason": choice.get("finish_reason") or last.get("finish_reason")}
    return {**read_message(message), **read_rest(last, {"usage": usage})}


def add_calls(calls: list[Json], pieces: list[Json]) -> None:
    for piece in pieces:
        if piece.get("id") and piece["id"] not in [call["id"] for call in calls]:
            calls.append({"id": piece["id"], "function": {"name": piece["function"]["name"], "arguments": ""}})
        calls[-1]["function"]["arguments"] += piece["function"].get("arguments") or ""


def read_message(message: Json) -> Json:
    content = message.get("content")
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(content, list):
        thought += "".join(text["text"] for part in content for text in part.get("thinking", []))
        content = "".join(part.get("text", "") for part in content)
    if not thought:
        thought = "".join(detail.get("text", "") for detail in message.get("reasoning_details") or [])
    spoken = message.get("refusal") or (message.get("audio") or {}).get("transcript")
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    old = message.get("function_call") or {}
    if old.get("name"):
        calls = [(old["name"], old["arguments"])]
    ids = [call["id"] for call in message.get("tool_calls") or [] if "id" in call]
    return {"text": content or spoken or content, "reasoning": thought or None, "calls": calls, "ids": ids}


def read_rest(choice: Json, answer: Json) -> Json:
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    others = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
    return {
        "finish": choice.get("finish_reason") or None,
        "input": usage.get("prompt_tokens", 0),
        "all": usage.get("total_tokens", 0),
        "cached": details.get("cached_tokens") or next((usage[key] for key in others if usage.get(key)), 0),
        "thought": (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    }


def as_read(reply: ModelReply) -> Json:
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "calls": [(call.name, call.arguments) for call in reply.tool_calls],
        "ids": [call.provider_id for call in reply.tool_calls if call.provider_id != "call_0"],
        "finish": reply.finish_reason,
        "input": reply.usage.input_tokens,
        "all": reply.usage.input_tokens + reply.usage.output_tokens,
        "cached": reply.usage.cached_tokens,
        "thought": reply.usage.reasoning_tokens,
    }


def is_error(exchange: Json) -> bool:
    return exchange["response"]["status"] != 200 or any(
        tag.startswith(("error:", "sse:error")) for tag in exchange["tags"]
    )


async def test_every_recorded_answer_is_read_as_it_was_meant(recorded_data: Path) -> None:
    exchanges = [each for each in chat_exchanges(recorded_data) if not is_error(each)]
    assert exchanges
    for exchange in exchanges:
        reply = await ask(*served(exchange["response"]))
        assert isinstance(reply, ModelReply), (exchange["id"], reply)
        assert as_read(reply) == plainly_read(exchange["response"]), exchange["id"]


async def test_every_recorded_error_has_a_code_that_fits_its_status(recorded_data: Path) -> None:
    exchanges = [each for each in chat_exchanges(recorded_data) if is_error(each)]
    assert exchanges
    for exchange in exchanges:
        failure = await ask(*served(exchange["response"]))
        assert isinstance(failure, ModelFailure), exchange["id"]
        status = exchange["response"]["status"] or 400
        if "tool_use_failed" in exchange["response"]["body"]["text"]:
            assert failure.error.code is ErrorCode.MALFORMED_RESPONSE
            assert failure.error.retryable
        else:
            assert failure.error.code in CODES_BY_STATUS[status], exchange["id"]
            assert not failure.error.retryable
        assert message_said(exchange["response"]["body"]["text"]) in failure.error.message


async def test_every_quoted_error_has_the_code_of_its_kind(recorded_data: Path) -> None:
    quoted = list(lines(recorded_data / "http" / "dev" / "quoted_errors.jsonl"))
    assert quoted
    for quote in quoted:
        in_stream = quote["status"] == 200
        body = quote["body_text"]
        answer = streamed(events(body)) if in_stream else whole(body.encode(), quote["status"], kind="text/plain")
        failure = await ask(answer, in_stream)
        assert isinstance(failure, ModelFailure), quote["id"]
        if quote["kind"] in CODES_BY_KIND:
            assert failure.error.code is CODES_BY_KIND[quote["kind"]], quote["id"]
        assert failure.error.retryable == may_pass(failure.error, body), quote["id"]


def may_pass(error: ErrorInfo, body: str) -> bool:
    hopeless = "Requested 10338" in body  # more in one request than the limit for a minute
    return error.code in (ErrorCode.RATE_LIMITED, ErrorCode.SERVER_ERROR) and not hopeless


def message_said(text: str) -> str:
    data = [text] if text.lstrip().startswith("{") else event_data(text)
    message: str = next(error["message"] for error in (json.loads(each).get("error") for each in data) if error)
    return " ".join(message.split())
