"""Cancelling: what is under way is stopped, the run ends as cancelled, and nothing is lost on the way."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, RunResult, ScriptedModel, ToolContext, tool
from ledgent.agent.clock import SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.scripted import Turn
from ledgent.agent.running import start_request
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import cancel_run, send_message, start_run
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.errors import ErrorCode, RequestRefused
from ledgent.schemas.events import (
    ModelCallFailed,
    ModelCallStarted,
    RunCancelled,
    ToolCallCompleted,
    ToolCallFailed,
)
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import CancelRun
from ledgent.schemas.state import RunState, Status
from tests.agent.recorded import check_run, events_of, only, types_of, until


async def cancelled(log: Log, running: "asyncio.Task[RunResult]", when: str, by: Log | None = None) -> RunResult:
    """Cancels the log's only run once it has come to an event of that type."""
    await until(lambda: when in [kind for run_id in log.run_ids() for kind in types_of(log, run_id)])
    (run_id,) = log.run_ids()
    await cancel_run(by or log, run_id, "changed my mind")
    return await asyncio.wait_for(running, 5)


def waiting(log: Log, agent: Agent) -> "asyncio.Task[RunResult]":
    return asyncio.create_task(agent.run("go", log=log))


class TestWhatIsUnderWay:
    async def test_a_model_call_is_stopped(self, log: MemoryLog) -> None:
        running = waiting(log, Agent("a", ScriptedModel(["late"], delay_s=30)))
        result = await cancelled(log, running, "model_call.started")
        assert result.status is Status.CANCELLED
        assert types_of(log, result.run_id)[-3:] == ["run.cancel_requested", "model_call.failed", "run.cancelled"]
        assert only(log, result.run_id, ModelCallFailed).error.code is ErrorCode.CANCELLED
        assert only(log, result.run_id, RunCancelled).reason == "changed my mind"

    async def test_tools_are_stopped(self, log: MemoryLog) -> None:
        stopped = []

        @tool
        async def sleep() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                stopped.append(1)

        agent = Agent("a", ScriptedModel([[Call("sleep"), Call("sleep")]]), tools=[sleep])
        result = await cancelled(log, waiting(log, agent), "tool_call.started")
        assert result.status is Status.CANCELLED
        assert stopped == [1, 1]
        failures = events_of(log, result.run_id, ToolCallFailed)
        assert [failure.error.code for failure in failures] == [ErrorCode.CANCELLED] * 2

    async def test_a_tool_in_a_thread_is_left_behind(self, log: MemoryLog) -> None:
        proceed = threading.Event()

        @tool
        def sleep() -> None:
            proceed.wait(5)

        agent = Agent("a", ScriptedModel([Call("sleep")]), tools=[sleep])
        result = await cancelled(log, waiting(log, agent), "tool_call.started")
        proceed.set()
        assert result.status is Status.CANCELLED

    async def test_an_idempotent_tool_is_not_made_again(self, log: MemoryLog) -> None:
        @tool(idempotent=True, attempts=5)
        async def sleep() -> None:
            await asyncio.sleep(30)

        agent = Agent("a", ScriptedModel([Call("sleep")]), tools=[sleep])
        result = await cancelled(log, waiting(log, agent), "tool_call.started")
        assert types_of(log, result.run_id)[-2:] == ["tool_call.failed", "run.cancelled"]

    async def test_a_pause_before_a_retry_is_cut_short(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("server_error", retry_after_s=30), "late")])
        result = await cancelled(log, waiting(log, Agent("a", model)), "retry.scheduled")
        assert types_of(log, result.run_id)[-2:] == ["run.cancel_requested", "run.cancelled"]

    async def test_a_tool_that_finishes_while_being_stopped_has_finished(self, log: MemoryLog) -> None:
        @tool
        async def stubborn() -> str:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                pass
            return "done all the same"

        agent = Agent("a", ScriptedModel([Call("stubborn")]), tools=[stubborn])
        result = await cancelled(log, waiting(log, agent), "tool_call.started")
        assert result.status is Status.CANCELLED
        assert only(log, result.run_id, ToolCallCompleted).result == "done all the same"


