"""Fallback chains: which model is asked next, for how long, at whose prices, and the way back."""

import asyncio
import json

import pytest

from ledgent.agent import (
    Agent,
    AnthropicModel,
    Attempts,
    Fail,
    Limits,
    OpenAIModel,
    Recovery,
    Reply,
    RetryPolicy,
    ScriptedModel,
)
from ledgent.agent.models.port import ModelReply
from ledgent.agent.models.prices import Price
from ledgent.agent.verify import verify
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ModelCallStarted, ModelFellBack, RetryScheduled
from ledgent.schemas.state import Status
from ledgent.schemas.values import Usage
from tests.agent.openai_calls import an_answer
from tests.agent.raw_server import RawServer, whole
from tests.agent.recorded import events_of, go, only, types_of
from tests.agent.test_model_calls import ModelOf
from tests.simulation.clock import SimulatedClock

ONCE = RetryPolicy(attempts=1)


def failing(code: str = "server_error", name: str = "first", attempts: int = 1) -> ScriptedModel:
    return ScriptedModel(lambda _: Fail(code), name=name, retry=RetryPolicy(attempts=attempts))


def steady(name: str, text: str = "hi") -> ScriptedModel:
    return ScriptedModel(lambda _: text, name=name)


def asked(log: MemoryLog, run_id: str) -> list[tuple[str, int, str]]:
    return [(event.call_id, event.attempt, event.model) for event in events_of(log, run_id, ModelCallStarted)]


class TestGoingOn:
    async def test_the_next_model_is_asked_once_the_first_has_used_up_its_attempts(self, log: MemoryLog) -> None:
        agent = Agent("a", failing(attempts=2), fallbacks=[steady("second")])
        result = await go(agent, log)
        assert (result.output, result.spent.steps) == ("hi", 1)
        assert asked(log, result.run_id) == [("m1", 1, "first"), ("m1", 2, "first"), ("m1", 3, "second")]
        fell = only(log, result.run_id, ModelFellBack)
        assert (fell.call_id, fell.attempt, fell.from_model, fell.to_model, fell.index, fell.reason) == (
            *("m1", 3, "first", "second", 1),
            ErrorCode.SERVER_ERROR,
        )
        assert "timer.fired" not in types_of(log, result.run_id)[-5:]

    @pytest.mark.parametrize("code", ["quota_exhausted", "auth", "content_filtered"])
    async def test_what_cannot_pass_falls_back_at_once(self, log: MemoryLog, code: str) -> None:
        result = await go(Agent("a", failing(code, attempts=4), fallbacks=[steady("second")]), log)
        assert [model for _, _, model in asked(log, result.run_id)] == ["first", "second"]

    @pytest.mark.parametrize("code", ["invalid_request", "context_overflow", "too_large", "internal"])
    async def test_what_another_model_would_not_mend_fails_the_run(self, log: MemoryLog, code: str) -> None:
        result = await go(Agent("a", failing(code), fallbacks=[steady("second")]), log)
        assert (result.status, events_of(log, result.run_id, ModelFellBack)) == (Status.FAILED, [])

    async def test_an_agent_may_have_it_otherwise(self, log: MemoryLog) -> None:
        rows = [
            Recovery(code=ErrorCode.INVALID_REQUEST, again="never", then="fall_back"),
            Recovery(code=ErrorCode.AUTH, again="never", then="stop"),
        ]
        wrong = Agent("a", failing("invalid_request"), fallbacks=[steady("second")], recovery=rows)
        assert (await go(wrong, log)).output == "hi"
        keyless = Agent("a", failing("auth"), fallbacks=[steady("second")], recovery=rows)
        assert (await go(keyless, log)).status is Status.FAILED

    async def test_each_model_has_attempts_pauses_and_time_outs_of_its_own(self, log: MemoryLog) -> None:
        second = ScriptedModel(
            lambda _: Fail("connection"), name="second", retry=RetryPolicy(attempts=3, first_s=1.0, max_s=9.0)
        )
        first = ScriptedModel(lambda _: Fail("timeout"), name="first", retry=RetryPolicy(attempts=2, first_s=0.25))
        clock = SimulatedClock()
        result = await go(Agent("a", first, fallbacks=[second]), log, clock=clock)
        assert result.status is Status.FAILED
        assert [model for _, _, model in asked(log, result.run_id)] == ["first"] * 2 + ["second"] * 3
        assert clock.drawn == [(0.0, 0.25), (0.0, 1.0), (0.0, 2.0)]
        assert [wait.attempt for wait in events_of(log, result.run_id, RetryScheduled)] == [2, 4, 5]

    async def test_the_run_fails_with_the_last_models_error(self, log: MemoryLog) -> None:
        result = await go(
            Agent("a", failing(), fallbacks=[failing("auth", "second"), failing("quota_exhausted", "third")]), log
        )
        assert result.error is not None
        assert result.error.code is ErrorCode.QUOTA_EXHAUSTED
        assert [fell.to_model for fell in events_of(log, result.run_id, ModelFellBack)] == ["second", "third"]

    async def test_a_limit_holds_across_models(self, log: MemoryLog) -> None:
        late = ScriptedModel(lambda _: Fail("server_error"), retry=ONCE, delay_s=0.002)
        result = await go(Agent("a", late, fallbacks=[steady("second")], limits=Limits(seconds=0.001)), log)
        assert (result.status, result.limit) == (Status.LIMITED, "seconds")


