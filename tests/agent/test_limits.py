"""Limits: a run overruns a bound by one call at most, and says which bound ended it."""

import asyncio
import time

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, RetryPolicy, ScriptedModel, tool
from ledgent.agent.models.prices import Price
from ledgent.agent.running import run_agent, start_request
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import send_message
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ModelCallStarted, RunFailed, RunLimited, ToolCallStarted
from ledgent.schemas.state import Status
from ledgent.schemas.values import Usage
from tests.agent.recorded import events_of, go, only, types_of
from tests.simulation.clock import SimulatedClock


@tool
async def look() -> str:
    return "nothing"


def looping(**options: object) -> Agent:
    """An agent that would go on for ever."""
    reply = Reply("hm", [Call("look")], usage=Usage(input_tokens=60, output_tokens=40), cost_usd=0.25)
    model = ScriptedModel(lambda messages: reply, price=Price(input=1, output=1))
    return Agent("looping", model, tools=[look]).but(**options)


@pytest.mark.parametrize(
    ("limits", "calls", "limit", "bound", "used"),
    [
        (Limits(steps=3), 3, "steps", 3, 3),
        (Limits(tokens=250), 3, "tokens", 250, 300),
        (Limits(tokens=300), 3, "tokens", 300, 300),
        (Limits(cost_usd=0.6), 3, "cost_usd", 0.6, 0.75),
        (Limits(steps=9, tokens=150, cost_usd=10), 2, "tokens", 150, 200),
    ],
)
async def test_a_run_that_goes_on_for_ever_stops_at_its_bound(
    log: MemoryLog, limits: Limits, calls: int, limit: str, bound: float, used: float
) -> None:
    result = await go(looping(), log, limits=limits)
    limited = only(log, result.run_id, RunLimited)
    assert (result.status, result.limit, result.output) == (Status.LIMITED, limit, "hm")
    assert (limited.limit, limited.bound, limited.used) == (limit, bound, pytest.approx(used))
    assert len(events_of(log, result.run_id, ModelCallStarted)) == calls
    assert types_of(log, result.run_id)[-2:] == ["tool_call.completed", "run.limited"]


async def test_without_limits_of_its_own_a_run_has_fifty_steps(log: MemoryLog) -> None:
    result = await go(looping(), log)
    assert (result.limit, result.spent.steps) == ("steps", 50)


async def test_a_run_that_is_done_at_its_last_step_is_complete(log: MemoryLog) -> None:
    agent = Agent("a", ScriptedModel([Call("look"), "done"]), tools=[look])
    assert (await go(agent, log, limits=Limits(steps=2))).status is Status.COMPLETED


async def test_a_token_limit_that_is_reached_by_the_answer_itself_completes(log: MemoryLog) -> None:
    agent = Agent("a", ScriptedModel([Reply("done", usage=Usage(input_tokens=1_000))]))
    assert (await go(agent, log, limits=Limits(tokens=10))).status is Status.COMPLETED


async def test_a_cost_limit_needs_a_known_price(log: MemoryLog) -> None:
    agent = Agent("a", ScriptedModel(["hi"]))
    with pytest.raises(UsageError, match="price"):
        await agent.run("hi", log=log, limits=Limits(cost_usd=1))
    with pytest.raises(UsageError, match="price"):
        await agent.but(limits=Limits(cost_usd=1)).run("hi", log=log)


async def test_a_worker_fails_a_run_whose_cost_nobody_could_count(log: MemoryLog) -> None:
    agent = Agent("a", ScriptedModel(["hi"]))
    run_id = await agent.submit("hi", log=log, limits=Limits(cost_usd=1))
    await Worker(log, {"a": agent}).work(until_idle=True)
    error = only(log, run_id, RunFailed).error
    assert (error.code, "price" in error.message) == (ErrorCode.INVALID_REQUEST, True)


async def test_a_limit_ends_a_run_between_attempts_too(log: MemoryLog) -> None:
    model = ScriptedModel([Attempts(Fail("server_error", retry_after_s=30), "late")])
    result = await go(Agent("a", model), log, limits=Limits(seconds=10))
    assert result.limit == "seconds"
    assert len(events_of(log, result.run_id, ModelCallStarted)) == 1
    assert only(log, result.run_id, RunLimited).used < 10.1


class TestSeconds:
    async def test_a_run_is_stopped_at_its_deadline_in_a_tool(self, log: MemoryLog) -> None:
        @tool
        async def sleep() -> str:
            await asyncio.sleep(30)
            return ""

        agent = Agent("a", ScriptedModel([[Call("sleep"), Call("sleep")], "late"]), tools=[sleep])
        began = time.monotonic()
        result = await agent.run("go", log=log, limits=Limits(seconds=0.1))
        assert 0.1 <= time.monotonic() - began < 2
        limited = only(log, result.run_id, RunLimited)
        assert (result.status, limited.limit, limited.bound) == (Status.LIMITED, "seconds", 0.1)
        assert 0.1 <= limited.used < 2

    @pytest.mark.parametrize("attempts", [1, 4])
    async def test_a_run_is_stopped_at_its_deadline_in_a_model_call(self, log: MemoryLog, attempts: int) -> None:
        model = ScriptedModel(["late"], delay_s=30, retry=RetryPolicy(attempts=attempts))
        began = time.monotonic()
        result = await Agent("a", model).run("go", log=log, limits=Limits(seconds=0.1))
        assert 0.1 <= time.monotonic() - began < 5
        assert (result.status, result.limit) == (Status.LIMITED, "seconds")
        assert types_of(log, result.run_id)[-2:] == ["model_call.failed", "run.limited"]

    async def test_no_call_is_begun_after_the_deadline(self, log: MemoryLog) -> None:
        agent = looping(limits=Limits(steps=10_000, seconds=0.2))
        result = await go(agent, log, clock=SimulatedClock())
        assert result.limit == "seconds"
        starts = events_of(log, result.run_id, ModelCallStarted) + events_of(log, result.run_id, ToolCallStarted)
        assert 5 < len(starts) < 100

    async def test_a_sleep_between_two_messages_counts(self, log: MemoryLog) -> None:
        clock = SimulatedClock()
        agent = Agent("a", ScriptedModel(["one", "two"]), conversational=True)
        request = start_request("a", "hi", Limits(seconds=60), None, None)
        result = await run_agent(agent, request, log, None, None, clock)
        assert result.status is Status.SUSPENDED
        clock.elapsed_s += 3600
        await send_message(log, result.run_id, "again")
        await Worker(log, {"a": agent}, clock=clock).work(until_idle=True)
        assert only(log, result.run_id, RunLimited).used > 3600
