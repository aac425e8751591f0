"""A model server that gives recorded answers, and refuses a request that is not the recorded one.

One base URL a run."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

Message = Mapping[str, Any]


class RecordedAnswers:
    """The assistant turns of recorded runs, at `/<number>/v1/chat/completions`."""

    def __init__(self, runs: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
        self._runs = runs
        self._tools = _by_name(tools)
        self._runner: web.AppRunner | None = None
        self.refusals: dict[int, str] = {}
        """By the run's number, why a request of it was refused first."""

    async def start(self) -> str:
        """The address to which a run's number is appended."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{number}/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        asked = await request.json()
        messages = asked["messages"]
        recorded = self._runs[number]["messages"]
        excused = excused_calls(self._runs[number])
        problem = difference(messages, recorded, excused)
        if problem is None and _by_name(asked.get("tools", [])) != self._tools:
            problem = "the tools are not those of the recording's environment"
        if problem is None and recorded[len(messages)]["role"] != "assistant":
            problem = f"no answer was recorded after message {len(messages) - 1}"
        if problem is not None:
            self.refusals.setdefault(number, problem)
            return web.json_response({"error": {"message": problem, "code": "not_as_recorded"}}, status=400)
        turn = recorded[len(messages)]
        message = {"role": "assistant", "content": turn.get("content")}
        if turn.get("tool_calls"):
            message["tool_calls"] = turn["tool_calls"]
        if asked.get("stream"):
            return await _streamed(request, asked["model"], message)
        choice = {"index": 0, "message": message, "finish_reason": _finish(message)}
        return web.json_response(
            {"id": f"recorded-{number}", "object": "chat.completion", "model": asked["model"], "choices": [choice]}
        )


def excused_calls(run: Mapping[str, Any]) -> set[int]:
    """The tool calls of the run whose recorded results a fresh environment does not give, by the file's own list."""
    return {mismatch["call_index"] for mismatch in run.get("replay", {}).get("mismatches", [])}


def difference(messages: list[Message], recorded: list[Message], excused: set[int]) -> str | None:
    """The first way in which a request's messages are not the recorded ones; None where they are."""
    if len(messages) >= len(recorded):
        return f"the request has {len(messages)} messages, the recording {len(recorded)}"
    calls = 0
    for index, (sent, kept) in enumerate(zip(messages, recorded, strict=False)):
        for field in ("role", "content", "tool_call_id"):
            if sent.get(field) != kept.get(field) and not (
                field == "content" and kept["role"] == "tool" and calls in excused
            ):
                return f"message {index}: {field} is {sent.get(field)!r:.300}, recorded was {kept.get(field)!r:.300}"
        if (sent.get("tool_calls") or None) != (kept.get("tool_calls") or None):
            return f"message {index}: tool_calls differ from the recorded ones"
        calls += kept["role"] == "tool"
    return None


def _by_name(tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {tool["function"]["name"]: tool for tool in tools}


def _finish(message: Message) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


async def _streamed(request: web.Request, model: str, message: Message) -> web.StreamResponse:
    """The answer in pieces of a few characters, as providers send them."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)

    async def send(delta: Mapping[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "recorded", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    await send({"role": "assistant", "content": message["content"] if message["content"] == "" else None})
    text = message["content"] or ""
    for start in range(0, len(text), 24):
        await send({"content": text[start : start + 24]})
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        await send({"tool_calls": [{**call, "index": index, "function": {"name": function["name"], "arguments": ""}}]})
        for start in range(0, len(function["arguments"]), 16):
            piece = function["arguments"][start : start + 16]
            await send({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    await send({}, _finish(message))
    await response.write(b"data: [DONE]\n\n")
    return response
