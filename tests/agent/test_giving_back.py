"""Requests that a run's loop holds and cannot finish are given back; a hand-over is seen through."""

import asyncio
from collections.abc import Sequence

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.agent.loop import RunLoop
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import cancel_run, start_run
from ledgent.schemas.codec import Stored
from ledgent.schemas.errors import ConcurrentAppend
from ledgent.schemas.requests import AnyRequest, SendMessage, encode_request
from ledgent.schemas.run import replay
from ledgent.schemas.state import Status
from tests.agent.recorded import types_of, until
from tests.simulation.clock import SimulatedClock

TALK = Agent("talk", ScriptedModel(["hello"]), conversational=True)


@tool(approval=True)
async def ask() -> str:
    return "asked"


class SlowLog(MemoryLog):
    """Its appends wait until the gate is open."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log.storage)
        self.gate = asyncio.Event()
        self.appending = 0

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        self.appending += 1
        await self.gate.wait()
        await super().append(records, accept=accept, finish=finish)


def taken_up(log: MemoryLog, run_id: str, agent: Agent) -> RunLoop:
    replayed = replay(run_id, log.records(run_id))
    loop = RunLoop(log, agent, replayed.state, replayed.guard, SimulatedClock())
    loop.take_up()
    return loop


async def waiting_run(log: MemoryLog) -> str:
    """A conversation that nobody works on, as it waits for its user."""
    run_id = await start_run(log, "talk", "hi")
    await Worker(log, {"talk": TALK}, clock=SimulatedClock()).work(until_idle=True)
    return run_id


async def test_a_request_that_ends_a_run_which_another_takes_first_is_given_back() -> None:
    log = MemoryLog()
    run_id = await waiting_run(log)
    slow, other = SlowLog(log), MemoryLog(log.storage)
    await cancel_run(log, run_id)
    (request,) = await slow.take(frozenset({"talk"}), 1, 0.0)
    loop = taken_up(slow, run_id, TALK)
    loop.post(request)
    working = asyncio.create_task(loop.work())
    await until(lambda: slow.appending)

    await taken_up(other, run_id, TALK).work()  # the other's claim comes first
    slow.gate.set()
    with pytest.raises(ConcurrentAppend):
        await working
    await loop.let_go()

    await Worker(other, {"talk": TALK}, clock=SimulatedClock()).work(until_idle=True)
    assert replay(run_id, log.records(run_id)).state.status is Status.CANCELLED


async def test_a_request_that_cannot_be_refused_since_another_took_the_run_is_given_back() -> None:
    log = MemoryLog()
    errand = Agent("errand", ScriptedModel([Call("ask")]), tools=[ask])
    run_id = await start_run(log, "errand", "go")
    await Worker(log, {"errand": errand}, clock=SimulatedClock()).work(until_idle=True)
    slow, other = SlowLog(log), MemoryLog(log.storage)
    request = SendMessage(request_id="not wanted", run_id=run_id, text="more")
    log.storage.requests[request.request_id] = encode_request(request)
    (taken,) = await slow.take(frozenset({"errand"}), 1, 0.0)
    loop = taken_up(slow, run_id, errand)
    loop.post(taken)
    working = asyncio.create_task(loop.work())
    await until(lambda: slow.appending)

    await taken_up(other, run_id, errand).work()
    slow.gate.set()
    with pytest.raises(ConcurrentAppend):
        await working
    await loop.let_go()

    await Worker(other, {"errand": errand}, clock=SimulatedClock()).work(until_idle=True)
    assert "not conversational" in (log.storage.done["not wanted"] or "")


async def test_a_hand_over_is_seen_through_however_often_the_worker_is_told_to_stop() -> None:
    log = MemoryLog()
    slow = SlowLog(log)
    slow.gate.set()
    run_id = await start_run(log, "errand", "go")
    errand = Agent("errand", ScriptedModel(["done"], delay_s=60.0))
    working = asyncio.create_task(Worker(slow, {"errand": errand}).work())
    await until(lambda: "model_call.started" in types_of(log, run_id))
    slow.gate.clear()
    appended = slow.appending
    working.cancel()
    await until(lambda: slow.appending > appended)
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and task.get_coro().__name__ == "_run":  # type: ignore[union-attr]
            task.cancel()
    await asyncio.sleep(0.01)
    assert not working.done(), "the worker left in the middle of its hand-over"
    slow.gate.set()
    await asyncio.wait([working])
    assert types_of(log, run_id)[-1] == "run.suspended"
