"""Rate limits and places of models: calls wait their turn before they are made, and each wait is an event."""

import asyncio
from collections import deque

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, OpenAIModel, RetryPolicy, ScriptedModel, tool
from ledgent.agent.models.allowance import Allowance, allowance_of
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.agent.resilience.rates import Bucket, Rates, Wait
from ledgent.agent.resilience.shared import shared_of
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import ModelCallFailed, ModelCallStarted, RateLimitWaited, RetryScheduled
from ledgent.schemas.state import Status
from ledgent.schemas.values import Usage
from tests.agent.openai_calls import an_answer
from tests.agent.raw_server import RawServer, whole
from tests.agent.recorded import events_of, go, only, records_of, types_of
from tests.agent.test_model_calls import ModelOf
from tests.simulation.clock import SimulatedClock


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "allowance"),
        [
            ({}, None),
            ({"content-type": "application/json"}, None),
            (
                {
                    "x-ratelimit-limit-requests": "30000",
                    "x-ratelimit-remaining-requests": "29999",
                    "x-ratelimit-reset-requests": "2ms",
                    "x-ratelimit-limit-tokens": "150000",
                    "x-ratelimit-remaining-tokens": "0",
                    "x-ratelimit-reset-tokens": "6m1.5s",
                },
                Allowance(30_000, 29_999, 150_000, 0, 361.5),
            ),
            (
                {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"},
                Allowance(None, 0, None, None, 0.12),
            ),
            ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, Allowance(None, 0)),
            ({"x-ratelimit-remaining-requests": "many"}, Allowance()),
            (
                {
                    "anthropic-ratelimit-requests-limit": "50",
                    "anthropic-ratelimit-requests-remaining": "0",
                    "anthropic-ratelimit-requests-reset": "2000-01-01T00:00:00Z",
                },
                Allowance(50, 0, None, None, 0.0),
            ),
        ],
    )
    def test_what_each_provider_writes_is_read(self, headers: dict[str, str], allowance: Allowance | None) -> None:
        assert allowance_of(headers) == allowance


