import asyncio
import gzip
import subprocess
import sys
import time
import traceback
from base64 import b64encode
from datetime import date
from importlib.resources import files
from typing import Any

import orjson
import pytest

from ledgent.agent import Agent, tool
from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import AskedTool, ModelFailure
from ledgent.agent.models.prices import Price, cost_at, price_of
from ledgent.agent.models.resolve import model_for, model_from
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.agents import ModelSpec, RetryPolicy
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.values import Usage
from tests.agent.openai_calls import (
    BODY,
    KEY,
    a_chunk,
    a_request,
    an_answer,
    error_of,
    failure_of,
    reply_to,
    serving,
)
from tests.agent.raw_server import RawServer, events, streamed, whole
from tests.agent.recorded import go

# what is sent ---------------------------------------------------------------------------------------------------------


async def test_the_request_is_sent_byte_for_byte_with_the_key_and_answered() -> None:
    async with serving(whole(an_answer())) as (server, model):
        reply = await model.complete(a_request())
    assert reply.text == "Hello"
    assert (reply.model, reply.response_id, reply.finish_reason) == ("gpt-4o-2024-11-20", "r1", "stop")
    (seen,) = server.seen
    assert seen.body == BODY
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "add"}}])
async def test_an_agent_works_with_tools_over_chat_completions(choice: Any) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
        {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": 4}'}},
    ]
    asking = an_answer({"role": "assistant", "content": "Let me see.", "tool_calls": calls}, "tool_calls")
    answers = whole(asking), whole(an_answer({"content": "3 and 7"}))
    async with serving(*answers, parameters={"tool_choice": choice, "temperature": 0}) as (server, model):
        result = await go(Agent("adder", instructions="Add.", model=model, tools=[add]), MemoryLog(), "1+2 and 3+4?")
    assert result.output == "3 and 7"
    first, second = (orjson.loads(seen.body) for seen in server.seen)
    (function,) = first["tools"]
    assert (function["type"], function["function"]["name"], function["function"]["description"]) == (
        "function",
        "add",
        "Adds.",
    )
    assert function["function"]["parameters"]["properties"].keys() == {"a", "b"}
    assert [(asked["tool_choice"], asked["temperature"]) for asked in (first, second)] == [(choice, 0)] * 2
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert second["messages"][2:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
        {"role": "tool", "tool_call_id": "call_2", "content": "7"},
    ]


async def test_a_query_in_the_base_url_is_kept() -> None:
    async with RawServer(whole(an_answer())) as server:
        model = OpenAIModel("gpt-4o", base_url=f"{server.url}/?api-version=1", api_key=KEY)
        await model.complete(a_request())
        await model.aclose()
    assert server.seen[0].line == "POST /v1/chat/completions?api-version=1 HTTP/1.1"


