"""Calls of the OpenAI-compatible adapter to a local server, and the answers that servers give."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import ModelFailure, ModelReply, ModelRequest
from ledgent.schemas.errors import ErrorInfo
from tests.agent.raw_server import RawServer, Step, events, streamed

KEY = "sk-canary-0123456789abcdef"
BODY = b'{"model":"gpt-4o",  "messages":[{"role":"user","content":"h\xc3\xa9"}]}'


def a_request(timeout_s: float = 5.0) -> ModelRequest:
    return ModelRequest("m1", 1, BODY, timeout_s)


def an_answer(message: dict[str, Any] | None = None, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": message or {"role": "assistant", "content": "Hello"}}
    return {"id": "r1", "model": "gpt-4o-2024-11-20", "choices": [choice], **more}


def a_chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "r1", "model": "gpt-4o", "choices": [choice], **more}


def a_call(**fields: Any) -> dict[str, Any]:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return a_chunk({"tool_calls": [{**fields, "function": function}]})


@asynccontextmanager
async def serving(*answers: list[Step], **options: Any) -> AsyncIterator[tuple[RawServer, OpenAIModel]]:
    async with RawServer(*answers) as server:
        model = OpenAIModel("gpt-4o", base_url=server.url, api_key=KEY, **options)
        try:
            yield server, model
        finally:
            await model.aclose()


async def reply_to(answer: list[Step], **options: Any) -> ModelReply:
    async with serving(answer, **options) as (_, model):
        return await model.complete(a_request())


async def failure_of(answer: list[Step], timeout_s: float = 5.0, **options: Any) -> ModelFailure:
    async with serving(answer, **options) as (_, model):
        with pytest.raises(ModelFailure) as raised:
            await model.complete(a_request(timeout_s))
    return raised.value


async def error_of(answer: list[Step], timeout_s: float = 5.0, **options: Any) -> ErrorInfo:
    return (await failure_of(answer, timeout_s, **options)).error


async def streamed_reply(*chunks: object, done: bool = True) -> ModelReply:
    return await reply_to(streamed(events(*chunks, *(["[DONE]"] if done else []))), stream=True)
