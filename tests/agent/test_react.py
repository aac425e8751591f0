"""Reasoning and acting in turn: with a model that knows tool calls, and in text with one that does not."""

import asyncio
from typing import Any

import orjson
import pytest

from ledgent.agent import Agent, Call, Reply, ScriptedModel, tool
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.agent.verify import verify
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import send_message
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ThoughtRecorded, ToolCallCompleted, ToolCallRejected
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, only, state_of, types_of


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


class Listening(ScriptedModel):
    """Keeps the requests that it was sent."""

    def __init__(self, *turns: Any) -> None:
        super().__init__(turns)
        self.asked: list[dict[str, Any]] = []

    async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
        self.asked.append(orjson.loads(request.body))
        return await super().complete(request, on_delta, on_call)


ACT = 'Thought: I add them.\nAction: add\nAction Input: {"a": 1, "b": 2}'
END = "Thought: Now I know.\nFinal Answer: It is 3."


def thinker(*turns: Any, **options: Any) -> tuple[Agent, Listening]:
    model = Listening(*turns)
    return Agent("thinker", model, "Be right.", [add], policy="react", **options), model


async def test_in_text_each_answer_is_a_thought_with_an_action_or_the_end(log: MemoryLog) -> None:
    agent, model = thinker(ACT, END, text_protocol=True)
    result = await agent.run("1 + 2?", log=log)
    assert (result.status, result.output) == (Status.COMPLETED, "It is 3.")
    assert types_of(log, result.run_id)[2:] == [
        "model_call.started",
        "model_call.completed",
        "thought.recorded",
        "tool_call.started",
        "tool_call.completed",
        "model_call.started",
        "model_call.completed",
        "thought.recorded",
        "run.completed",
    ]
    first, last = events_of(log, result.run_id, ThoughtRecorded)
    assert (first.thought, first.action and first.action.name) == ("I add them.", "add")
    assert (last.thought, last.action, last.answer) == ("Now I know.", None, "It is 3.")
    system, *rest = model.asked[1]["messages"]
    assert "Be right." in system["content"]
    assert "add: Adds two numbers." in system["content"]
    assert rest == [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": ACT},
        {"role": "user", "content": "Observation: 3"},
    ]
    assert "tools" not in model.asked[0]
    assert model.asked[0]["stop"] == ["Observation:"]
    assert verify(log, result.run_id).ok


async def test_with_tool_calls_the_thought_is_the_text_beside_them(log: MemoryLog) -> None:
    agent, model = thinker(Reply("I add them.", [Call("add", a=1, b=2)]), "It is 3.")
    result = await agent.run("1 + 2?", log=log)
    assert result.output == "It is 3."
    assert only(log, result.run_id, ThoughtRecorded) == ThoughtRecorded(call_id="m1", thought="I add them.")
    assert only(log, result.run_id, ToolCallCompleted).result == "3"
    assert model.asked[0]["tools"][0]["function"]["name"] == "add"
    assert "what you think" in model.asked[0]["messages"][0]["content"]
    assert verify(log, result.run_id).ok


@pytest.mark.parametrize(
    "act",
    [
        'thought: hm\naction: add\naction input: {"a": 1, "b": 2}',
        '  Action : `add`\n  Action Input :\n```json\n{"a": 1, "b": 2}\n```',
        'Action: add\nAction Input: {"a": 1, "b": 2}\nObservation: 7\nThought: good\nFinal Answer: 7',
        'Thought: hm\nAction: add\nAction Input: {"a": 1,\n "b": 2}\n\nFinal Answer: not yet',
    ],
    ids=["small letters", "fenced", "made up", "both"],
)
async def test_models_write_it_in_many_ways(log: MemoryLog, act: str) -> None:
    agent, model = thinker(act, END, text_protocol=True)
    result = await agent.run("1 + 2?", log=log)
    assert only(log, result.run_id, ToolCallCompleted).result == "3"
    assert result.output == "It is 3."
    assert "7" not in model.asked[1]["messages"][2]["content"]


async def test_an_answer_out_of_form_is_the_final_one(log: MemoryLog) -> None:
    agent, _ = thinker("Thought: Three, I think.", text_protocol=True)
    assert (await agent.run("1 + 2?", log=log)).output == "Three, I think."


async def test_an_unknown_tool_and_bad_arguments_are_told_in_text(log: MemoryLog) -> None:
    agent, model = thinker(
        "Action: ad\nAction Input: {}", "Action: add\nAction Input: one", ACT, END, text_protocol=True
    )
    result = await agent.run("1 + 2?", log=log)
    assert [event.reason for event in events_of(log, result.run_id, ToolCallRejected)] == [
        "unknown_tool",
        "invalid_arguments",
    ]
    assert "Did you mean add?" in model.asked[1]["messages"][-1]["content"]
    assert result.output == "It is 3."
    assert verify(log, result.run_id).ok


async def test_a_message_that_comes_meanwhile_waits_until_the_thought_is_settled(log: MemoryLog) -> None:
    @tool
    async def ask(question: str) -> str:
        await send_message(log, run_id[0], "And 2 + 2?")
        await asyncio.sleep(0.3)
        return "asked"

    model = Listening('Action: ask\nAction Input: {"question": "?"}', END, "Final Answer: 4")
    agent = Agent("thinker", model, tools=[ask], policy="react", text_protocol=True, conversational=True)
    run_id: list[str] = []
    async with agent.conversation(log=log) as chat:
        run_id.append(chat.run_id)
        await chat.send("1 + 2?")
    said = [message["content"] for message in model.asked[1]["messages"][1:]]
    assert said[-2:] == ["Observation: asked", "And 2 + 2?"]
    assert verify(log, chat.run_id).ok
    assert state_of(log, chat.run_id).status is Status.COMPLETED


def test_only_what_makes_sense_is_taken() -> None:
    with pytest.raises(UsageError, match="needs policy='react'"):
        Agent("a", ScriptedModel([]), text_protocol=True)
    with pytest.raises(UsageError, match="no policy 'other'"):
        Agent("a", ScriptedModel([]), policy="other")  # type: ignore[arg-type]