async def test_a_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(whole(an_answer())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("//", "//me:p%40ss@"))
        monkeypatch.setenv("no_proxy", "")
        model = OpenAIModel("gpt-4o", base_url="http://models.invalid/v1", api_key=KEY)
        await model.complete(a_request())
        await model.aclose()
    (seen,) = proxy.seen
    assert seen.line == "POST http://models.invalid/v1/chat/completions HTTP/1.1"
    assert seen.headers["proxy-authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"
    assert seen.headers["authorization"] == f"Bearer {KEY}"


async def test_a_proxy_is_not_told_the_key_of_the_server_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(whole({}, 407)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1").replace("//", "//me:p%40ss@"))
        monkeypatch.setenv("no_proxy", "")
        model = OpenAIModel("gpt-4o", base_url="https://models.invalid/v1", api_key=KEY)
        with pytest.raises(ModelFailure):
            await model.complete(a_request())
        await model.aclose()
    (seen,) = proxy.seen
    assert seen.line.startswith("CONNECT models.invalid:443")
    assert seen.headers["proxy-authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"
    assert KEY not in str(seen)


async def test_a_proxy_is_not_used_for_a_host_that_the_environment_excepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert (await reply_to(whole(an_answer()))).text == "Hello"


@pytest.mark.slow
async def test_a_program_that_closes_nothing_leaves_nothing_open() -> None:
    program = """
import asyncio, sys
from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import ModelRequest

async def main() -> None:
    model = OpenAIModel("gpt-4o", base_url=sys.argv[1], api_key="k")
    request = ModelRequest("m1", 1, b'{"model":"gpt-4o","messages":[]}', 10.0)
    print((await asyncio.gather(model.complete(request), model.complete(request)))[0].text)

asyncio.run(main())
asyncio.run(main())
"""
    async with RawServer(whole(an_answer())) as server:
        command = [sys.executable, "-W", "always", "-c", program, server.url]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Hello\nHello\n", "")


async def test_calls_one_after_another_share_a_connection() -> None:
    async with serving(whole(an_answer())) as (server, model):
        for _ in range(3):
            await model.complete(a_request())
    assert (len(server.seen), server.connections) == (3, 1)


async def test_many_calls_at_once_each_have_their_own_answer() -> None:
    answers = [[0.05, *whole(an_answer({"content": str(n)}))] for n in range(32)]
    async with serving(*answers) as (server, model):
        replies = await asyncio.gather(*(model.complete(a_request()) for _ in answers))
    assert sorted(int(reply.text or "") for reply in replies) == list(range(32))
    assert server.connections == 32


async def test_streamed_calls_share_a_connection_even_when_the_body_ends_a_little_after_done() -> None:
    body = events(a_chunk({"content": "Hi"}, "stop"), "[DONE]")
    head, piece, end = streamed(body)
    async with serving([head, piece, 0.02, end], stream=True) as (server, model):
        for _ in range(3):
            assert (await model.complete(a_request())).text == "Hi"
    assert (len(server.seen), server.connections) == (3, 1)


async def test_a_server_that_never_ends_its_stream_is_not_waited_for() -> None:
    head, piece, _ = streamed(events(a_chunk({"content": "Hi"}, "stop"), "[DONE]"))
    began = time.monotonic()
    assert (await reply_to([head, piece, 30.0], stream=True)).text == "Hi"
    assert time.monotonic() - began < 5


def test_one_model_serves_several_event_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def once() -> str | None:
        async with RawServer(whole(an_answer())) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            try:
                return (await model.complete(a_request())).text
            finally:
                await model.aclose()

    model = OpenAIModel("gpt-4o", api_key=KEY)
    assert [asyncio.run(once()), asyncio.run(once())] == ["Hello", "Hello"]


# the key --------------------------------------------------------------------------------------------------------------


async def test_without_key_and_address_the_failure_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelFailure, match="OPENAI_API_KEY") as raised:
        await OpenAIModel("gpt-4o").complete(a_request())
    assert raised.value.error.code is ErrorCode.AUTH
    assert not raised.value.error.retryable


async def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(whole(an_answer())) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        keyless = OpenAIModel("gpt-4o")
        await keyless.complete(a_request())
        await keyless.aclose()
        monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
        keyed = OpenAIModel("gpt-4o")
        await keyed.complete(a_request())
        await keyed.aclose()
    assert server.seen[0].headers["authorization"] == "Bearer no-key"
    assert server.seen[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_the_server_echoes_is_nowhere_to_be_seen(stream: bool) -> None:
    answer = whole({"error": {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}}, 401)
    async with serving(answer, stream=stream) as (_, model):
        with pytest.raises(ModelFailure) as raised:
            await model.complete(a_request())
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.error)
    assert raised.value.error.code is ErrorCode.AUTH
    assert "Incorrect API key provided: [key]." in raised.value.error.message
    assert KEY not in shown + repr(model) + model.spec.model_dump_json()
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


async def test_a_key_no_header_can_carry_is_refused_without_showing_it() -> None:
    model = OpenAIModel("gpt-4o", api_key="sk-sëcret")
    with pytest.raises(ModelFailure) as raised:
        await model.complete(a_request())
    assert raised.value.error.code is ErrorCode.AUTH
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8080/v1", "ftp://host/v1", "http://", "http://me:pw@host/v1", "http://h:x"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address"):
        OpenAIModel("gpt-4o", base_url=url)


async def test_a_wrong_address_in_the_environment_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    with pytest.raises(ModelFailure, match="OPENAI_BASE_URL") as raised:
        await OpenAIModel("gpt-4o", api_key=KEY).complete(a_request())
    assert raised.value.error.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("name", "options"), [("", {}), ("m", {"parameters": {"messages": []}}), ("m", {"timeout_s": 0})]
)
def test_what_makes_no_model_is_a_usage_error(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        OpenAIModel(name, **options)


# whole answers --------------------------------------------------------------------------------------------------------


async def test_tool_calls_keep_the_arguments_as_written() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1,  "b":2}'}},
        {"id": "c1", "function": {"name": "say", "arguments": "not json"}},
        {"function": {"name": "stop", "arguments": None}},
        {"id": "c4", "function": {"name": "put", "arguments": {"a": 1}}},
    ]
    reply = await reply_to(whole(an_answer({"content": None, "tool_calls": calls}, "tool_calls")))
    assert reply.text is None
    assert reply.tool_calls == (
        AskedTool("c1", "add", '{"a": 1,  "b":2}'),
        AskedTool("c1", "say", "not json"),
        AskedTool("call_2", "stop", ""),
        AskedTool("c4", "put", '{"a":1}'),
    )


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": ""}, "", None),
        ({"content": "Hi", "reasoning_content": "Hm"}, "Hi", "Hm"),
        ({"content": "Hi", "reasoning": "Hm"}, "Hi", "Hm"),
        ({"content": "Hi", "reasoning_details": [{"text": "H"}, {"summary": "m"}, {}]}, "Hi", "Hm"),
        ({"content": [{"type": "text", "text": "H"}, "i"]}, "Hi", None),
        ({"content": {"type": "text", "text": "Hi"}}, "Hi", None),
        ({"content": [{"type": "thinking", "thinking": [{"text": "Hm"}]}, {"text": "Hi"}]}, "Hi", "Hm"),
        ({"content": None, "refusal": "I cannot"}, "I cannot", None),
        ({"content": None, "audio": {"transcript": "Spoken"}}, "Spoken", None),
    ],
)
async def test_text_and_reasoning_are_found_wherever_providers_put_them(
    message: dict[str, Any], text: str, reasoning: str | None
) -> None:
    reply = await reply_to(whole(an_answer(message)))
    assert (reply.text, reply.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, Usage()),
        ({"prompt_tokens": 10, "completion_tokens": 5}, Usage(input_tokens=10, output_tokens=5)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=3),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_tokens_details": None},
            Usage(input_tokens=10, output_tokens=5, cached_tokens=4),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100),
        ),
        ({"prompt_tokens": 10, "cached_tokens": 40}, Usage(input_tokens=10, cached_tokens=10)),
        ({"prompt_tokens": 10**18, "completion_tokens": 5}, Usage(output_tokens=5)),
        ({"prompt_tokens": "many", "completion_tokens": -5, "prompt_tokens_details": 3}, Usage()),
        ([1], Usage()),
    ],
)
async def test_tokens_are_counted_as_each_provider_counts_them(usage: object, counted: Usage) -> None:
    reply = await reply_to(whole(an_answer(usage=usage)))
    assert reply.usage == counted


