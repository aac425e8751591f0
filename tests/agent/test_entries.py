"""The further ways in: batches, streams with what was said so far, sync twins, resets, stops from outside."""

import asyncio
import json
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Delta, Fail, Reply, RunResult, ScriptedModel, ToolContext, tool
from ledgent.agent.conversation import Conversation, SyncConversation
from ledgent.agent.models.port import ModelFailure, ModelReply, ModelRequest
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import ErrorCode, ErrorInfo, RequestRefused, UsageError
from ledgent.schemas.events import RunCancelRequested, RunStarted, ToolCallCompleted
from ledgent.schemas.state import Status
from tests.agent.recorded import only, state_of, types_of


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def echo(**options: object) -> Agent:
    """Answers with what it was told last."""
    return Agent("echo", ScriptedModel(lambda messages: str(messages[-1]["content"])), **options)  # type: ignore[arg-type]


async def test_what_is_async_runs_on_the_callers_own_loop(log: MemoryLog) -> None:
    """No thread in between, as where an async entry only wraps the blocking one: context variables are the caller's."""
    caller = ContextVar("caller", default="nobody")
    caller.set("me")

    @tool
    async def look() -> list[object]:
        return [id(asyncio.get_running_loop()), threading.get_ident(), caller.get()]

    agent = Agent("native", ScriptedModel([Call("look"), "done"]), tools=[look])
    here = [id(asyncio.get_running_loop()), threading.get_ident(), "me"]
    result = await agent.run("go", log=log)
    *_, streamed = [piece async for piece in agent.stream("go", log=log)]
    assert isinstance(streamed, RunResult)
    (batched,) = await agent.run_many(["go"], log=log)
    for run in (result, streamed, batched):
        assert json.loads(only(log, run.run_id, ToolCallCompleted).result) == here


class TestBatches:
    async def test_each_input_has_its_run_and_the_results_come_in_order(self, log: MemoryLog) -> None:
        told: dict[int, str | None] = {}
        inputs = [str(number) for number in range(40)]
        results = await echo().run_many(
            iter(inputs), concurrency=7, log=log, on_result=lambda number, result: told.update({number: result.output})
        )
        assert [result.output for result in results] == inputs
        assert told == dict(enumerate(inputs))
        assert len({result.run_id for result in results}) == 40
        assert all(verify(log, result.run_id).ok for result in results)

    async def test_no_more_run_at_once_than_were_asked_for(self, log: MemoryLog) -> None:
        at_once, most = 0, 0

        @tool
        async def work() -> str:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            return "done"

        agent = Agent("busy", ScriptedModel([Call("work"), "done"]), tools=[work])
        await agent.run_many(["go"] * 12, concurrency=3, log=log)
        assert most == 3

    async def test_a_run_that_fails_is_a_result(self, log: MemoryLog) -> None:
        agent = Agent("failing", ScriptedModel([Fail("auth")]))
        results = await agent.run_many(["a", "b"], log=log)
        assert [result.status for result in results] == [Status.FAILED] * 2

    async def test_wrong_arguments_are_refused(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError, match="at least one"):
            await echo().run_many(["a"], concurrency=0, log=log)
        with pytest.raises(UsageError, match="a list of texts"):
            await echo().run_many("abc", log=log)
        with pytest.raises(UsageError, match="a text, not int"):
            await echo().run_many([1], log=log)  # type: ignore[list-item]
        assert await echo().run_many([], log=log) == []

    def test_without_async(self, log: MemoryLog) -> None:
        results = echo().run_many_sync(["a", "b"], log=log)
        assert [result.output for result in results] == ["a", "b"]


class Stuttering(ScriptedModel):
    """Breaks off its first attempt after a word."""

    async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
        if request.attempt == 1 and on_delta is not None:
            on_delta(Delta(request.call_id, "text", "We"))
            raise ModelFailure(ErrorInfo(code=ErrorCode.CONNECTION, message="cut", retryable=True, retry_after_s=0))
        return await super().complete(request, on_delta, on_call)


class TestStreams:
    async def test_each_piece_says_what_was_said_so_far(self, log: MemoryLog) -> None:
        reply = Reply("It is three.", reasoning="One and two.")
        agent = Agent("adder", ScriptedModel([Call("add", a=1, b=2), reply], stream=True), tools=[add])
        pieces = [piece async for piece in agent.stream("1 + 2?", log=log)]
        texts = [piece for piece in pieces if isinstance(piece, Delta) and piece.kind == "text"]
        assert [piece.so_far for piece in texts] == ["It ", "It is ", "It is three."]
        thoughts = [piece for piece in pieces if isinstance(piece, Delta) and piece.kind == "reasoning"]
        assert thoughts[-1].so_far == "One and two."
        assert isinstance(pieces[-1], RunResult)

    async def test_a_tool_tells_of_its_progress(self, log: MemoryLog) -> None:
        @tool
        async def brew(context: ToolContext) -> str:
            context.progress("grinding")
            context.progress(0.5)
            await asyncio.sleep(0.05)
            return "coffee"

        agent = Agent("barista", ScriptedModel([Call("brew"), "here"]), tools=[brew])
        pieces = [piece async for piece in agent.stream("go", log=log)]
        told = [piece for piece in pieces if isinstance(piece, Delta) and piece.kind == "progress"]
        assert [(piece.call_id, piece.so_far) for piece in told] == [("m1.t0", "grinding"), ("m1.t0", "50%")]

    async def test_after_a_cut_stream_it_begins_anew(self, log: MemoryLog) -> None:
        agent = Agent("stutterer", Stuttering(["Well then"], stream=True))
        seen: list[Recorded] = []
        pieces = [piece async for piece in agent.stream("hello", log=log, on_record=seen.append)]
        deltas = [piece.so_far for piece in pieces if isinstance(piece, Delta)]
        assert deltas == ["We", "Well ", "Well then"]
        assert "model_call.failed" in [record.event.type for record in seen]

    def test_without_async(self, log: MemoryLog) -> None:
        agent = Agent("streamer", ScriptedModel(["one two"], stream=True))
        *deltas, result = agent.stream_sync("go", log=log)
        assert [delta.text for delta in deltas if isinstance(delta, Delta)] == ["one ", "two"]
        assert isinstance(result, RunResult)
        assert result.status is Status.COMPLETED

    def test_who_leaves_early_hands_the_run_over(self, log: MemoryLog) -> None:
        agent = Agent("streamer", ScriptedModel(["one two three"], stream=True, delay_s=0.3))
        pieces = agent.stream_sync("go", log=log)
        next(pieces)
        del pieces
        (run_id,) = log.run_ids()
        assert types_of(log, run_id)[-1] == "run.suspended"