class TestTheWayBack:
    async def test_for_a_while_new_calls_go_to_the_fallback_and_then_to_the_first_again(self, log: MemoryLog) -> None:
        first = ScriptedModel(["one", "-", "-"], name="first", retry=ONCE)
        first._turns = (Fail("server_error"), "back", "back")
        agent = Agent("a", first, fallbacks=[steady("second")], conversational=True, fallback_s=0.4)
        async with agent.conversation(log=log) as chat:
            answers = [str(await chat.send("1")), str(await chat.send("2"))]
            await asyncio.sleep(0.5)
            answers.append(str(await chat.send("3")))
            run_id = chat.run_id
        assert answers == ["hi", "hi", "back"]
        assert run_id is not None
        assert [(call, model) for call, _, model in asked(log, run_id)] == [
            ("m1", "first"),
            ("m1", "second"),
            ("m2", "second"),
            ("m3", "first"),
        ]

    async def test_a_fallback_that_fails_too_gives_the_first_another_chance(self, log: MemoryLog) -> None:
        first = ScriptedModel(lambda messages: "back" if len(messages) > 1 else Fail("auth"), name="first")
        second = ScriptedModel(lambda messages: Fail("auth") if len(messages) > 1 else "hi", name="second")
        agent = Agent("a", first, fallbacks=[second], conversational=True)
        async with agent.conversation(log=log) as chat:
            assert str(await chat.send("1")) == "hi"
            assert str(await chat.send("2")) == "back"
            run_id = chat.run_id
        assert run_id is not None
        assert [(fell.to_model, fell.index) for fell in events_of(log, run_id, ModelFellBack)] == [
            ("second", 1),
            ("first", 0),
        ]

    async def test_a_call_stays_with_its_fallback_however_long_it_takes(self, log: MemoryLog) -> None:
        second = ScriptedModel([Attempts(Fail("connection"), Fail("connection"), "hi")], name="second")
        result = await go(Agent("a", failing(), fallbacks=[second], fallback_s=0), log)
        assert [model for _, _, model in asked(log, result.run_id)] == ["first", "second", "second"]

    async def test_once_the_first_is_tried_again_it_has_all_its_attempts(self, log: MemoryLog) -> None:
        first = ScriptedModel(["-", "-"], name="first", retry=RetryPolicy(attempts=2, first_s=0))
        first._turns = (Fail("server_error"), Attempts(Fail("server_error"), "back"))
        agent = Agent("a", first, fallbacks=[steady("second")], conversational=True, fallback_s=0)
        async with agent.conversation(log=log) as chat:
            await chat.send("1")
            assert str(await chat.send("2")) == "back"
            run_id = chat.run_id
        assert run_id is not None
        assert [model for call, _, model in asked(log, run_id) if call == "m2"] == ["first", "first"]

    async def test_the_time_outs_of_one_model_lengthen_nothing_for_the_next(self, log: MemoryLog) -> None:
        second = ModelOf(lambda request: ModelReply("hi"), timeout_s=10.0)
        await go(Agent("a", failing("timeout"), fallbacks=[second]), log)
        assert [request.timeout_s for request in second.requests] == [10.0]


