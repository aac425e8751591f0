"""What a tool may know of its call while it is at work, and say of it: given up or not, and how far it is."""

import asyncio
import threading
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Delta, RunResult, ScriptedModel, Tool, ToolContext, tool
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import cancel_run
from ledgent.schemas.events import ToolCallCompleted, ToolCallStarted
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, records_of, until


def using(made: Tool) -> Agent:
    return Agent("caller", ScriptedModel([Call(made.spec.name), "done"]), tools=[made])


class Waiter:
    """A long tool in a thread that looks, as it should, whether anybody still waits."""

    def __init__(self, **options: Any) -> None:
        self.began = threading.Event()
        self.left: list[bool] = []
        self.tool = tool(name="wait", **options)(self._wait)

    def _wait(self, context: ToolContext) -> None:
        self.left.append(context.cancelled)
        self.began.set()
        for _ in range(1_000):
            if context.cancelled:
                self.left.append(context.cancelled)
                return
            context.given_up.wait(0.005)


class TestCancelled:
    async def test_a_tool_in_a_thread_learns_that_its_time_is_up(self, log: MemoryLog) -> None:
        waiter = Waiter(timeout_s=0.03)
        await using(waiter.tool).run("go", log=log)
        await until(lambda: waiter.left == [False, True])

    async def test_it_learns_that_the_run_is_being_cancelled(self, log: MemoryLog) -> None:
        waiter = Waiter()
        running = asyncio.create_task(using(waiter.tool).run("go", log=log))
        await until(waiter.began.is_set)
        (run_id,) = log.run_ids()
        await cancel_run(log, run_id, "changed my mind")
        assert (await asyncio.wait_for(running, 5)).status is Status.CANCELLED
        await until(lambda: waiter.left == [False, True])

    async def test_it_learns_that_the_run_is_handed_over(self, log: MemoryLog) -> None:
        waiter = Waiter()
        running = asyncio.create_task(using(waiter.tool).run("go", log=log))
        await until(waiter.began.is_set)
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: waiter.left == [False, True])

    async def test_a_call_that_returned_was_not_given_up(self, log: MemoryLog) -> None:
        seen: list[ToolContext] = []

        @tool
        async def look(context: ToolContext) -> None:
            seen.append(context)

        await using(look).run("go", log=log)
        assert [context.cancelled for context in seen] == [False]


def copying(threaded: bool) -> Tool:
    def copy(context: ToolContext) -> str:
        context.progress("begun")
        context.progress(0.5)
        return "copied"

    async def copy_on_the_loop(context: ToolContext) -> str:
        return copy(context)

    return tool(name="copy")(copy if threaded else copy_on_the_loop)


class TestProgress:
    @pytest.mark.parametrize("threaded", [True, False])
    async def test_it_goes_to_the_subscriber_before_the_result_and_never_to_the_log(
        self, log: MemoryLog, threaded: bool
    ) -> None:
        seen: list[Any] = []
        threads: set[int] = set()

        def take(delta: Delta) -> None:
            threads.add(threading.get_ident())
            seen.append(delta)

        result = await using(copying(threaded)).run(
            "go", log=log, on_delta=take, on_record=lambda record: seen.append(type(record.event))
        )
        reports = [item for item in seen if isinstance(item, Delta) and item.kind == "progress"]
        assert [(report.call_id, report.text) for report in reports] == [("m1.t0", "begun"), ("m1.t0", "50%")]
        assert seen.index(ToolCallStarted) < seen.index(reports[0]) < seen.index(ToolCallCompleted)
        assert threads == {threading.get_ident()}
        assert "begun" not in str([record.event for record in records_of(log, result.run_id)])

    async def test_it_is_in_the_stream(self, log: MemoryLog) -> None:
        pieces = [piece async for piece in using(copying(True)).stream("go", log=log)]
        assert [piece.text for piece in pieces if isinstance(piece, Delta) and piece.kind == "progress"] == [
            "begun",
            "50%",
        ]

    async def test_without_a_subscriber_it_goes_nowhere(self, log: MemoryLog) -> None:
        result = await using(copying(True)).run("go", log=log)
        assert events_of(log, result.run_id, ToolCallCompleted)[0].result == "copied"

    async def test_a_subscriber_that_fails_does_not_fail_the_tool(self, log: MemoryLog) -> None:
        def refuse(delta: Delta) -> None:
            if delta.kind == "progress":
                raise ValueError("no room")

        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        result = await using(copying(False)).run("go", log=log, on_delta=refuse)
        assert events_of(log, result.run_id, ToolCallCompleted)[0].result == "copied"
        assert [str(error) for error in told] == ["no room", "no room"]

    async def test_a_call_that_was_given_up_says_nothing_more(self, log: MemoryLog) -> None:
        spoke = threading.Event()

        @tool(timeout_s=0.02)
        def late(context: ToolContext) -> None:
            context.progress("in time")
            assert context.given_up.wait(5)
            context.progress("too late")
            spoke.set()

        seen: list[str] = []
        result: RunResult = await using(late).run("go", log=log, on_delta=lambda delta: seen.append(delta.text))
        await until(spoke.is_set)
        await asyncio.sleep(0.01)
        assert result.status is Status.COMPLETED
        assert [text for text in seen if "time" in text or "late" in text] == ["in time"]