class TestSyncTwins:
    def test_every_way_in_has_one(self) -> None:
        ways = {"run", "run_many", "stream", "submit", "conversation"}
        assert {name for name in vars(Agent) if not name.startswith("_")} >= ways | {f"{way}_sync" for way in ways}
        said, twins = ({name for name in vars(cls) if name[0] != "_"} for cls in (Conversation, SyncConversation))
        assert said == twins >= {"send", "end", "reset"}

    async def test_they_work_inside_a_running_loop(self, log: MemoryLog) -> None:
        assert echo().run_sync("a", log=log).output == "a"
        assert [result.output for result in echo().run_many_sync(["b"], log=log)] == ["b"]
        *_, last = echo().stream_sync("c", log=log)
        assert str(last) == "c"
        submitted = echo().submit_sync("e", log=log)
        await Worker(log, {"echo": echo()}).work(until_idle=True)
        assert state_of(log, submitted).output == "e"
        with echo(conversational=True).conversation_sync(log=log) as chat:
            assert chat.send("d").output == "d"

    def test_a_conversation_keeps_its_loop_from_message_to_message(self, log: MemoryLog) -> None:
        agent = Agent(
            "talker",
            ScriptedModel([Call("add", a=1, b=2), "3", Attempts(Fail("server_error"), "again")]),
            tools=[add],
            conversational=True,
        )
        with agent.conversation_sync(log=log) as chat:
            assert chat.send("1 + 2?").output == "3"
            assert chat.send("and again?").output == "again"
        assert chat.state.status is Status.COMPLETED
        assert verify(log, chat.run_id).ok

    def test_what_is_raised_is_raised_to_the_caller(self, log: MemoryLog) -> None:
        chat = echo(conversational=True).conversation_sync(log=log)
        with chat:
            chat.send("a")
            chat.end()
            with pytest.raises(RequestRefused, match="has ended"):
                chat.send("b")
        with pytest.raises(UsageError, match="needs an input"):
            echo().run_sync(None, log=log)


class TestReset:
    async def test_a_reset_conversation_forgets_and_goes_on_in_its_session(self, log: MemoryLog) -> None:
        agent = Agent("counting", ScriptedModel(lambda messages: str(len(messages))), conversational=True)
        async with agent.conversation(log=log) as chat:
            await chat.send("a")
            assert (await chat.send("b")).output == "3"
            first = chat.run_id
            await chat.reset()
            assert (await chat.send("c")).output == "1"
            second = chat.run_id
            await chat.reset()
            await chat.send("d")
        assert first != second
        assert types_of(log, first)[-1] == types_of(log, second)[-1] == "run.completed"
        sessions = [only(log, run_id, RunStarted).session for run_id in (first, second, chat.run_id)]
        assert sessions == [None, first, first]

    async def test_a_named_session_keeps_its_name(self, log: MemoryLog) -> None:
        async with echo(conversational=True).conversation(log=log, session="s") as chat:
            await chat.send("a")
            await chat.reset()
            await chat.send("b")
        assert only(log, chat.run_id, RunStarted).session == "s"


class TestStops:
    async def test_a_set_event_cancels_the_run(self, log: MemoryLog) -> None:
        stop, begun = asyncio.Event(), asyncio.Event()

        @tool
        async def wait() -> str:
            begun.set()
            await asyncio.sleep(60)
            return "never"

        agent = Agent("waiting", ScriptedModel([Call("wait"), "done"]), tools=[wait])
        running = asyncio.create_task(agent.run("go", log=log, stop=stop))
        async with asyncio.timeout(10):
            await begun.wait()
            stop.set()
            result = await running
        assert result.status is Status.CANCELLED
        assert only(log, result.run_id, RunCancelRequested).reason == "stopped by its caller"

    async def test_one_that_is_set_before_the_run_begins_cancels_it_too(self, log: MemoryLog) -> None:
        stop = asyncio.Event()
        stop.set()
        agent = Agent("slow", ScriptedModel(["done"], delay_s=30))
        async with asyncio.timeout(10):
            result = await agent.run("go", log=log, stop=stop)
        assert result.status is Status.CANCELLED

    async def test_one_that_is_never_set_changes_nothing(self, log: MemoryLog) -> None:
        assert (await echo().run("a", log=log, stop=asyncio.Event())).output == "a"