class TestOverHttp:
    async def test_each_model_gets_its_own_request_at_its_own_prices(self, log: MemoryLog) -> None:
        broken = whole({"error": {"code": "insufficient_quota", "message": "pay"}}, 429)
        usage = {"input_tokens": 10, "output_tokens": 5}
        message = {"id": "x", "type": "message", "role": "assistant", "model": "claude", "usage": usage}
        good = whole({**message, "content": [{"type": "text", "text": "Bonjour"}], "stop_reason": "end_turn"})
        async with RawServer(broken) as one, RawServer(good) as two:
            first = OpenAIModel("gpt-4o", base_url=one.url, api_key="sk-1", parameters={"temperature": 0.5})
            second = AnthropicModel(
                "claude", base_url=two.url, api_key="sk-2", prices=Price(input=1e5, output=2e5), parameters={"top_p": 1}
            )
            result = await go(Agent("a", first, "Be brief.", fallbacks=[second]), log)
            await first.aclose()
            await second.aclose()
            asked_one, asked_two = json.loads(one.seen[0].body), json.loads(two.seen[0].body)
        assert (result.output, result.spent.cost_usd) == ("Bonjour", pytest.approx(2.0))
        assert (asked_one["model"], asked_one["temperature"]) == ("gpt-4o", 0.5)
        assert (asked_two["model"], asked_two["top_p"], "temperature" in asked_two) == ("claude", 1, False)
        providers = [event.provider for event in events_of(log, result.run_id, ModelCallStarted)]
        assert providers == ["openai", "anthropic"]
        assert verify(log, result.run_id).ok

    async def test_a_server_that_is_gone_is_replaced_by_one_that_is_there(self, log: MemoryLog) -> None:
        async with RawServer(whole(an_answer())) as server:
            gone = OpenAIModel("gpt-4o", base_url="http://127.0.0.1:9/v1", retry=RetryPolicy(attempts=2, first_s=0))
            there = OpenAIModel("gpt-4o", base_url=server.url)
            result = await go(Agent("a", gone, fallbacks=[there]), log)
            await gone.aclose()
            await there.aclose()
        assert result.output == "Hello"
        assert only(log, result.run_id, ModelFellBack).reason is ErrorCode.CONNECTION


class TestDefinition:
    async def test_a_cost_is_limited_only_where_every_model_has_a_price(self, log: MemoryLog) -> None:
        priced = ScriptedModel(["hi"], price=Price(input=1, output=1))
        with pytest.raises(UsageError, match="price of second is not known"):
            await go(Agent("a", priced, fallbacks=[steady("second")], limits=Limits(cost_usd=1)), log)

    async def test_the_chain_is_frozen_into_the_run_and_outlives_the_code(self, log: MemoryLog) -> None:
        agent = Agent("a", failing(), fallbacks=["gpt-4o", "anthropic:claude-opus-5-5"], fallback_s=7)
        assert [model.name for model in agent.spec.fallbacks] == ["gpt-4o", "claude-opus-5-5"]
        assert agent.spec.fallback_s == 7
        changed = Agent("a", failing())
        assert changed.live_model_of(1, agent.spec.fallbacks[0]).spec == agent.spec.fallbacks[0]

    async def test_what_each_model_used_is_counted_together(self, log: MemoryLog) -> None:
        first = ScriptedModel([Attempts(Reply("x", usage=Usage(input_tokens=3)))], name="first")
        result = await go(Agent("a", failing(), fallbacks=[first]), log)
        assert result.spent.tokens == 3
