"""Conversations: one run, several messages, here or through the log, busy or not."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Fail, Limits, Reply, ScriptedModel, tool
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.agent.models.scripted import Turn
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import cancel_run, end_conversation, send_message, start_run
from ledgent.schemas.codec import MAX_RECORD_BYTES
from ledgent.schemas.errors import ConcurrentAppend, ErrorCode, RecordTooLarge, RequestRefused, UsageError
from ledgent.schemas.events import (
    MessageReceived,
    ModelCallFailed,
    ModelCallStarted,
    RunCompleted,
    RunSuspended,
    ToolCallStarted,
)
from ledgent.schemas.state import Assistant, Status, ToolResult, User
from tests.agent.recorded import events_of, only, state_of, types_of, until


@tool
async def look() -> str:
    """Looks."""
    return "nothing"


@tool(ends_run=True)
async def hang_up() -> str:
    """Ends the call."""
    return "hung up"


def talker(*turns: Turn, **options: object) -> Agent:
    agent = Agent("talker", ScriptedModel(turns), tools=[look, hang_up], conversational=True)
    return agent.but(**options)


def counting() -> Agent:
    """Answers with how many messages it was sent."""
    return talker().but(model=ScriptedModel(lambda messages: f"{sum(m['role'] == 'user' for m in messages)} messages"))


class Hanging(ScriptedModel):
    """Never answers one of its calls."""

    def __init__(self, turns: Sequence[Turn], at: str) -> None:
        super().__init__(turns)
        self.at = at

    async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
        if request.call_id == self.at:
            await asyncio.sleep(30)
        return await super().complete(request, on_delta, on_call)


class TestHere:
    async def test_each_message_gets_its_answer_in_one_run(self, log: MemoryLog) -> None:
        async with talker("hello", [Call("look")], "nothing there").conversation(log=log) as chat:
            first = await chat.send("hi")
            assert (first.status, first.output, first.ok) == (Status.SUSPENDED, "hello", True)
            assert (await chat.send("look around")).output == "nothing there"
        assert chat.state.status is Status.COMPLETED
        assert only(log, chat.run_id, RunCompleted).output == "nothing there"
        assert [type(message) for message in state_of(log, chat.run_id).messages] == [
            User,
            Assistant,
            User,
            Assistant,
            ToolResult,
            Assistant,
        ]

    async def test_between_messages_the_run_is_suspended_in_the_log(self, log: MemoryLog) -> None:
        async with talker("hello", "bye").conversation(log=log) as chat:
            await chat.send("hi")
            head = log.head(chat.run_id)
            assert head is not None
            assert head.suspended
            assert await log.take(frozenset({"talker"}), 10, 0) == []
            await chat.send("again")
        assert [event.reason for event in events_of(log, chat.run_id, RunSuspended)] == ["input", "input"]

    async def test_a_run_of_a_conversation_waits_for_the_next_message(self, log: MemoryLog) -> None:
        result = await talker("hello").run("hi", log=log)
        assert (result.status, result.output) == (Status.SUSPENDED, "hello")

    async def test_a_conversation_may_begin_without_a_message(self, log: MemoryLog) -> None:
        result = await counting().run(None, log=log)
        assert (result.status, result.output, result.spent.steps) == (Status.SUSPENDED, None, 0)
        await send_message(log, result.run_id, "hi")
        await Worker(log, {"talker": counting()}).work(until_idle=True)
        assert state_of(log, result.run_id).output == "1 messages"

    async def test_a_tool_that_ends_the_run_ends_the_conversation(self, log: MemoryLog) -> None:
        chat = talker("hello", [Call("hang_up")]).conversation(log=log)
        await chat.send("hi")
        assert (await chat.send("bye")).status is Status.COMPLETED
        with pytest.raises(RequestRefused, match="has ended"):
            await chat.send("hello?")
        assert (await chat.end()).output == "hung up"

    async def test_a_limit_covers_the_whole_conversation(self, log: MemoryLog) -> None:
        chat = talker("a", "b", "c").conversation(log=log, limits=Limits(steps=2))
        await chat.send("1")
        await chat.send("2")
        result = await chat.send("3")
        assert (result.status, result.limit, result.output) == (Status.LIMITED, "steps", "b")

    async def test_a_failure_of_the_model_ends_the_conversation(self, log: MemoryLog) -> None:
        chat = talker("hello", Fail("auth")).conversation(log=log)
        await chat.send("hi")
        assert (await chat.send("again")).status is Status.FAILED

    async def test_an_agent_that_is_not_conversational_holds_none(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError, match="conversational=True"):
            talker("x").but(conversational=False).conversation(log=log)

    async def test_ending_before_the_first_message_writes_nothing(self, log: MemoryLog) -> None:
        async with talker("x").conversation(log=log) as chat:
            pass
        assert chat.state.status is Status.NEW
        assert log.ends() == {0: -1}

    async def test_leaving_by_an_exception_leaves_the_run_for_others(self, log: MemoryLog) -> None:
        chat = counting().conversation(log=log)

        async def leave() -> None:
            async with chat:
                await chat.send("hi")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()
        assert state_of(log, chat.run_id).status is Status.SUSPENDED
        await send_message(log, chat.run_id, "anybody?")
        await Worker(log, {"talker": counting()}).work(until_idle=True)
        assert state_of(log, chat.run_id).output == "2 messages"

    @pytest.mark.parametrize("bad", [3, None])
    async def test_a_message_that_is_no_text_is_refused(self, log: MemoryLog, bad: object) -> None:
        with pytest.raises(UsageError, match="is a text"):
            await talker("x").conversation(log=log).send(bad)  # type: ignore[arg-type]

    async def test_a_message_too_large_is_refused_and_the_conversation_goes_on(self, log: MemoryLog) -> None:
        async with counting().conversation(log=log) as chat:
            for size in (MAX_RECORD_BYTES, 500_000):
                wordy = counting().but(instructions="y" * 500_000).conversation(log=log)
                with pytest.raises(RecordTooLarge):
                    await wordy.send("x" * size)
                with pytest.raises(RecordTooLarge):
                    await chat.send("x" * MAX_RECORD_BYTES)
            with pytest.raises(UsageError, match="half a character"):
                await chat.send("\ud800")
            assert (await chat.send("one")).output == "1 messages"
            with pytest.raises(RecordTooLarge):
                await chat.send("x" * MAX_RECORD_BYTES)
            assert (await chat.send("two")).output == "2 messages"
        assert list(log.run_ids()) == [chat.run_id]

    async def test_a_first_message_too_large_beside_the_agent_can_be_said_shorter(self, log: MemoryLog) -> None:
        async with counting().but(instructions="y" * 500_000).conversation(log=log) as chat:
            with pytest.raises(RecordTooLarge):
                await chat.send("x" * 500_000)
            assert (await chat.send("x")).output == "1 messages"
        assert types_of(log, chat.run_id).count("run.claimed") == 1

    async def test_every_message_is_a_request_that_the_log_knows(self, log: MemoryLog) -> None:
        async with counting().conversation(log=log) as chat:
            await chat.send("one")
            await chat.send("two")
        assert len(log.storage.requests) == 3
        assert set(log.storage.requests) == set(log.storage.done)


class TestGivenUp:
    async def test_a_message_given_up_in_the_middle_is_finished_by_a_worker(self, log: MemoryLog) -> None:
        chat = talker().but(model=Hanging(["one", "two"], at="m2")).conversation(log=log)
        await chat.send("hi")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat.send("again"), 0.05)
        assert types_of(log, chat.run_id)[-1] == "run.suspended"
        await Worker(log, {"talker": talker("one", "two")}).work(until_idle=True)
        assert state_of(log, chat.run_id).output == "two"

    async def test_a_message_given_up_can_be_followed_by_another(self, log: MemoryLog) -> None:
        model = Hanging(["one", "two", "three"], at="m2")
        chat = talker().but(model=model).conversation(log=log)
        await chat.send("hi")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat.send("again"), 0.05)
        model.at = "no call"
        result = await asyncio.wait_for(chat.send("still there?"), 5)
        assert result.status is Status.SUSPENDED
        assert result.output == "three"
        assert only(log, chat.run_id, ModelCallFailed).error.code is ErrorCode.INTERRUPTED

    async def test_a_process_that_dies_in_the_middle_of_a_message_is_followed_by_a_worker(self, log: MemoryLog) -> None:
        mortal = MemoryLog(log.storage)
        turns: list[Turn] = ["one", [Call("look")], "two"]
        chat = talker().but(model=Hanging(turns, at="m3")).conversation(log=mortal)
        await chat.send("hi")
        sending = asyncio.create_task(chat.send("again"))
        await until(lambda: len(events_of(log, chat.run_id, ModelCallStarted)) == 3)
        mortal.close()
        await Worker(log, {"talker": talker(*turns)}).work(until_idle=True)
        assert state_of(log, chat.run_id).output == "two"
        assert len(events_of(log, chat.run_id, ToolCallStarted)) == 1
        sending.cancel()
        with pytest.raises((asyncio.CancelledError, ConcurrentAppend)):
            await sending


class TestThroughTheLog:
    async def test_a_worker_answers_each_message(self, log: MemoryLog) -> None:
        run_id = await start_run(log, "talker", "one")
        worker = Worker(log, {"talker": counting()})
        for text in ("two", "three"):
            await worker.work(until_idle=True)
            assert state_of(log, run_id).status is Status.SUSPENDED
            await send_message(log, run_id, text)
        await worker.work(until_idle=True)
        assert state_of(log, run_id).output == "3 messages"
        await end_conversation(log, run_id)
        await worker.work(until_idle=True)
        state = state_of(log, run_id)
        assert (state.status, state.output) == (Status.COMPLETED, "3 messages")
        assert await log.take(frozenset({"talker"}), 10, 0) == []

    async def test_a_message_that_comes_while_tools_are_busy_waits_for_their_answers(self, log: MemoryLog) -> None:
        proceed = asyncio.Event()

        @tool
        async def slow() -> str:
            await proceed.wait()
            return "looked"

        model = ScriptedModel(lambda m: Call("slow") if len(m) == 1 else " / ".join(str(x["content"]) for x in m))
        running = asyncio.create_task(talker().but(model=model, tools=[slow]).run("go", log=log))
        await until(lambda: log.ends()[0] >= 4)
        (run_id,) = log.run_ids()
        await send_message(log, run_id, "hurry")
        await until(lambda: events_of(log, run_id, MessageReceived))
        assert len(events_of(log, run_id, ModelCallStarted)) == 1
        proceed.set()
        assert (await running).output == "go / None / looked / hurry"

    async def test_a_message_that_comes_while_the_model_thinks_is_answered_next(self, log: MemoryLog) -> None:
        model = ScriptedModel(lambda m: Reply(f"answer {sum(x['role'] == 'user' for x in m)}"), delay_s=0.3)
        running = asyncio.create_task(talker().but(model=model).run("go", log=log))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        await send_message(log, run_id, "one more thing")
        result = await running
        assert (result.output, result.spent.steps) == ("answer 2", 2)
        assert [getattr(m, "text", None) for m in state_of(log, run_id).messages] == [
            "go",
            "answer 1",
            "one more thing",
            "answer 2",
        ]

    async def test_ending_while_busy_lets_what_is_under_way_settle(self, log: MemoryLog) -> None:
        model = ScriptedModel(["the answer"], delay_s=0.3)
        running = asyncio.create_task(talker().but(model=model).run("go", log=log))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        await end_conversation(log, run_id)
        result = await running
        assert (result.status, result.output) == (Status.COMPLETED, "the answer")

    async def test_a_message_to_an_agent_that_is_no_conversation_is_refused_and_the_run_goes_on(
        self, log: MemoryLog
    ) -> None:
        model = ScriptedModel(["the answer"], delay_s=0.3)
        running = asyncio.create_task(Agent("plain", model).run("go", log=log))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        await send_message(log, run_id, "hello?")
        assert (await running).output == "the answer"
        assert events_of(log, run_id, MessageReceived) == []
        assert [reason for reason in log.storage.done.values() if reason] == [
            "agent plain is not conversational: it takes no further message"
        ]

    async def test_a_message_that_comes_as_the_run_falls_asleep_is_not_lost(self, log: MemoryLog) -> None:
        """It reaches the loop while the suspension is on its way to the log."""
        agent = counting()

        class SlowLog(MemoryLog):
            async def append(self, records, **options) -> None:  # type: ignore[no-untyped-def]
                if records and b"run.suspended" in records[-1].body:
                    (run_id,) = self.run_ids()
                    await send_message(self, run_id, "wait!")
                    await until(lambda: len(self.storage.taken) == 2)
                    await asyncio.sleep(0.01)
                await super().append(records, **options)

        result = await agent.run("go", log=SlowLog(log.storage))
        assert result.status is Status.SUSPENDED
        await Worker(log, {"talker": agent}).work(until_idle=True)
        assert state_of(log, result.run_id).output == "2 messages"

    async def test_the_same_message_delivered_twice_is_said_once(self, log: MemoryLog) -> None:
        run_id = await start_run(log, "talker", "one")
        worker = Worker(log, {"talker": counting()})
        await worker.work(until_idle=True)
        await send_message(log, run_id, "two")
        (request,) = await log.take(frozenset({"talker"}), 10, 0)
        await log.release([request.request_id])
        await worker.work(until_idle=True)
        log.storage.done.pop(request.request_id)  # as if the process had died before it could say so
        log.storage.taken.pop(request.request_id)
        await worker.work(until_idle=True)
        assert state_of(log, run_id).output == "2 messages"
        assert len(events_of(log, run_id, MessageReceived)) == 1

    async def test_two_who_talk_in_one_conversation_do_not_mix_up_its_records(self, log: MemoryLog) -> None:
        other = MemoryLog(log.storage)
        chat = counting().conversation(log=log)
        await chat.send("one")
        await send_message(other, chat.run_id, "two")
        await Worker(other, {"talker": counting()}).work(until_idle=True)
        with pytest.raises(ConcurrentAppend):
            await chat.send("three")
        await cancel_run(other, chat.run_id)
        await Worker(other, {"talker": counting()}).work(until_idle=True)
        assert state_of(log, chat.run_id).status is Status.CANCELLED
