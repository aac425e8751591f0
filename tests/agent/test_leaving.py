"""A worker that is told to stop: what is under way may end, within a set time; the rest is another's to go on with."""

import asyncio

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import start_run
from ledgent.schemas.events import ToolCallCompleted, ToolCallStarted, ToolCallUncertain
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, events_of, state_of, types_of, until
from tests.simulation.clock import SimulatedClock


async def left_with_a_call_under_way(tool_s: float, drain_s: float) -> tuple[MemoryLog, str]:
    """A run whose tool, which may happen only once, was at work when its worker was told to stop; another went on."""

    @tool
    async def pay() -> str:
        await asyncio.sleep(tool_s)
        return "paid"

    agent = Agent("shop", ScriptedModel([Call("pay"), "done"]), tools=[pay])
    log, stop = MemoryLog(), asyncio.Event()
    run_id = await start_run(log, "shop", "go")
    working = asyncio.create_task(Worker(log, {"shop": agent}).work(stop=stop, drain_s=drain_s))
    await until(lambda: "tool_call.started" in types_of(log, run_id))
    stop.set()
    async with asyncio.timeout(5.0):
        await working
    assert types_of(log, run_id)[-1] == "run.suspended"
    log.close()
    other = MemoryLog(log.storage)
    await Worker(other, {"shop": agent}, clock=SimulatedClock()).work(until_idle=True)
    assert state_of(log, run_id).status is Status.COMPLETED
    check_run(log, run_id)
    return log, run_id


async def test_a_call_under_way_may_end_and_is_not_made_again() -> None:
    log, run_id = await left_with_a_call_under_way(tool_s=0.2, drain_s=3.0)
    assert len(events_of(log, run_id, ToolCallStarted)) == 1
    assert len(events_of(log, run_id, ToolCallCompleted)) == 1
    types = types_of(log, run_id)
    assert types.index("tool_call.completed") + 1 == types.index("run.suspended")


async def test_a_call_that_takes_too_long_is_left_and_its_outcome_is_uncertain() -> None:
    log, run_id = await left_with_a_call_under_way(tool_s=30.0, drain_s=0.05)
    assert not events_of(log, run_id, ToolCallCompleted)
    assert len(events_of(log, run_id, ToolCallUncertain)) == 1


async def test_who_leaves_takes_no_more_requests() -> None:
    log, stop = MemoryLog(), asyncio.Event()
    stop.set()
    await start_run(log, "shop", "go")
    await Worker(log, {"shop": Agent("shop", ScriptedModel(["done"]))}).work(stop=stop)
    assert not log.storage.taken