async def test_a_call_in_which_all_is_empty_is_a_placeholder() -> None:
    nothing = {"id": "", "type": "", "function": {"name": "", "arguments": ""}}
    reply = await reply_to(whole(an_answer({"content": "Hi", "tool_calls": [nothing]})))
    assert (reply.text, reply.tool_calls) == ("Hi", ())


async def test_the_cost_is_by_own_price_then_as_stated_then_by_the_table() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 400_000}}
    stating = whole(an_answer(usage={**usage, "cost": 0.25}))
    own = Price(input=10, cached_input=1, output=0)
    assert (await reply_to(stating, prices=own)).cost_usd == 6.4
    assert (await reply_to(stating)).cost_usd == 0.25
    assert (await reply_to(whole(an_answer(usage=usage)))).cost_usd == 2.0
    assert (await reply_to(whole(an_answer()))).cost_usd is None
    async with RawServer(whole(an_answer(usage=usage))) as server:
        unknown = OpenAIModel("homemade", base_url=server.url)
        assert (await unknown.complete(a_request())).cost_usd is None
        await unknown.aclose()
    assert not unknown.priced()
    assert OpenAIModel("gpt-4o").priced()
    assert OpenAIModel("homemade", prices=own).priced()


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"\\ud83d"}}],"x":NaN}',
        b'\n\n {"choices":[{"message":{"content":"\\ud83d"}}]}',
        b'\xef\xbb\xbf{"choices":[{"message":{"content":"\\ud83d"}}]}',
    ],
)
async def test_json_that_is_not_quite_json_is_read_nevertheless(body: bytes) -> None:
    assert (await reply_to(whole(body))).text == "\ufffd"