class TestWhoCancels:
    async def test_another_process_cancels_through_the_log(self, tmp_path: Path) -> None:
        here, there = SqliteLog(tmp_path / "log.db"), SqliteLog(tmp_path / "log.db")
        running = waiting(here, Agent("a", ScriptedModel(["late"], delay_s=30)))
        await until(lambda: here.ends()[0] >= 2)
        (run_id,) = there.run_ids()
        await cancel_run(there, run_id)
        assert (await asyncio.wait_for(running, 5)).status is Status.CANCELLED
        check_run(there, run_id)
        with pytest.raises(RequestRefused, match="has ended"):
            await cancel_run(there, run_id)
        here.close()
        there.close()

    async def test_a_worker_cancels_a_run_that_it_works_on(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["late"], delay_s=30))
        working = asyncio.create_task(Worker(log, {"a": agent}).work(until_idle=True))
        run_id = await start_run(log, "a", "go")
        await until(lambda: log.ends()[0] >= 2)
        await cancel_run(log, run_id)
        await asyncio.wait_for(working, 5)
        assert types_of(log, run_id)[-1] == "run.cancelled"

    async def test_a_worker_with_no_room_left_still_cancels(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["late"], delay_s=30))
        working = asyncio.create_task(Worker(log, {"a": agent}, concurrency=1).work(until_idle=True))
        first, second = [await start_run(log, "a", "go") for _ in range(2)]
        await until(lambda: log.ends()[0] >= 2)
        await asyncio.sleep(0.02)
        assert log.head(second) is None
        await cancel_run(log, first)
        await until(lambda: types_of(log, first)[-1:] == ["run.cancelled"])
        await until(lambda: len(types_of(log, second)) >= 3)
        await cancel_run(log, second)
        await asyncio.wait_for(working, 5)
        assert types_of(log, second)[-1] == "run.cancelled"


