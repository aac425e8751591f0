"""The benchmark that plays recorded exchanges: what it serves, what it compares, what it tells."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks.decode_recordings import difference, play, play_all, told
from benchmarks.recorded_body import Answer, Call, Failure
from benchmarks.recorded_exchanges import CHAT, MESSAGES, RecordedServer, read_exchanges
from benchmarks.recorded_meaning import status_of
from benchmarks.recorded_requests import as_chat, same_request
from ledgent.agent.models.openai_errors import ERRORS
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.scripted import ScriptedModel
from ledgent.schemas.values import Usage
from tests.agent.models.exchanges import an_exchange, answered

CHECKOUT = Path(__file__).resolve().parents[3]
BENCHMARK = CHECKOUT / "benchmarks" / "decode_recordings.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BENCHMARK, *arguments], capture_output=True, text=True, check=False)


# the recordings -------------------------------------------------------------------------------------------------------


async def test_recorded_answers_and_errors_of_both_formats_are_understood(recorded_data: Path) -> None:
    files = sorted((recorded_data / "http" / "dev").glob("*.jsonl"))
    ours = [one for file in files for one in read_exchanges(file) if one.api in (CHAT, MESSAGES)]
    chosen = [*ours[::5], *(one for one in ours if one.api == MESSAGES)]
    played = await play_all(chosen)
    assert len(played) > 50
    assert [(one.exchange.id, one.why) for one in played if one.outcome == "not_understood"] == []
    assert {one.outcome for one in played} == {"decoded", "error"}
    assert [(one.exchange.id, one.sent) for one in played if one.sent] == []


@pytest.mark.slow
def test_the_benchmark_ends_with_what_it_understood(recorded_data: Path) -> None:
    table = run("--recordings", recorded_data / "http" / "dev")
    told = json.loads(
        run("--recordings", *sorted((recorded_data / "http" / "dev").glob("*.jsonl")), "-o", "json").stdout
    )
    total = told["total"]
    assert table.stdout.splitlines()[-1] == (
        f"{total['exchanges']} exchanges, {total['decoded']} decoded equal, {total['errors']} right errors, "
        f"{total['not_understood']} not understood"
    )
    assert table.returncode == 0
    assert total["exchanges"] == total["decoded"] + total["errors"] > 400
    assert total["foreign_exceptions"] == 0
    assert all(told["apis"][api]["exchanges"] for api in (CHAT, MESSAGES))


async def test_verbatim_bodies_are_served_byte_for_byte(recorded_data: Path) -> None:
    recorded = list(read_exchanges(recorded_data / "http" / "dev" / "recordings.jsonl"))
    odd = an_exchange(CHAT, '\n: x\r\ndata: {"a": "é\ud83d"}\r\n\r\ndata: [DONE]', "sse")
    server = RecordedServer()
    address = await server.start()
    async with aiohttp.ClientSession() as session:
        for exchange in [*recorded[::9], odd]:
            server.exchange, server.status = exchange, status_of(exchange)
            async with session.post(f"{address}/v1/x", data=b"{}") as answer:
                body, status, kind = await answer.read(), answer.status, answer.headers["content-type"]
            if exchange.kind != "sse_payload_lines":
                assert body == exchange.text.encode(errors="surrogatepass"), exchange.id
            assert status == (exchange.status or 400)
            assert kind == exchange.headers.get("content-type", kind)
    await server.stop()


def test_payload_lines_become_events_again() -> None:
    lines = '{"type": "message_start"}\n\n{"type": "message_stop"}\n'
    assert an_exchange(MESSAGES, lines, "sse_payload_lines").body == (
        b'event: message_start\ndata: {"type": "message_start"}\n\n'
        b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
    )
    for chat in ('{"choices": []}\n', '{"choices": []}\n[DONE]\n'):
        body = an_exchange(CHAT, chat, "sse_payload_lines").body
        assert body == b'data: {"choices": []}\n\ndata: [DONE]\n\n'


# what the benchmark would find ----------------------------------------------------------------------------------------

HELD = Answer("Hi", "Hm", [Call("a", "f", '{"x": 1}')], "stop", 9, 6, 4, 5)
READ = ModelReply(
    text="Hi",
    tool_calls=(AskedTool("a", "f", '{"x": 1}'),),
    reasoning="Hm",
    usage=Usage(input_tokens=9, output_tokens=6, cached_tokens=4, reasoning_tokens=5),
    finish_reason="stop",
)


@pytest.mark.parametrize(
    "change",
    [
        {"text": ""},
        {"text": None},
        {"reasoning": None},
        {"calls": []},
        {"calls": [Call("b", "f", '{"x": 1}')]},
        {"calls": [Call("a", "g", '{"x": 1}')]},
        {"calls": [Call("a", "f", '{"x": 2}')]},
        {"calls": [Call("a", "f", "{x")]},
        {"finish": "length"},
        {"input": 8},
        {"output": 5},
        {"cached": 0},
        {"thought": 0},
    ],
)
def test_every_difference_is_found_and_named(change: dict[str, Any]) -> None:
    assert difference(READ, HELD, 200) == ""
    assert difference(READ, HELD._replace(**change), 200).startswith(f"{next(iter(change))}: ")
    assert difference(READ, Failure("server_error", 200, "No"), 200)


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (Failure("rate_limited", 429, "Slow down"), ""),
        (Failure("quota_exhausted", 429, "Slow down"), "code: "),
        (Failure("rate_limited", None, "Slow down"), "status: "),
        (Failure("rate_limited", 429, "Hurry up"), "the message lacks"),
        (HELD, "the answer was not read"),
    ],
)
async def test_every_difference_of_an_error_is_found(held: Answer | Failure, found: str) -> None:
    exchange = an_exchange(CHAT, '{"error": {"message": "Slow  down"}}', status=429)
    (played,) = await play_all([exchange])
    assert played.outcome == "error"
    failure = ModelFailure(ERRORS.of_answer(429, json.loads(exchange.text), {}, "host"))
    assert difference(failure, held, 429).startswith(found)
    assert bool(found) == bool(difference(failure, held, 429))


async def test_what_is_raised_that_is_not_ours_is_found() -> None:
    class Broken(ScriptedModel):
        async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
            raise KeyError("choices")

    played = await play(an_exchange(CHAT, answered({"content": "Hi"})), RecordedServer(), Broken([]), False)
    assert (played.outcome, played.foreign) == ("not_understood", True)
    assert "KeyError" in played.why


async def test_a_recording_that_no_reader_understands_is_listed_and_stops_nothing() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    odd = an_exchange(CHAT, answered({"content": "Hi", "tool_calls": [call]}, usage=[7]))
    bad_request = {"max_tokens": 1, "messages": [{"role": "user", "content": [7]}]}
    other = an_exchange(MESSAGES, '{"content": [], "stop_reason": "end_turn"}', request=bad_request)
    first, second = await play_all([odd, other])
    assert first.outcome == "not_understood"
    assert first.why.startswith("the recording could not be read: ")
    assert not first.foreign
    assert second.outcome == "decoded"
    assert (second.sent or "").startswith("it cannot be written as chat completions: ")


@pytest.mark.slow
def test_what_is_not_understood_is_listed_and_ends_with_exit_code_1(tmp_path: Path) -> None:
    good, bad = (
        {
            "id": id,
            "api": CHAT,
            "provider": "someone",
            "request": None,
            "response": {"status": 200, "body": {"kind": "json", "text": answered({"content": content})}},
        }
        for id, content in (("r1", "Hi"), ("r2", 7))
    )
    other = {**good, "id": "r3", "api": "openai.responses"}
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in (good, bad, other)))
    done = run("--recordings", file)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "left out: 1 of openai.responses"
    assert lines[1].startswith("not understood: r2 (openai.chat, someone): the answer was not read: malformed_response")
    assert lines[-1] == "2 exchanges, 1 decoded equal, 0 right errors, 1 not understood"
    file.write_text(json.dumps(good) + "\n")
    assert run("--recordings", file).returncode == 0


async def test_a_request_that_arrives_otherwise_is_found() -> None:
    request = {
        "model": "claude-opus-5-5",
        "max_tokens": 5,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1", "is_error": False}],
            },
        ],
        "tools": [{"name": "f", "description": "F.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "stop_sequences": ["END"],
    }
    answer = '{"content": [], "stop_reason": "end_turn"}'
    (played,) = await play_all([an_exchange(MESSAGES, answer, request=request)])
    assert (played.outcome, played.sent) == ("decoded", "")
    assert json.loads(json.dumps(as_chat(request)))["messages"][2]["tool_calls"][0]["function"]["name"] == "f"
    for place, changed in (
        ("max_tokens", {**request, "max_tokens": 6}),
        ("system[0].text", {**request, "system": "Be long."}),
        ("messages", {**request, "messages": request["messages"][:2]}),
        ("tools[0].name", {**request, "tools": [{**request["tools"][0], "name": "g"}]}),
    ):
        assert same_request(request, json.dumps(changed).encode()).startswith(f"{place}: ")
    assert same_request(request, None) == "nothing arrived"


def test_calls_that_were_told_early_are_held_against_the_reply() -> None:
    one, two = AskedTool("a", "f", "{}"), AskedTool("b", "g", "{}")
    reply = ModelReply(None, (one, two))
    assert [told(reply, [], asked) for asked in ([], [one], [one, two])] == [""] * 3
    assert "early" in told(reply, [], [two])
    assert "early" in told(reply, [], [one, two, two])