class TestArithmetic:
    @pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
    def test_no_minute_has_more_than_is_allowed(self, per_minute: int) -> None:
        bucket, times, now = Bucket(per_minute, 0.0), deque[float](), 0.0
        for _ in range(5 * per_minute):
            now += bucket.take(now, 1)
            times.append(now)
            while times[0] <= now - 60.0:
                times.popleft()
            assert len(times) <= max(per_minute, 2)
        assert now <= 60.0 * 5 * (1.4 if per_minute > 10 else 12), "and not much less"

    def test_a_call_takes_its_place_once(self) -> None:
        rates = Rates()
        rates.configure(ModelSpec(provider="p", name="m", requests_per_minute=10), 0.0)
        assert rates.wait(("r", "m1", 1), 0, 0.0) is None
        second, third = rates.wait(("r", "m2", 1), 0, 0.0), rates.wait(("s", "m1", 1), 0, 0.0)
        assert second is not None
        assert third is not None
        assert third.delay_s == pytest.approx(2 * second.delay_s)
        assert rates.wait(("r", "m2", 1), 0, second.delay_s) is None
        assert rates.wait(("s", "m1", 1), 0, third.delay_s) is None

    def test_tokens_are_settled_once_they_are_known(self) -> None:
        rates, spec = Rates(), ModelSpec(provider="p", name="m", tokens_per_minute=1_000)
        rates.configure(spec, 0.0)
        assert rates.wait(("r", "m1", 1), 100, 0.0) is None
        rates.settle(100, Usage(input_tokens=900, output_tokens=15))
        waits = rates.wait(("r", "m2", 1), 85, 0.0)
        assert waits == Wait(pytest.approx(60.0), "tokens")

    def test_what_others_have_used_counts_once_it_is_told(self) -> None:
        rates = Rates()
        rates.learn(Allowance(requests=100, requests_left=0), None, 0.0)
        waits = rates.wait(("r", "m1", 1), 0, 0.0)
        assert waits is not None
        assert waits.reason == "requests"

    def test_the_smaller_of_what_is_told_and_what_was_set_holds(self) -> None:
        rates = Rates()
        rates.configure(ModelSpec(provider="p", name="m", requests_per_minute=60), 0.0)
        rates.learn(Allowance(requests=6_000), None, 0.0)
        assert rates._buckets["requests"].per_minute == 60
        rates.learn(Allowance(requests=6), None, 0.0)
        assert rates._buckets["requests"].per_minute == 6

    def test_all_wait_when_one_was_told_to(self) -> None:
        rates, error = Rates(), Fail("rate_limited", retry_after_s=5.0).error
        rates.learn(None, error, 10.0)
        assert rates.wait(("r", "m1", 1), 0, 11.0) == Wait(4.0, "told")
        assert rates.wait(("r", "m1", 1), 0, 15.0) is None

    def test_who_was_told_to_wait_does_not_go_all_at_once_afterwards(self) -> None:
        rates = Rates()
        rates.configure(ModelSpec(provider="p", name="m", requests_per_minute=10), 0.0)
        runs = [(f"r{number}", "m1", 1) for number in range(9)]
        due = {run: waits.delay_s for run in runs if (waits := rates.wait(run, 0, 0.0)) is not None}
        assert len(due) == 8
        rates.learn(None, Fail("rate_limited", retry_after_s=100.0).error, 1.0)
        again = {run: at + waits.delay_s for run, at in due.items() if (waits := rates.wait(run, 0, at)) is not None}
        first, *_, last = sorted(again.values())
        assert first >= 101.0
        assert last - first == pytest.approx(7 * 60 / 9, rel=0.01)
        assert [rates.wait(run, 0, at) for run, at in again.items()] == [None] * 8

    def test_a_model_without_limits_costs_nothing(self) -> None:
        rates = Rates()
        assert rates.wait(("r", "m1", 1), 9_999_999, 0.0) is None
        assert rates._places == {}


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class TestRuns:
    async def test_a_wait_comes_before_the_call_and_is_recorded(self, log: MemoryLog) -> None:
        model = ScriptedModel([Call("add", a=1, b=2), "3"], requests_per_minute=10)
        result = await go(Agent("a", model, tools=[add]), log, clock=SimulatedClock())
        assert result.output == "3"
        waits = only(log, result.run_id, RateLimitWaited)
        assert (waits.call_id, waits.attempt, waits.reason) == ("m2", 1, "requests")
        assert types_of(log, result.run_id)[-5:] == [
            *("rate_limit.waited", "timer.fired", "model_call.started", "model_call.completed", "run.completed"),
        ]
        at = {record.event.type: record.at for record in records_of(log, result.run_id)}
        assert (at["timer.fired"] - at["rate_limit.waited"]).total_seconds() == pytest.approx(waits.delay_s, abs=0.1)
        assert (result.spent.steps, result.spent.retries) == (2, 0)

    async def test_the_first_call_of_a_run_may_wait_too(self, log: MemoryLog) -> None:
        agent, clock = Agent("a", ScriptedModel(["hi"], requests_per_minute=10)), SimulatedClock()
        results = [await go(agent, log, clock=clock) for _ in range(2)]
        assert [events_of(log, each.run_id, RateLimitWaited) != [] for each in results] == [False, True]
        assert [(each.output, each.spent.steps) for each in results] == [("hi", 1), ("hi", 1)]

    async def test_a_retry_waits_its_turn_as_well(self, log: MemoryLog) -> None:
        model = ScriptedModel(
            [Attempts(Fail("connection"), "hi")], requests_per_minute=10, retry=RetryPolicy(first_s=0.001, max_s=0.001)
        )
        result = await go(Agent("a", model), log, clock=SimulatedClock())
        assert (result.output, only(log, result.run_id, RateLimitWaited).attempt) == ("hi", 2)

    async def test_no_run_waits_past_its_deadline(self, log: MemoryLog) -> None:
        model = ScriptedModel([Call("add", a=1, b=2), "3"], requests_per_minute=1)
        result = await go(Agent("a", model, tools=[add], limits=Limits(seconds=5)), log, clock=SimulatedClock())
        assert (result.status, result.limit) == (Status.LIMITED, "seconds")
        assert only(log, result.run_id, RateLimitWaited).delay_s <= 5

    async def test_a_run_that_is_cancelled_while_it_waits_ends(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel([Call("add", a=1, b=2), "3"], requests_per_minute=1), tools=[add])
        stop = asyncio.Event()
        task = asyncio.create_task(agent.run("go", log=log, stop=stop, on_record=lambda r: _set(stop, r.event)))
        assert (await asyncio.wait_for(task, 5)).status is Status.CANCELLED

    async def test_what_one_run_was_told_holds_for_the_others(self, log: MemoryLog) -> None:
        refused = whole({"error": {"code": "rate_limit_exceeded"}}, 429, "retry-after-ms: 300\r\n")
        async with RawServer(refused, whole(an_answer())) as server:
            model = OpenAIModel("gpt-4o", base_url=server.url)
            first = asyncio.create_task(Agent("a", model).run("go", log=log))
            await asyncio.wait_for(server.asked.wait(), 5)
            await asyncio.sleep(0.1)
            second = await Agent("a", model).run("go", log=log)
            result = await first
            await model.aclose()
        waited = only(log, second.run_id, RateLimitWaited)
        assert (waited.reason, second.output, result.output) == ("told", "Hello", "Hello")
        assert 0.05 < waited.delay_s <= 0.3
        assert [wait.code for wait in events_of(log, result.run_id, RetryScheduled)] == [ErrorCode.RATE_LIMITED]

    async def test_limits_are_learned_from_a_providers_answers(self, log: MemoryLog) -> None:
        told = "x-ratelimit-limit-requests: 600\r\nx-ratelimit-remaining-requests: 1\r\n"
        async with RawServer(whole(an_answer(), headers=told)) as server:
            model = OpenAIModel("gpt-4o", base_url=server.url)
            runs = [await Agent("a", model).run("go", log=log) for _ in range(3)]
            await model.aclose()
        assert [len(events_of(log, run.run_id, RateLimitWaited)) for run in runs] == [0, 0, 1]

    async def test_two_logs_do_not_share_limits(self, log: MemoryLog) -> None:
        model = ScriptedModel(["hi"], requests_per_minute=1)
        for each in (log, MemoryLog()):
            result = await go(Agent("a", model), each)
            assert events_of(each, result.run_id, RateLimitWaited) == []

    async def test_a_provider_sees_no_more_than_it_allows(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(lambda _: "hi", requests_per_minute=300))
        runs = await agent.run_many(["go"] * 34, concurrency=34, log=log)
        assert all(run.ok for run in runs)
        made = sorted(
            record.at.timestamp()
            for run in runs
            for record in records_of(log, run.run_id)
            if isinstance(record.event, ModelCallStarted)
        )
        # 30 at once, then 4.5 a second.
        assert made[-1] - made[0] >= (34 - 30 - 1) / 4.5
        assert 1 <= sum(len(events_of(log, run.run_id, RateLimitWaited)) for run in runs) <= 4
        assert shared_of(log).line(agent.spec.model, agent.live_model, 0.0).rates._places == {}