class TestWhen:
    async def test_a_run_cancelled_before_anyone_took_it_is_cancelled_once_it_has_begun(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["late"], delay_s=30))
        run_id = await start_run(log, "a", "go")
        await cancel_run(log, run_id)
        await asyncio.wait_for(Worker(log, {"a": agent}).work(until_idle=True), 5)
        assert types_of(log, run_id)[-1] == "run.cancelled"

    async def test_a_cancel_that_comes_together_with_the_last_outcome_does_not_hang(self, log: MemoryLog) -> None:
        """The tool itself cancels its run, so that its outcome and the request meet in the loop."""

        @tool
        async def stop_me(context: ToolContext) -> str:
            await cancel_run(log, context.run_id)
            await asyncio.sleep(0.25)  # the request is taken meanwhile, or later
            return ""

        agent = Agent("a", ScriptedModel([[Call("stop_me"), Call("stop_me")], "late"]), tools=[stop_me])
        result = await asyncio.wait_for(agent.run("go", log=log), 5)
        assert result.status is Status.CANCELLED

    async def test_intents_recorded_together_with_the_cancel_are_not_carried_out(self, log: MemoryLog) -> None:
        """An outcome and the cancel meet in one queue: the next intent is recorded, and stopped before it began."""
        asked: list[str] = []

        def turn(messages: list[dict[str, Any]]) -> Turn:
            asked.append(messages[-1]["role"])
            return Call("look") if len(messages) == 1 else "late"

        @tool
        async def look(context: ToolContext) -> str:
            cancel = CancelRun(request_id="cancel", run_id=context.run_id)
            asyncio.get_running_loop().call_soon(loop.post, cancel)
            return ""

        agent = Agent("a", ScriptedModel(turn), tools=[look])
        request = start_request("a", "go", None, None, None)
        loop = RunLoop(log, agent, RunState(request.run_id), Guard(), SystemClock())
        loop.begin(request, accept=True)
        state = await asyncio.wait_for(loop.work(), 5)
        assert state.status is Status.CANCELLED
        assert asked == ["user"]
        assert types_of(log, request.run_id)[-5:] == [
            "tool_call.completed",
            "model_call.started",
            "run.cancel_requested",
            "model_call.failed",
            "run.cancelled",
        ]

    async def test_a_suspended_conversation_is_cancelled_by_any_worker(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["hello"]), conversational=True)
        result = await agent.run("hi", log=log)
        await cancel_run(log, result.run_id)
        await Worker(log, {"a": agent}).work(until_idle=True)
        assert types_of(log, result.run_id)[-3:] == ["run.claimed", "run.cancel_requested", "run.cancelled"]

    async def test_a_run_of_a_dead_process_is_cancelled_by_another(self, log: MemoryLog) -> None:
        mortal = MemoryLog(log.storage)
        agent = Agent("a", ScriptedModel(["late"], delay_s=30))
        running = asyncio.create_task(agent.run("go", log=mortal))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        mortal.close()
        await cancel_run(log, run_id)
        await Worker(log, {"a": agent.but(model=ScriptedModel(["late"]))}).work(until_idle=True)
        assert types_of(log, run_id)[-1] == "run.cancelled"
        running.cancel()
        with pytest.raises((asyncio.CancelledError, Exception)):
            await running

    async def test_cancelling_twice_cancels_once(self, log: MemoryLog) -> None:
        running = waiting(log, Agent("a", ScriptedModel(["late"], delay_s=30)))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        await asyncio.gather(cancel_run(log, run_id), cancel_run(log, run_id))
        result = await asyncio.wait_for(running, 5)
        assert result.status is Status.CANCELLED
        assert types_of(log, run_id).count("run.cancelled") == 1
        assert await log.take(frozenset({"a"}), 10, 0) == []

    async def test_a_cancel_that_comes_while_the_end_is_being_written_is_refused(self, log: MemoryLog) -> None:
        class SlowLog(MemoryLog):
            async def append(self, records, **options) -> None:  # type: ignore[no-untyped-def]
                if records and b"run.completed" in records[-1].body:
                    (run_id,) = self.run_ids()
                    await cancel_run(self, run_id)
                    await until(lambda: len(self.storage.taken) == 2)
                    await asyncio.sleep(0.01)
                await super().append(records, **options)

        result = await Agent("a", ScriptedModel(["hi"])).run("go", log=SlowLog(log.storage))
        assert result.status is Status.COMPLETED
        assert list(log.storage.done.values()) == [None, "the run has ended"]

    async def test_a_message_behind_a_cancel_is_refused_and_not_left_open(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path / "log.db")
        chat = Agent("a", ScriptedModel(["hi"]), conversational=True).conversation(log=log)
        await chat.send("hello")
        chat._loop.post(CancelRun(request_id="cancel", run_id=chat.run_id))
        assert (await chat.send("and more")).status is Status.CANCELLED
        log.close()
        with closing(sqlite3.connect(tmp_path / "log.db")) as db:
            requests = db.execute("SELECT done, refused FROM requests ORDER BY position").fetchall()
        assert requests == [(1, None), (1, "the run has ended")]

    async def test_a_message_and_a_cancel_for_an_ended_run_are_refused(self, log: MemoryLog) -> None:
        result = await Agent("a", ScriptedModel(["hi"])).run("go", log=log)
        for asking in (cancel_run(log, result.run_id), send_message(log, result.run_id, "more")):
            with pytest.raises(RequestRefused, match="has ended"):
                await asking

    async def test_a_message_to_an_unknown_run_is_refused(self, log: MemoryLog) -> None:
        with pytest.raises(RequestRefused, match="nobody"):
            await cancel_run(log, "nobody")


async def test_no_model_call_is_made_once_the_run_is_cancelled(log: MemoryLog) -> None:
    @tool
    async def sleep() -> None:
        await asyncio.sleep(30)

    agent = Agent("a", ScriptedModel([Call("sleep"), "late"]), tools=[sleep])
    result = await cancelled(log, waiting(log, agent), "tool_call.started")
    assert [event.call_id for event in events_of(log, result.run_id, ModelCallStarted)] == ["m1"]