async def test_a_compressed_answer_is_read() -> None:
    packed = gzip.compress(orjson.dumps(an_answer()))
    assert (await reply_to(whole(packed, headers="content-encoding: gzip\r\n"))).text == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><html><title>Sign in</title></html>",
        b'{"choices": [',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        [],
        "text",
        7,
        None,
        {},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 7}}]},
        {"choices": [{"message": {"tool_calls": 7}}]},
        {"choices": [{"message": {"tool_calls": [None]}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": ["add"]}}]}}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_none_is_a_malformed_response(body: object, stream: bool) -> None:
    error = await error_of(whole(body), stream=stream)
    assert error.code is ErrorCode.MALFORMED_RESPONSE
    assert error.retryable


async def test_an_answer_said_to_be_compressed_that_is_not_is_a_malformed_response() -> None:
    error = await error_of(whole(an_answer(), headers="content-encoding: gzip\r\n"))
    assert error.code is ErrorCode.MALFORMED_RESPONSE


async def test_a_withheld_answer_is_content_filtered_and_keeps_its_usage() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    failure = await failure_of(whole(an_answer({"content": None}, "content_filter", usage=usage)))
    assert (failure.error.code, failure.error.retryable) == (ErrorCode.CONTENT_FILTERED, False)
    assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 2.5)
    partial = await reply_to(whole(an_answer({"content": "So far"}, "content_filter")))
    assert (partial.text, partial.finish_reason) == ("So far", "content_filter")


# the deadline ---------------------------------------------------------------------------------------------------------


SLOW_ANSWERS = {
    "nothing": [5.0],
    "a head without a body": [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n", 5.0],
    "a body byte by byte": [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", *[b" ", 0.05] * 50],
    "an error's body byte by byte": [b"HTTP/1.1 500 No\r\ncontent-length: 50\r\n\r\n", *[b" ", 0.05] * 50],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slow", SLOW_ANSWERS)
async def test_the_deadline_is_for_the_whole_attempt(slow: str, stream: bool) -> None:
    began = time.monotonic()
    error = await error_of(SLOW_ANSWERS[slow], timeout_s=0.2, stream=stream)
    assert 0.19 < time.monotonic() - began < 1.5
    assert (error.code, error.retryable) == (ErrorCode.TIMEOUT, True)
    assert "0.2 s" in error.message


async def test_a_stream_that_never_stops_dripping_meets_the_deadline_and_tells_what_it_used() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    drips = [piece for _ in range(50) for piece in (events(a_chunk({"content": "a"}, usage=usage)), 0.05)]
    failure = await failure_of(streamed(*drips), timeout_s=0.3, stream=True)
    assert failure.error.code is ErrorCode.TIMEOUT
    assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 2.5)


async def test_cancelling_a_call_cancels_it() -> None:
    async with serving([5.0]) as (server, model):
        call = asyncio.create_task(model.complete(a_request()))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


# names and prices -----------------------------------------------------------------------------------------------------


def test_a_name_makes_a_model_and_a_model_is_itself() -> None:
    model = model_from("gpt-4o")
    price = price_of("gpt-4o")
    assert price is not None
    assert model.spec == ModelSpec(provider="openai", name="gpt-4o", context_window=128_000, price=price)
    assert model_from(model) is model


def test_a_model_is_made_again_from_its_spec() -> None:
    model = OpenAIModel(
        "gpt-4o",
        base_url="http://127.0.0.1:1/v1",
        parameters={"temperature": 0},
        stream=True,
        timeout_s=7,
        retry=RetryPolicy(attempts=2),
    )
    assert model_for(model.spec).spec == model.spec


@pytest.mark.parametrize("provider", ["scripted", "someone"])
def test_a_model_that_a_spec_cannot_make_says_what_to_do(provider: str) -> None:
    with pytest.raises(UsageError, match="--agents"):
        model_for(ModelSpec(provider=provider, name="m"))


def test_a_dated_snapshot_costs_what_its_model_costs_unless_it_has_its_own_price() -> None:
    assert price_of("gpt-4o-2024-11-20") == price_of("gpt-4o")
    assert price_of("gpt-4-0613") == price_of("gpt-4")
    old, new = price_of("gpt-4o-2024-05-13"), price_of("gpt-4o")
    assert old is not None
    assert new is not None
    assert old.input == 2 * new.input
    assert price_of("gpt-4o-audio-preview") is None
    assert price_of("") is None


def test_cached_input_costs_less_and_reasoning_is_part_of_the_output() -> None:
    usage = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100, reasoning_tokens=90)
    cached = Price(input=2.5, cached_input=1.25, output=10)
    assert cost_at(cached, usage) == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert cost_at(Price(input=30, output=60), usage) == pytest.approx((1000 * 30 + 100 * 60) / 1e6)


def test_every_price_is_dated() -> None:
    table = orjson.loads(files("ledgent.agent.models").joinpath("prices.json").read_bytes())
    for name in table["models"]:
        price = price_of(name)
        assert price is not None
        assert date.fromisoformat(price.as_of or "") < date(2100, 1, 1)


def test_importing_the_adapter_does_not_import_the_sdk() -> None:
    code = "import sys, ledgent.agent.models.openai; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
