"""A model as an OpenAI-compatible server on loopback: chat completions, streamed and not. It decides nothing itself.

The n-th model turn of a conversation is the one with n - 1 answers in the request, so the server keeps no conversation;
it only counts how often it was asked the same, since a second attempt may fare otherwise.
"""

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from ledgent.agent.models.port import Model, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.scripted import Call, Fail, Outcome, Reply, ScriptedModel
from ledgent.schemas.errors import ErrorCode, UsageError

ANSWERS: dict[ErrorCode, tuple[int, str]] = {
    ErrorCode.RATE_LIMITED: (429, "rate_limit_exceeded"),
    ErrorCode.QUOTA_EXHAUSTED: (429, "insufficient_quota"),
    ErrorCode.CONTEXT_OVERFLOW: (400, "context_length_exceeded"),
    ErrorCode.CONTENT_FILTERED: (400, "content_filter"),
    ErrorCode.INVALID_REQUEST: (400, "invalid_request_error"),
    ErrorCode.AUTH: (401, "invalid_api_key"),
    ErrorCode.TIMEOUT: (408, "timeout"),
    ErrorCode.TOO_LARGE: (413, "request_too_large"),
    ErrorCode.SERVER_ERROR: (500, "server_error"),
}
"""Status and code that a failure is told with; others are 500."""
KEPT = 10_000
"""Requests whose attempts are counted."""
LONGEST_S = 600.0
"""An answer that takes longer is given up by every client."""


class ModelServer:
    """Serves one model."""

    def __init__(self, model: Model) -> None:
        self.answered = 0
        self.failed = 0
        self._model = model
        self._attempts: OrderedDict[bytes, int] = OrderedDict()
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[str]:
        """Answers on loopback while the block lasts; the base URL for clients. Raises UsageError for a used port."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port, backlog=2_048)
            try:
                await site.start()
            except OSError as error:
                raise UsageError(f"port {port} cannot be used: {error.strerror}; name another with --port") from error
            host, number = runner.addresses[0][:2]
            yield f"http://{host}:{number}/v1"
        finally:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        listed = [{"id": self._model.spec.name, "object": "model", "owned_by": self._model.spec.provider}]
        return _json({"object": "list", "data": listed})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            chat = orjson.loads(body)
            turn = 1 + sum(message["role"] == "assistant" for message in chat["messages"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _error(ErrorCode.INVALID_REQUEST, "this is no chat-completions request")
        self.answered += 1
        try:
            reply = await self._model.complete(ModelRequest(f"m{turn}", self._attempt(body), body, LONGEST_S))
        except ModelFailure as failure:
            self.failed += 1
            return self._failed(request, failure)
        id = f"chatcmpl-{next(self._ids)}"
        name = str(chat.get("model") or self._model.spec.name)
        if chat.get("stream"):
            return await _streamed(request, _chunks(id, name, reply))
        return _json(_completion(id, name, reply))

    def _attempt(self, body: bytes) -> int:
        attempt = self._attempts.pop(body, 0) + 1
        self._attempts[body] = attempt
        if len(self._attempts) > KEPT:
            self._attempts.popitem(last=False)
        return attempt

    def _failed(self, request: web.Request, failure: ModelFailure) -> web.StreamResponse:
        error = failure.error
        if error.code is ErrorCode.CONNECTION:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # which goes nowhere
        if error.code is ErrorCode.MALFORMED_RESPONSE:
            return web.Response(text='{"choices": [{"message": {"content": "cut of', content_type="application/json")
        return _error(error.code, error.message, error.retry_after_s)


def scripted(script: Path | None, delay_s: float = 0.0) -> ScriptedModel:
    """The model of a script's file; without one it says again what it was told. Raises UsageError."""
    if script is None:
        return ScriptedModel(_echo, name="echo", delay_s=delay_s)
    try:
        turns = orjson.loads(script.read_bytes())
    except OSError as error:
        raise UsageError(f"{script} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{script} is no JSON: {error}") from error
    if not isinstance(turns, list) or not turns:
        raise UsageError(f"{script} is no list of turns")
    named = [_turn(turn, f"{script}: turn {number}") for number, turn in enumerate(turns, 1)]
    return ScriptedModel(named, delay_s=delay_s)


def _echo(messages: list[dict[str, Any]]) -> Outcome:
    return str(messages[-1].get("content") or "")


def _turn(turn: Any, where: str) -> Outcome:
    try:
        match turn:
            case str(text):
                return text
            case {"fail": code}:
                options = {name: value for name, value in turn.items() if name != "fail"}
                return Fail(code, **options)
            case {"call": _}:
                return _call(turn)
            case [_, *_]:
                return [_call(call) for call in turn]
            case {"text": text, "calls": calls}:
                return Reply(text, [_call(call) for call in calls])
            case _:
                pass
    except (KeyError, TypeError):
        pass  # as any other that is none
    raise UsageError(
        f'{where} is none: a text, {{"call": name, "arguments": {{...}}}}, a list of those, or {{"fail": code}} is one'
    )


def _call(call: Any) -> Call:
    return Call(call["call"], **call.get("arguments", {}))


def _completion(id: str, model: str, reply: ModelReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}
    return {"id": id, "object": "chat.completion", "created": 0, "model": model, "choices": [choice], **_usage(reply)}


def _chunks(id: str, model: str, reply: ModelReply) -> list[dict[str, Any]]:
    """The answer as a stream tells it, word by word."""
    text = [{"content": word + " "} for word in (reply.text or "").split(" ")] if reply.text else []
    if text:
        text[-1]["content"] = text[-1]["content"][:-1]
    calls = [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(_tool_calls(reply))]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *text, *calls]
    said = {"id": id, "object": "chat.completion.chunk", "created": 0, "model": model}
    chunks = [{**said, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**said, "choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}]})
    return [*chunks, {**said, "choices": [], **_usage(reply)}]


def _tool_calls(reply: ModelReply) -> list[dict[str, Any]]:
    return [
        {"id": call.provider_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]


def _usage(reply: ModelReply) -> dict[str, Any]:
    usage = reply.usage
    total = usage.input_tokens + usage.output_tokens
    counted = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}
    return {"usage": counted}


async def _streamed(request: web.Request, chunks: list[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # the client has heard enough
        for chunk in chunks:
            await response.write(b"data: %b\n\n" % orjson.dumps(chunk))
        await response.write(b"data: [DONE]\n\n")
    return response


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


def _error(code: ErrorCode, message: str, retry_after_s: float | None = None) -> web.Response:
    status, name = ANSWERS.get(code, (500, "server_error"))
    headers = {"retry-after-ms": f"{retry_after_s * 1000:.0f}"} if retry_after_s is not None else None
    return _json({"error": {"message": message, "type": name, "param": None, "code": name}}, status, headers)
