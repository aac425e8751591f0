"""Names for points of a run: given from outside or by a tool, in the log like everything else."""

import asyncio
from typing import Any

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, ToolError, tool
from ledgent.agent.applying import event_of
from ledgent.agent.fork import shared_at
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import save_checkpoint
from ledgent.schemas.errors import RequestRefused, UsageError
from ledgent.schemas.events import CheckpointSaved
from ledgent.schemas.requests import SaveCheckpoint
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, events_of, records_of, state_of, types_of, until


def talker(*turns: Any, **options: Any) -> Agent:
    return Agent("talker", ScriptedModel(turns), conversational=True, **options)


async def go_on(log: MemoryLog, agent: Agent) -> None:
    await Worker(log, {"talker": agent}).work(until_idle=True)


async def test_a_sleeping_run_is_given_a_name_and_sleeps_on(log: MemoryLog) -> None:
    agent = talker("Hello!")
    run_id = (await agent.run("hi", log=log)).run_id
    await save_checkpoint(log, run_id, "greeted")
    await go_on(log, agent)
    assert types_of(log, run_id)[-4:] == ["run.suspended", "run.claimed", "checkpoint.saved", "run.suspended"]
    state = state_of(log, run_id)
    assert (state.checkpoints, state.suspended, state.seq) == ({"greeted": 7}, "input", 8)
    assert shared_at(log, run_id, "greeted").forked_from.seq == 7
    check_run(log, run_id)


async def test_a_name_given_again_means_the_later_point(log: MemoryLog) -> None:
    agent = talker("Hello!")
    run_id = (await agent.run("hi", log=log)).run_id
    for name in ("a", "b", "a"):
        await save_checkpoint(log, run_id, name)
    await go_on(log, agent)
    saved = [record.seq for record in records_of(log, run_id) if isinstance(record.event, CheckpointSaved)]
    assert len(saved) == 3
    assert state_of(log, run_id).checkpoints == {"a": saved[2], "b": saved[1]}
    check_run(log, run_id)


async def test_the_same_request_again_saves_nothing(log: MemoryLog) -> None:
    agent = talker("Hello!")
    run_id = (await agent.run("hi", log=log)).run_id
    request = SaveCheckpoint(request_id="so", run_id=run_id, name="a")
    for _ in range(2):
        await log.submit(request)
        await go_on(log, agent)
    assert len(events_of(log, run_id, CheckpointSaved)) == 1
    assert event_of(request, state_of(log, run_id)) is None


@pytest.mark.parametrize("name", ["", "7", "7th", "-a", "a b", "a/b", "a" * 101, "a\n"])
async def test_what_is_no_name_is_refused(log: MemoryLog, name: str) -> None:
    run_id = (await talker("Hello!").run("hi", log=log)).run_id
    with pytest.raises(UsageError, match="begins with a letter"):
        await save_checkpoint(log, run_id, name)


async def test_a_run_that_has_ended_takes_no_name(log: MemoryLog) -> None:
    run_id = (await Agent("talker", ScriptedModel(["Hello!"])).run("hi", log=log)).run_id
    with pytest.raises(RequestRefused):
        await save_checkpoint(log, run_id, "late")


async def test_a_run_at_work_is_given_a_name_at_once(log: MemoryLog) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        begun.set()
        await done.wait()
        return "waited"

    agent = talker(Call("wait"), "done", tools=[wait])
    running = asyncio.create_task(agent.run("hi", log=log))
    async with asyncio.timeout(10):
        await begun.wait()
        (run_id,) = log.run_ids()
        await save_checkpoint(log, run_id, "waiting")
        await until(lambda: events_of(log, run_id, CheckpointSaved))
        done.set()
        await running
    kinds = types_of(log, run_id)
    assert kinds.index("tool_call.started") < kinds.index("checkpoint.saved") < kinds.index("tool_call.completed")
    check_run(log, run_id)


