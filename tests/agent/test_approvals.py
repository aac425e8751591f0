"""Calls that a person must allow: the run sleeps in the log until somebody says yes or no, from wherever."""

import asyncio
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Limits, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import approve_call, cancel_run, deny_call, send_message
from ledgent.schemas.events import ApprovalDenied, ApprovalGranted, ApprovalRequested, RunSuspended, ToolCallStarted
from ledgent.schemas.requests import ApproveCall
from ledgent.schemas.state import Phase, Status, ToolResult
from tests.agent.recorded import events_of, only, state_of, types_of

paid: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(approval=True)
async def pay(usd: int) -> str:
    """Pays."""
    paid.append(usd)
    return f"paid {usd}"


@tool
async def look() -> str:
    """Looks."""
    return "nothing"


def payer(*turns: Any, **options: Any) -> Agent:
    return Agent("payer", ScriptedModel(turns), tools=[pay, look], **options)


async def go_on(log: MemoryLog, agent: Agent) -> None:
    await Worker(log, {"payer": agent}).work(until_idle=True)


async def test_a_call_is_made_once_it_is_allowed(log: MemoryLog) -> None:
    agent = payer(Call("pay", usd=5), "done")
    result = await agent.run("go", log=log)
    assert (result.status, result.waits_for, paid) == (Status.SUSPENDED, "approval", [])
    asked = only(log, result.run_id, ApprovalRequested)
    assert (asked.call_id, asked.name, asked.arguments) == ("m1.t0", "pay", '{"usd":5}')
    assert types_of(log, result.run_id)[-1] == "run.suspended"
    assert only(log, result.run_id, RunSuspended).reason == "approval"
    await approve_call(log, result.run_id, "m1.t0", by="Ada")
    await go_on(log, agent)
    assert (state_of(log, result.run_id).output, paid) == ("done", [5])
    assert only(log, result.run_id, ApprovalGranted).by == "Ada"
    assert verify(log, result.run_id).ok


async def test_the_model_is_told_when_it_is_not(log: MemoryLog) -> None:
    agent = payer(Call("pay", usd=5), "then not")
    run_id = (await agent.run("go", log=log)).run_id
    await deny_call(log, run_id, "m1.t0", "too much")
    await go_on(log, agent)
    denied = only(log, run_id, ApprovalDenied)
    assert denied.message == "This call was not allowed: too much. It was not made."
    assert (state_of(log, run_id).output, paid) == ("then not", [])
    assert [m.text for m in state_of(log, run_id).messages if isinstance(m, ToolResult)] == [denied.message]
    assert not events_of(log, run_id, ToolCallStarted)
    assert verify(log, run_id).ok


async def test_other_calls_of_the_answer_do_not_wait_for_it(log: MemoryLog) -> None:
    agent = payer([Call("look"), Call("pay", usd=1), Call("pay", usd=2)], "done")
    run_id = (await agent.run("go", log=log)).run_id
    state = state_of(log, run_id)
    assert [call.phase for call in state.tool_calls.values()] == [Phase.SETTLED, Phase.HELD, Phase.HELD]
    await approve_call(log, run_id, "m1.t2")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).status) == ([2], Status.SUSPENDED)
    await deny_call(log, run_id, "m1.t1")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).status) == ([2], Status.COMPLETED)
    assert verify(log, run_id).ok


async def test_nobody_is_asked_about_arguments_that_are_none(log: MemoryLog) -> None:
    result = await payer(Call("pay", usd="much"), "sorry").run("go", log=log)
    assert result.output == "sorry"
    assert not events_of(log, result.run_id, ApprovalRequested)
    assert "tool_call.rejected" in types_of(log, result.run_id)


async def test_an_answer_that_nothing_waits_for_is_refused(log: MemoryLog) -> None:
    agent = payer(Call("pay", usd=5), Call("pay", usd=6), "done")
    run_id = (await agent.run("go", log=log)).run_id
    for call_id in ("m1.t7", "m1.t0", "m1.t0"):
        await approve_call(log, run_id, call_id)
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).status) == ([5], Status.SUSPENDED)
    assert len(events_of(log, run_id, ApprovalGranted)) == 1


async def test_the_same_request_again_changes_nothing(log: MemoryLog) -> None:
    agent = payer([Call("pay", usd=5), Call("pay", usd=6)], "done")
    run_id = (await agent.run("go", log=log)).run_id
    request = ApproveCall(request_id="yes", run_id=run_id, call_id="m1.t0")
    await log.submit(request)
    await go_on(log, agent)
    await log.submit(request)
    await go_on(log, agent)
    assert (paid, len(events_of(log, run_id, ApprovalGranted))) == ([5], 1)


async def test_a_waiting_run_can_be_cancelled(log: MemoryLog) -> None:
    agent = payer(Call("pay", usd=5), "done")
    run_id = (await agent.run("go", log=log)).run_id
    await cancel_run(log, run_id, "never mind")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).status) == ([], Status.CANCELLED)


async def test_a_message_to_a_waiting_conversation_waits_with_it(log: MemoryLog) -> None:
    agent = payer(Call("pay", usd=5), "done", "you are welcome", conversational=True)
    run_id = (await agent.run("go", log=log)).run_id
    await send_message(log, run_id, "thanks")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).suspended) == ([], "approval")
    await approve_call(log, run_id, "m1.t0")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).suspended) == ([5], "input")
    assert verify(log, run_id).ok


async def test_a_run_at_work_takes_the_answer_at_once(log: MemoryLog) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        begun.set()
        await done.wait()
        return "seen"

    @tool(approval=True)
    async def pay() -> str:
        done.set()
        return "paid"

    agent = Agent("payer", ScriptedModel([[Call("wait"), Call("pay")], "done"]), tools=[pay, wait])
    running = asyncio.create_task(agent.run("go", log=log))
    async with asyncio.timeout(10):
        await begun.wait()
        (run_id,) = log.run_ids()
        await approve_call(log, run_id, "m1.t1")
        assert (await running).status is Status.COMPLETED


async def test_a_limit_on_tool_calls_counts_those_that_were_allowed(log: MemoryLog) -> None:
    agent = payer([Call("pay", usd=5), Call("pay", usd=6)], "done", limits=Limits(tool_calls=1))
    run_id = (await agent.run("go", log=log)).run_id
    await approve_call(log, run_id, "m1.t0")
    await approve_call(log, run_id, "m1.t1")
    await go_on(log, agent)
    assert (paid, state_of(log, run_id).status) == ([5], Status.LIMITED)
    assert verify(log, run_id).ok
