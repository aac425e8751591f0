"""What is sent to a messages server, with which key and to where; costs and deadlines."""

import asyncio
import subprocess
import sys
import time
import traceback

import orjson
import pytest

from ledgent.agent import Agent, AnthropicModel
from ledgent.agent.models.port import ModelFailure, ModelRequest
from ledgent.agent.models.prices import Bill, LongPrompt, Price, bill_at, price_of
from ledgent.agent.models.resolve import model_for, model_from
from ledgent.agent.tools.function import tool
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.agents import ModelSpec, RetryPolicy
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.values import Usage
from tests.agent.models.anthropic_calls import (
    KEY,
    a_message,
    a_request,
    a_start,
    a_text,
    error_of,
    failure_of,
    named_events,
    reply_to,
    serving,
)
from tests.agent.raw_server import RawServer, Step, streamed, whole
from tests.agent.recorded import go

# what is sent ---------------------------------------------------------------------------------------------------------


async def test_the_request_goes_to_messages_with_key_and_version() -> None:
    async with serving(whole(a_message())) as (server, model):
        reply = await model.complete(a_request())
    assert (reply.text, reply.finish_reason) == ("Hello", "end_turn")
    assert (reply.model, reply.response_id) == ("claude-sonnet-4-5-20250929", "msg_1")
    (seen,) = server.seen
    assert seen.line == "POST /v1/messages HTTP/1.1"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.headers["content-type"] == "application/json"
    assert "authorization" not in seen.headers
    assert "anthropic-beta" not in seen.headers
    assert orjson.loads(seen.body) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64_000,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hé"}]}],
    }


@pytest.mark.parametrize("written", ["", "/", "/v1", "/v1/"])
async def test_an_address_may_end_with_the_version_or_not(written: str) -> None:
    async with RawServer(whole(a_message())) as server:
        address = server.url.removesuffix("/v1") + "/anthropic" + written
        model = AnthropicModel("claude-sonnet-4-5", base_url=address, api_key=KEY)
        await model.complete(a_request())
        await model.aclose()
    assert server.seen[0].line == "POST /anthropic/v1/messages HTTP/1.1"


async def test_betas_are_named_in_a_header_and_not_in_the_body() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "betas": ["a-1", "b-2"]}
    async with serving(whole(a_message())) as (server, model):
        await model.complete(a_request(chat))
        await model.complete(a_request())
    assert server.seen[0].headers["anthropic-beta"] == "a-1,b-2"
    assert b"betas" not in server.seen[0].body
    assert "anthropic-beta" not in server.seen[1].headers


async def test_calls_one_after_another_share_a_connection_streamed_or_not() -> None:
    body = streamed(named_events(a_start(), *a_text("Hi"), {"type": "message_stop"}))
    for answer, stream in ((whole(a_message()), False), (body, True)):
        async with serving(answer, stream=stream) as (server, model):
            for _ in range(3):
                await model.complete(a_request())
        assert (len(server.seen), server.connections) == (3, 1)


async def test_an_agent_works_with_tools_over_the_messages_format() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    asking = a_message(
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}},
        {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {"a": 3, "b": 4}},
        stop="tool_use",
    )
    async with serving(whole(asking), whole(a_message({"type": "text", "text": "3 and 7"}))) as (server, model):
        agent = Agent("adder", instructions="Add.", model=model, tools=[add])
        result = await go(agent, MemoryLog(), "1+2 and 3+4?")
    assert result.output == "3 and 7"
    first, second = (orjson.loads(seen.body) for seen in server.seen)
    assert first["tools"][0]["name"] == "add"
    assert first["tools"][0]["input_schema"]["properties"].keys() == {"a", "b"}
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == asking["content"]
    assert second["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "7"},
    ]


# the key --------------------------------------------------------------------------------------------------------------


async def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(whole(a_message())) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY + "\n")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
        model = AnthropicModel("claude-sonnet-4-5")
        await model.complete(a_request())
        await model.aclose()
    assert server.seen[0].headers["x-api-key"] == KEY
    assert "sk-of-another" not in str(server.seen[0])


async def test_without_key_and_address_the_failure_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelFailure, match="ANTHROPIC_API_KEY") as raised:
        await AnthropicModel("claude-sonnet-4-5").complete(a_request())
    assert (raised.value.error.code, raised.value.error.retryable) == (ErrorCode.AUTH, False)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_the_server_echoes_is_nowhere_to_be_seen(stream: bool) -> None:
    said = {"type": "error", "error": {"type": "authentication_error", "message": f"invalid x-api-key: {KEY}."}}
    async with serving(whole(said, 401), stream=stream) as (_, model):
        with pytest.raises(ModelFailure) as raised:
            await model.complete(a_request())
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.error)
    assert raised.value.error.code is ErrorCode.AUTH
    assert "invalid x-api-key: [key]." in raised.value.error.message
    assert "ANTHROPIC_API_KEY" in raised.value.error.message
    assert KEY not in shown + repr(model) + model.spec.model_dump_json()
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