@pytest.mark.parametrize("kind", ["async", "thread", "thread of an async tool"])
async def test_a_tools_names_stand_before_its_outcome_and_in_its_order(log: MemoryLog, kind: str) -> None:
    def save(context: ToolContext) -> None:
        context.checkpoint("begun")
        context.checkpoint("done")

    @tool(name="work")
    async def in_the_loop(context: ToolContext) -> str:
        save(context)
        return "worked"

    @tool(name="work")
    def in_a_thread(context: ToolContext) -> str:
        save(context)
        return "worked"

    @tool(name="work")
    async def beside_the_loop(context: ToolContext) -> str:
        await asyncio.to_thread(save, context)
        return "worked"

    work = {"async": in_the_loop, "thread": in_a_thread}.get(kind, beside_the_loop)
    run_id = (await talker([Call("work"), Call("work")], "done", tools=[work]).run("hi", log=log)).run_id
    for call_id in ("m1.t0", "m1.t1"):
        mine = [r.event for r in records_of(log, run_id) if getattr(r.event, "call_id", "") == call_id]
        assert [getattr(event, "name", event.type) for event in mine] == [
            "work",
            "begun",
            "done",
            "tool_call.completed",
        ]
    state = state_of(log, run_id)
    assert (set(state.checkpoints), state.status) == ({"begun", "done"}, Status.SUSPENDED)
    check_run(log, run_id)


async def test_a_tool_is_told_what_is_no_name(log: MemoryLog) -> None:
    @tool
    async def work(context: ToolContext) -> str:
        try:
            context.checkpoint("7")
        except UsageError as error:
            raise ToolError(str(error)) from error
        return "saved"

    run_id = (await talker(Call("work"), "done", tools=[work]).run("hi", log=log)).run_id
    assert not events_of(log, run_id, CheckpointSaved)
    assert "tool_call.failed" in types_of(log, run_id)


async def test_who_is_waited_for_no_more_saves_nothing(log: MemoryLog) -> None:
    left = asyncio.Event()

    @tool(timeout_s=0.01)
    async def work(context: ToolContext) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            left.set()
            context.given_up.set()
            context.checkpoint("late")

    run_id = (await talker(Call("work"), "done", tools=[work]).run("hi", log=log)).run_id
    assert left.is_set()
    assert not events_of(log, run_id, CheckpointSaved)


async def test_a_hand_over_keeps_the_names_given_so_far(log: MemoryLog) -> None:
    begun = asyncio.Event()

    @tool(idempotent=True)
    async def work(context: ToolContext) -> str:
        if begun.is_set():
            return "worked"
        context.checkpoint("begun")
        begun.set()
        await asyncio.sleep(10)
        return "never"

    agent = talker(Call("work"), "done", tools=[work])
    running = asyncio.create_task(agent.run("hi", log=log))
    async with asyncio.timeout(10):
        await begun.wait()
        running.cancel()
        await asyncio.wait([running])
    (run_id,) = log.run_ids()
    assert types_of(log, run_id)[-2:] == ["checkpoint.saved", "run.suspended"]
    await go_on(log, agent)
    assert (state_of(log, run_id).output, list(state_of(log, run_id).checkpoints)) == ("done", ["begun"])
    check_run(log, run_id)


async def test_a_hand_over_keeps_a_name_that_comes_after_another_calls_failure(log: MemoryLog) -> None:
    """Both are in when the run is handed over; what would have followed from the failure is left to the next holder."""
    contexts: list[ToolContext] = []
    running: asyncio.Task[Any]

    @tool(idempotent=True)
    async def stay(context: ToolContext) -> str:
        contexts.append(context)
        if len(contexts) == 1:
            await asyncio.sleep(10)
        return "stayed"

    @tool(idempotent=True, attempts=2)
    async def fail(context: ToolContext) -> str:
        if running.done():
            return "worked"

        def name_and_stop() -> None:
            contexts[0].checkpoint("late")
            running.cancel()

        asyncio.get_running_loop().call_soon(name_and_stop)
        raise RuntimeError("no")

    agent = talker([Call("stay"), Call("fail")], "done", tools=[stay, fail])
    running = asyncio.create_task(agent.run("hi", log=log))
    async with asyncio.timeout(10):
        await asyncio.wait([running])
    (run_id,) = log.run_ids()
    assert types_of(log, run_id)[-3:] == ["tool_call.failed", "checkpoint.saved", "run.suspended"]
    await go_on(log, agent)
    assert state_of(log, run_id).output == "done"
    check_run(log, run_id)
