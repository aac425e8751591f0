"""Calls that may have happened: what the agent says of them is done, and a person's word settles them."""

import asyncio
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Limits, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import approve_call, cancel_run, deny_call
from ledgent.schemas.agents import OnUncertain
from ledgent.schemas.errors import ConcurrentAppend, ErrorCode, UsageError
from ledgent.schemas.events import RunSuspended, ToolCallStarted, ToolCallUncertain
from ledgent.schemas.state import Status, ToolResult
from tests.agent.recorded import check_run, only, records_of, state_of, types_of, until


class Till:
    """A tool whose process dies in its first call, after the money has gone."""

    def __init__(self, log: MemoryLog, **agent: Any) -> None:
        self.log = log
        self.paid: list[int] = []
        self.died = False
        self.tool_says: dict[str, Any] = {}
        self.options = agent

    def agent(self) -> Agent:
        @tool(**self.tool_says)
        async def pay(usd: int) -> str:
            """Pays."""
            self.paid.append(usd)
            if not self.died:
                await asyncio.sleep(30)
            return f"paid {usd} again"

        @tool
        async def look() -> str:
            """Looks."""
            return "looked"

        model = ScriptedModel([[Call("look"), Call("pay", usd=5)], "done"])
        return Agent("payer", model, tools=[pay, look], **self.options)

    async def dies(self) -> str:
        """Another worker takes the run up, and goes on as far as it can; the run's id."""
        mortal = MemoryLog(self.log.storage)
        running = asyncio.create_task(self.agent().run("go", log=mortal))
        await until(lambda: self.paid and "tool_call.completed" in types_of(self.log, *self.log.run_ids()))
        mortal.close()
        self.died = True
        await self.goes_on()
        running.cancel()
        with pytest.raises((asyncio.CancelledError, ConcurrentAppend)):
            await running
        (run_id,) = self.log.run_ids()
        return run_id

    async def goes_on(self) -> None:
        log = MemoryLog(self.log.storage)
        await asyncio.wait_for(Worker(log, {"payer": self.agent()}).work(until_idle=True), 10)

    def told(self, run_id: str) -> list[str]:
        return [message.text for message in state_of(self.log, run_id).messages if isinstance(message, ToolResult)]


async def test_a_person_is_asked_what_became_of_it(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    state = state_of(log, run_id)
    assert (state.status, state.suspended, till.paid) == (Status.SUSPENDED, "answer", [5])
    asked = only(log, run_id, ToolCallUncertain)
    assert (asked.call_id, asked.then) == ("m1.t1", "ask_person")
    assert "pay" in asked.message
    assert state.tool_calls["m1.t1"].question == asked.message
    assert only(log, run_id, RunSuspended).reason == "answer"
    check_run(log, run_id)


async def test_it_happened_and_what_it_gave_is_its_result(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    result = await till.agent().answer(run_id, "receipt 17", by="Ada", log=log)
    assert (result.status, till.paid) == (Status.COMPLETED, [5])
    assert till.told(run_id) == ["looked", "receipt 17"]
    check_run(log, run_id)
    assert verify(log, run_id).ok


async def test_it_did_not_happen_and_is_made_again_with_the_same_key(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    await approve_call(log, run_id, "m1.t1", by="Ada")
    await till.goes_on()
    assert (state_of(log, run_id).status, till.paid) == (Status.COMPLETED, [5, 5])
    assert till.told(run_id) == ["looked", "paid 5 again"]
    started = [r.event for r in records_of(log, run_id) if isinstance(r.event, ToolCallStarted)]
    first, again = (event for event in started if event.name == "pay")
    assert (first.attempt, again.attempt) == (1, 2)
    assert first.idempotency_key == again.idempotency_key
    check_run(log, run_id)
    assert verify(log, run_id).ok


async def test_it_is_left_to_the_model(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    await deny_call(log, run_id, "m1.t1", reason="the bank does not know either")
    await till.goes_on()
    assert (state_of(log, run_id).status, till.paid) == (Status.COMPLETED, [5])
    told = till.told(run_id)[1]
    assert "unknown" in told
    assert "not made again: the bank does not know either" in told
    assert "not allowed" not in told
    check_run(log, run_id)
    assert verify(log, run_id).ok


async def test_the_run_is_stopped_instead(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    await cancel_run(log, run_id, "let us look first")
    await till.goes_on()
    assert (state_of(log, run_id).status, till.paid) == (Status.CANCELLED, [5])
    check_run(log, run_id)


async def test_a_call_made_again_may_be_lost_again(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person")
    run_id = await till.dies()
    await approve_call(log, run_id, "m1.t1")
    till.died = False
    mortal = MemoryLog(log.storage)
    working = asyncio.create_task(Worker(mortal, {"payer": till.agent()}).work(until_idle=True))
    await until(lambda: len(till.paid) == 2)
    mortal.close()
    till.died = True
    await till.goes_on()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert state_of(log, run_id).tool_calls["m1.t1"].uncertain
    await till.agent().answer(run_id, "receipt 18", log=log)
    assert till.told(run_id) == ["looked", "receipt 18"]
    assert till.paid == [5, 5]
    check_run(log, run_id)


async def test_a_run_that_is_to_stop_fails_with_a_code_of_its_own(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="stop")
    run_id = await till.dies()
    state = state_of(log, run_id)
    assert state.status is Status.FAILED
    assert state.error is not None
    assert state.error.code is ErrorCode.UNCERTAIN
    assert "m1.t1" in state.error.message
    assert "pay" in state.error.message
    assert till.paid == [5]
    assert types_of(log, run_id)[-2:] == ["tool_call.uncertain", "run.failed"]
    check_run(log, run_id)
    assert verify(log, run_id).ok


@pytest.mark.parametrize(
    ("agent_says", "tool_says", "status"),
    [("stop", "ask_model", Status.COMPLETED), ("ask_model", "stop", Status.FAILED)],
)
async def test_a_tool_may_say_otherwise(
    log: MemoryLog, agent_says: OnUncertain, tool_says: OnUncertain, status: Status
) -> None:
    till = Till(log, on_uncertain=agent_says)
    till.tool_says = {"on_uncertain": tool_says}
    run_id = await till.dies()
    assert state_of(log, run_id).status is status
    check_run(log, run_id)


async def test_the_answer_of_a_tool_that_ends_the_run_ends_it(log: MemoryLog) -> None:
    till = Till(log, on_uncertain="ask_person", limits=Limits(steps=1))
    till.tool_says = {"ends_run": True}
    run_id = await till.dies()
    result = await till.agent().answer(run_id, "receipt 17", log=log)
    assert (result.status, result.output) == (Status.COMPLETED, "receipt 17")
    check_run(log, run_id)


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="on_uncertain is one of ask_model, ask_person, stop, not 'guess'"):
        Agent("a", ScriptedModel(["hi"]), on_uncertain="guess")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="on_uncertain"):
        tool(on_uncertain="guess")(lambda: "x")  # type: ignore[call-overload]
