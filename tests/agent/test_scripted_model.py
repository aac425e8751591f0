import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.prices import Price
from ledgent.agent.models.scripted import Attempts, Call, Fail, Reply, ScriptedModel, Turn
from ledgent.schemas.agents import RetryPolicy
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.values import Usage

BODY = orjson.dumps({"model": "scripted", "messages": [{"role": "user", "content": "Hello"}]})


def a_request(call_id: str = "m1", attempt: int = 1, timeout_s: float = 5.0) -> ModelRequest:
    return ModelRequest(call_id, attempt, BODY, timeout_s)


async def ask(turn: Turn | Callable[[list[dict[str, Any]]], Turn], attempt: int = 1, **options: Any) -> ModelReply:
    turns = turn if callable(turn) else [turn]
    return await ScriptedModel(turns, **options).complete(a_request(attempt=attempt))


async def test_turns_follow_the_call_and_not_the_order_of_asking() -> None:
    turns = ["one", "two", "three"]
    first, second = ScriptedModel(turns), ScriptedModel(turns)
    assert (await first.complete(a_request("m2"))).text == "two"
    assert (await first.complete(a_request("m1"))).text == "one"
    assert (await second.complete(a_request("m3"))).text == "three"


async def test_a_call_beyond_the_script_fails_for_good() -> None:
    for call_id in ("m0", "m4", "m4000000000"):
        with pytest.raises(ModelFailure, match="only 3 turns") as raised:
            await ScriptedModel(["one", "two", "three"]).complete(a_request(call_id))
        assert raised.value.error.code is ErrorCode.INVALID_REQUEST
        assert not raised.value.error.retryable
    with pytest.raises(ModelFailure, match="'other'"):
        await ScriptedModel(["one"]).complete(a_request("other"))


async def test_one_call_or_several_are_asked_for_with_ids_of_their_own() -> None:
    one = await ask(Call("add", a=1, b=[2]))
    assert one.tool_calls == (AskedTool("call_m1_0", "add", '{"a":1,"b":[2]}'),)
    assert (one.text, one.finish_reason) == (None, "tool_calls")
    several = await ask((Call("add", tool="x"), Call.raw("say", "not json")))
    assert several.tool_calls == (
        AskedTool("call_m1_0", "add", '{"tool":"x"}'),
        AskedTool("call_m1_1", "say", "not json"),
    )


async def test_a_reply_may_say_everything_itself() -> None:
    usage = Usage(input_tokens=7, output_tokens=3)
    reply = await ask(Reply("Hi", [Call("add")], reasoning="Hm", usage=usage, cost_usd=0.5))
    assert (reply.text, reply.reasoning, reply.usage, reply.cost_usd) == ("Hi", "Hm", usage, 0.5)
    assert [call.name for call in reply.tool_calls] == ["add"]


async def test_usage_and_cost_are_the_same_each_time() -> None:
    price = Price(input=1_000_000, output=2_000_000)
    replies = [await ask("four letters a token", price=price) for _ in range(2)]
    assert replies[0] == replies[1]
    assert replies[0].usage == Usage(input_tokens=len(BODY) // 4, output_tokens=5)
    assert replies[0].cost_usd == len(BODY) // 4 + 10
    assert (await ask("free")).cost_usd is None
    assert ScriptedModel([], price=price).priced()
    assert not ScriptedModel([]).priced()


async def test_attempts_of_one_turn_may_differ_and_go_on_as_the_last() -> None:
    turn = Attempts(Fail("rate_limited", retry_after_s=0.05), Fail("timeout"), "at last")
    with pytest.raises(ModelFailure) as first:
        await ask(turn)
    assert (first.value.error.code, first.value.error.retryable) == (ErrorCode.RATE_LIMITED, True)
    assert first.value.error.retry_after_s == 0.05
    with pytest.raises(ModelFailure) as second:
        await ask(turn, attempt=2)
    assert second.value.error.code is ErrorCode.TIMEOUT
    assert [(await ask(turn, attempt=n)).text for n in (3, 4)] == ["at last", "at last"]
    with pytest.raises(UsageError):
        Attempts()


async def test_a_failure_is_retryable_as_usual_for_its_code_or_as_told() -> None:
    assert not Fail("auth", "bad key", status=401).error.retryable
    assert Fail("auth", retryable=True).error.retryable
    with pytest.raises(ModelFailure, match="bad key") as raised:
        await ask(Fail("auth", "bad key", status=401))
    assert raised.value.error.status == 401
    with pytest.raises(UsageError, match="rate_limited"):
        Fail("unknown")


async def test_a_function_may_choose_the_turn_from_the_messages() -> None:
    def choose(messages: list[dict[str, Any]]) -> Turn:
        return Reply(f"{len(messages)} {messages[-1]['role']}: {messages[-1]['content']}")

    assert (await ask(choose)).text == "1 user: Hello"


async def test_a_streamed_answer_comes_word_by_word() -> None:
    told: list[Delta] = []
    reply = Reply("Good  morning,\nyou", [Call("wave")], reasoning="Be kind")
    model = ScriptedModel([reply], stream=True, delay_s=0.05)
    began = time.monotonic()
    assert (await model.complete(a_request(), told.append)).text == "Good  morning,\nyou"
    assert time.monotonic() - began >= 0.045
    assert [(delta.kind, delta.text) for delta in told] == [
        ("reasoning", "Be "),
        ("reasoning", "kind"),
        ("text", "Good  "),
        ("text", "morning,\n"),
        ("text", "you"),
        ("tool_arguments", "{}"),
    ]
    told.clear()
    assert (await ask("Good morning")).text == "Good morning"
    assert (await model.complete(a_request())).text == "Good  morning,\nyou"
    assert told == []


async def test_nothing_to_stream_takes_its_time_nevertheless() -> None:
    began = time.monotonic()
    assert (await ask(Reply(), stream=True, delay_s=0.05)).text is None
    assert time.monotonic() - began >= 0.045


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_takes_longer_than_its_deadline_times_out(stream: bool) -> None:
    model = ScriptedModel(["a b c"], delay_s=5, stream=stream)
    with pytest.raises(ModelFailure) as raised:
        await model.complete(a_request(timeout_s=0.05))
    assert (raised.value.error.code, raised.value.error.retryable) == (ErrorCode.TIMEOUT, True)


async def test_waiting_for_an_answer_can_be_cancelled() -> None:
    waiting = asyncio.create_task(ScriptedModel(["late"], delay_s=5).complete(a_request()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("turns", ["the answer", [7], [[]], [["text"]], [Attempts({})], [Attempts("x", ["y"])]])
def test_what_is_no_script_is_refused_where_it_is_written(turns: Any) -> None:
    with pytest.raises(UsageError):
        ScriptedModel(turns)


async def test_the_spec_tells_who_answers() -> None:
    model = ScriptedModel(["x"], name="demo", stream=True, timeout_s=3, retry=RetryPolicy(attempts=2))
    spec = model.spec
    assert (spec.provider, spec.name, spec.stream, spec.timeout_s, spec.retry.attempts) == (
        "scripted",
        "demo",
        True,
        3,
        2,
    )
    await model.aclose()
