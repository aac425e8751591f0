"""Calls of the Anthropic adapter to a local server, and the answers that servers give."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from ledgent.agent.models.anthropic import AnthropicModel
from ledgent.agent.models.port import ModelFailure, ModelReply, ModelRequest
from ledgent.schemas.errors import ErrorInfo
from tests.agent.raw_server import RawServer, Step, streamed, whole

KEY = "sk-ant-canary-0123456789abcdef"
CHAT = {
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hé"}],
}

Json = dict[str, Any]


def a_request(chat: Json | None = None, timeout_s: float = 5.0) -> ModelRequest:
    return ModelRequest("m1", 1, orjson.dumps(chat or CHAT), timeout_s)


def a_message(*content: Json, stop: str | None = "end_turn", **more: Any) -> Json:
    said = list(content) or [{"type": "text", "text": "Hello"}]
    named = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    return {**named, "content": said, "stop_reason": stop, "stop_sequence": None, **more}


def a_start(**usage: int) -> Json:
    return {"type": "message_start", "message": {**a_message(stop=None), "content": [], "usage": usage}}


def a_block(index: int, **block: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def a_delta(index: int, **delta: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def an_end(stop: str = "end_turn", **usage: int) -> list[Json]:
    return [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}, {"type": "message_stop"}]


def a_text(*pieces: str, index: int = 0) -> list[Json]:
    deltas = [a_delta(index, type="text_delta", text=piece) for piece in pieces]
    return [a_block(index, type="text", text=""), *deltas, {"type": "content_block_stop", "index": index}]


def named_events(*events: Json) -> bytes:
    """Server-sent events as Anthropic writes them, each with its name."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


@asynccontextmanager
async def serving(*answers: list[Step], **options: Any) -> AsyncIterator[tuple[RawServer, AnthropicModel]]:
    async with RawServer(*answers) as server:
        model = AnthropicModel("claude-sonnet-4-5", base_url=server.url, api_key=KEY, **options)
        try:
            yield server, model
        finally:
            await model.aclose()


async def reply_to(answer: list[Step], **options: Any) -> ModelReply:
    async with serving(answer, **options) as (_, model):
        return await model.complete(a_request())


async def streamed_reply(*events: Json) -> ModelReply:
    return await reply_to(streamed(named_events(*events)), stream=True)


async def failure_of(answer: list[Step], timeout_s: float = 5.0, **options: Any) -> ModelFailure:
    async with serving(answer, **options) as (_, model):
        with pytest.raises(ModelFailure) as raised:
            await model.complete(a_request(timeout_s=timeout_s))
    return raised.value


async def error_of(answer: list[Step], timeout_s: float = 5.0, **options: Any) -> ErrorInfo:
    return (await failure_of(answer, timeout_s, **options)).error


async def sent_for(chat: Json, **options: Any) -> Json:
    """The messages request that a chat request becomes on the wire."""
    async with serving(whole(a_message()), **options) as (server, model):
        await model.complete(a_request(chat))
    sent: Json = orjson.loads(server.seen[0].body)
    return sent
