"""The same agent by each policy and through each entry: the same kinds of events, and each run verifies."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Reply, RetryPolicy, RunResult, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from tests.agent.recorded import types_of


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def double(a: int) -> int:
    """Doubles a number, not async."""
    return 2 * a


NATIVE = [
    Reply("I add and double.", [Call("add", a=1, b=2), Call("double", a=2)]),
    Attempts(Fail("server_error", retry_after_s=0), Reply("Once more.", [Call("add", a=3, b=4)])),
    "It is 7.",
]
TEXT = [
    'Thought: I add.\nAction: add\nAction Input: {"a": 1, "b": 2}',
    Attempts(Fail("server_error", retry_after_s=0), 'Thought: Once more.\nAction: double\nAction Input: {"a": 2}'),
    "Thought: I know.\nFinal Answer: It is 7.",
]
POLICIES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "tool loop": (NATIVE, {}),
    "react": (NATIVE, {"policy": "react"}),
    "react in text": (TEXT, {"policy": "react", "text_protocol": True}),
}


async def by_run(agent: Agent, log: MemoryLog) -> str:
    return (await agent.run("go", log=log)).run_id


async def by_run_sync(agent: Agent, log: MemoryLog) -> str:
    return agent.run_sync("go", log=log).run_id


async def by_stream(agent: Agent, log: MemoryLog) -> str:
    *_, result = [piece async for piece in agent.stream("go", log=log)]
    assert isinstance(result, RunResult)
    return result.run_id


async def by_stream_sync(agent: Agent, log: MemoryLog) -> str:
    *_, result = agent.stream_sync("go", log=log)
    assert isinstance(result, RunResult)
    return result.run_id


async def by_batch(agent: Agent, log: MemoryLog) -> str:
    (result,) = await agent.run_many(["go"], log=log)
    return result.run_id


async def by_batch_sync(agent: Agent, log: MemoryLog) -> str:
    (result,) = agent.run_many_sync(["go"], log=log)
    return result.run_id


async def by_submitting(agent: Agent, log: MemoryLog) -> str:
    run_id = await agent.submit("go", log=log)
    await Worker(log, {agent.name: agent}).work(until_idle=True)
    return run_id


async def by_submitting_sync(agent: Agent, log: MemoryLog) -> str:
    run_id = agent.submit_sync("go", log=log)
    await Worker(log, {agent.name: agent}).work(until_idle=True)
    return run_id


async def by_conversation(agent: Agent, log: MemoryLog) -> str:
    async with agent.but(conversational=True).conversation(log=log) as chat:
        await chat.send("go")
    return chat.run_id


async def by_conversation_sync(agent: Agent, log: MemoryLog) -> str:
    with agent.but(conversational=True).conversation_sync(log=log) as chat:
        chat.send("go")
    return chat.run_id


Entry = Callable[[Agent, MemoryLog], Coroutine[Any, Any, str]]
ENTRIES: list[Entry] = [
    by_run,
    by_run_sync,
    by_stream,
    by_stream_sync,
    by_batch,
    by_batch_sync,
    by_submitting,
    by_submitting_sync,
    by_conversation,
    by_conversation_sync,
]
COMMON = {
    "run.claimed",
    "run.started",
    "model_call.started",
    "model_call.completed",
    "model_call.failed",
    "retry.scheduled",
    "timer.fired",
    "tool_call.started",
    "tool_call.completed",
    "run.completed",
}
TALK = {"run.suspended", "run.end_requested"}
"""Besides, of a conversation: it waits for the next message, and is ended."""


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("policy", POLICIES)
async def test_each_way_yields_the_same_kinds_of_events(
    log: MemoryLog, policy: str, entry: Entry, streamed: bool
) -> None:
    turns, options = POLICIES[policy]
    agent = Agent(
        "adder", ScriptedModel(turns, stream=streamed, retry=RetryPolicy(first_s=0)), "Add.", [add, double], **options
    )
    run_id = await entry(agent, log)
    further = {"model_call.tool_requested"} if streamed else set()
    if policy != "tool loop":
        further = {"thought.recorded"}
    if entry in (by_conversation, by_conversation_sync):
        further = further | TALK
    assert set(types_of(log, run_id)) == COMMON | further
    assert verify(log, run_id).ok