class TestPlaces:
    async def test_no_more_calls_are_at_work_at_once_than_there_are_places(self, log: MemoryLog) -> None:
        at_work = [0, 0]

        async def answer(request: ModelRequest) -> ModelReply:
            at_work[0] += 1
            at_work[1] = max(at_work)
            await asyncio.sleep(0.005)
            at_work[0] -= 1
            return ModelReply("hi")

        model = ModelOf(answer)
        model.spec = model.spec.model_copy(update={"concurrency": 3})
        runs = await Agent("a", model).run_many(["go"] * 12, log=log, concurrency=12)
        assert all(run.ok for run in runs)
        assert at_work == [0, 3]

    async def test_a_call_that_gets_no_place_in_time_says_so(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["hi"], delay_s=5, concurrency=1), limits=Limits(seconds=0.2))
        places = shared_of(log).line(agent.spec.model, agent.live_model, 0.0).places
        assert places is not None
        await places.take()
        result = await agent.run("go", log=log)
        error = only(log, result.run_id, ModelCallFailed).error
        assert (error.deadline, result.limit) == ("run", "seconds")
        assert "was not asked: a place of 1 for calls to scripted" in error.message

    async def test_the_wait_takes_from_the_time_that_the_run_has(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["hi"], delay_s=5, concurrency=1), limits=Limits(seconds=0.3))
        first, second = await asyncio.wait_for(agent.run_many(["1", "2"], log=log), 2)
        assert (first.limit, second.limit) == ("seconds", "seconds")
        assert shared_of(log).line(agent.spec.model, agent.live_model, 0.0).places._free == 1  # type: ignore[union-attr]


def _set(stop: asyncio.Event, event: object) -> None:
    if isinstance(event, RateLimitWaited):
        stop.set()