# the deadline ---------------------------------------------------------------------------------------------------------

SLOW: dict[str, list[Step]] = {
    "nothing": [5.0],
    "a body byte by byte": [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", *[b" ", 0.05] * 50],
    "pings for ever": streamed(*[named_events({"type": "ping"}), 0.05] * 50),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slow", SLOW)
async def test_the_deadline_is_for_the_whole_attempt(slow: str, stream: bool) -> None:
    began = time.monotonic()
    error = await error_of(SLOW[slow], timeout_s=0.2, stream=stream)
    assert 0.19 < time.monotonic() - began < 1.5
    assert (error.code, error.retryable) == (ErrorCode.TIMEOUT, True)


async def test_a_stream_that_meets_the_deadline_tells_what_it_used() -> None:
    failure = await failure_of(streamed(named_events(a_start(input_tokens=1_000_000)), 5.0), timeout_s=0.2, stream=True)
    assert failure.error.code is ErrorCode.TIMEOUT
    assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 3.0)


async def test_cancelling_a_call_cancels_it() -> None:
    async with serving([5.0]) as (server, model):
        call = asyncio.create_task(model.complete(a_request()))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_request_that_cannot_be_translated_is_refused_before_anything_is_sent() -> None:
    async with serving(whole(a_message())) as (server, model):
        for body in (b"{", b"[]", b'{"messages": 7}', b'{"messages": [7]}'):
            with pytest.raises(ModelFailure) as raised:
                await model.complete(ModelRequest("m1", 1, body, 5.0))
            assert (raised.value.error.code, raised.value.error.retryable) == (ErrorCode.INVALID_REQUEST, False)
    assert server.seen == []


# names and prices -----------------------------------------------------------------------------------------------------


def test_a_name_with_its_provider_makes_an_anthropic_model() -> None:
    model = model_from("anthropic:claude-opus-5-5")
    assert isinstance(model, AnthropicModel)
    price = price_of("claude-opus-5-5")
    assert price is not None
    assert model.spec == ModelSpec(provider="anthropic", name="claude-opus-5-5", context_window=1_000_000, price=price)
    assert model_from("claude-opus-5-5").spec.provider == "openai"
    with pytest.raises(UsageError, match="no name"):
        model_from("anthropic:")


def test_neither_sdk_is_loaded_for_an_anthropic_model() -> None:
    code = (
        "import sys; from ledgent.agent import AnthropicModel; AnthropicModel('m'); print({'openai'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_model_is_made_again_from_its_spec() -> None:
    model = AnthropicModel(
        "claude-opus-5-5",
        base_url="http://127.0.0.1:1",
        parameters={"max_tokens": 100},
        stream=True,
        timeout_s=7,
        retry=RetryPolicy(attempts=2),
    )
    again = model_for(model.spec)
    assert isinstance(again, AnthropicModel)
    assert again.spec == model.spec


async def test_what_was_read_from_the_cache_and_written_there_is_priced_apart() -> None:
    usage = {
        "input_tokens": 100_000,
        "cache_read_input_tokens": 400_000,
        "cache_creation_input_tokens": 300_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 200_000, "ephemeral_1h_input_tokens": 100_000},
        "output_tokens": 10_000,
    }
    # Sonnet 4.5: 3 in, 0.30 from the cache, 3.75 and 6 into it, 15 out.
    expected = 0.1 * 3 + 0.4 * 0.3 + 0.2 * 3.75 + 0.1 * 6 + 0.01 * 15
    reply = await reply_to(whole(a_message(usage=usage)))
    assert reply.usage == Usage(input_tokens=800_000, cached_tokens=400_000, output_tokens=10_000)
    assert reply.cost_usd == pytest.approx(expected)
    stream = [a_start(input_tokens=100_000), {"type": "message_delta", "delta": {}, "usage": usage}]
    streamed_too = await reply_to(streamed(named_events(*stream, {"type": "message_stop"})), stream=True)
    assert (streamed_too.usage, streamed_too.cost_usd) == (reply.usage, reply.cost_usd)
    own = await reply_to(whole(a_message(usage=usage)), prices=Price(input=1, output=0))
    assert own.cost_usd == 0.8


def test_a_long_prompt_has_its_own_price_for_the_whole_call() -> None:
    long = LongPrompt(tokens=100, input=5, output=25)
    price = Price(input=1, cached_input=0.1, output=5, long_prompt=long)
    assert bill_at(price, Bill(Usage(input_tokens=100, output_tokens=10))) == pytest.approx(150 / 1e6)
    assert bill_at(price, Bill(Usage(input_tokens=101, output_tokens=10))) == pytest.approx(755 / 1e6)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("claude-haiku-5-5", "claude-haiku-5-5"),
    ],
)
def test_snapshots_and_aliases_of_claude_models_have_a_price(name: str, like: str) -> None:
    price = price_of(name)
    assert price is not None
    assert price == price_of(like)
    assert price.cached_input is not None
    assert price.cached_input < price.input < (price.cache_write or 0) < (price.cache_write_1h or 0)
