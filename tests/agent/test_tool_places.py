"""How many calls are at work at once: threads of an agent, places of a tool, resources of the process."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Limits, ScriptedModel, Tool, tool
from ledgent.agent.carry_out import call_tool
from ledgent.agent.clock import SystemClock
from ledgent.agent.models.scripted import Turn as Said
from ledgent.agent.tools.places import Places, Turn
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ToolCallCompleted, ToolCallFailed, ToolCallStarted
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, go, only, until


class Crowd:
    """Counts how many calls are at work at once."""

    def __init__(self) -> None:
        self.most = 0
        self.calls = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


def sync_tool(crowd: Crowd, name: str = "look", **options: Any) -> Tool:
    def look() -> str:
        with crowd:
            time.sleep(0.05)
        return "seen"

    return tool(name=name, **options)(look)


def async_tool(crowd: Crowd, name: str = "look", **options: Any) -> Tool:
    async def look() -> str:
        with crowd:
            await asyncio.sleep(0.05)
        return "seen"

    return tool(name=name, **options)(look)


MAKERS = pytest.mark.parametrize("make", [sync_tool, async_tool])


def asking(calls: list[str], *tools: Tool, **options: Any) -> Agent:
    """An agent whose model asks for the calls at once, then answers "done"."""
    turns: list[Said] = [[Call(name) for name in calls], "done"]
    return Agent("caller", ScriptedModel(turns), tools=tools, **options)


async def called(made: Tool, threads: Places, **options: Any) -> ToolCallCompleted | ToolCallFailed:
    started = ToolCallStarted(call_id="m1.t0", name=made.spec.name, arguments="{}", idempotency_key="r/m1.t0")
    return await call_tool(made, started, {}, "r", options.pop("left_s", 60.0), SystemClock(), threads, **options)


class TestThreads:
    async def test_so_many_sync_calls_of_an_agent_are_at_work_at_once(self, log: MemoryLog) -> None:
        crowd = Crowd()
        agent = asking(["look", "other"] * 3, sync_tool(crowd), sync_tool(crowd, "other"), tool_threads=2)
        await go(agent, log)
        assert (crowd.most, crowd.calls) == (2, 6)

    async def test_all_runs_of_an_agent_share_its_threads(self, log: MemoryLog) -> None:
        crowd = Crowd()
        agent = asking(["look"] * 2, sync_tool(crowd), tool_threads=3)
        await asyncio.gather(*[go(agent, log) for _ in range(4)])
        assert (crowd.most, crowd.calls) == (3, 8)

    async def test_async_tools_take_none(self, log: MemoryLog) -> None:
        crowd = Crowd()
        await go(asking(["look"] * 4, async_tool(crowd), tool_threads=1), log)
        assert crowd.most == 4

    def test_there_is_at_least_one(self) -> None:
        with pytest.raises(UsageError, match="tool_threads is 0"):
            asking(["look"], tool_threads=0)

    async def test_the_time_out_counts_from_when_the_call_begins(self, log: MemoryLog) -> None:
        @tool(timeout_s=0.9)
        def look() -> str:
            time.sleep(0.35)
            return "seen"

        result = await go(asking(["look"] * 3, look, tool_threads=1), log)
        completed = events_of(log, result.run_id, ToolCallCompleted)
        assert [event.result for event in completed] == ["seen"] * 3

    async def test_waiting_for_a_thread_ends_with_the_runs_deadline(self, log: MemoryLog) -> None:
        proceed, calls = threading.Event(), []

        @tool
        def look() -> str:
            calls.append(1)
            proceed.wait(5)
            return ""

        agent = asking(["look"] * 2, look, tool_threads=1)
        began = time.monotonic()
        result = await go(agent, log, limits=Limits(seconds=0.2), clock=SystemClock())
        proceed.set()
        assert time.monotonic() - began < 2
        assert (result.status, result.limit, calls) == (Status.LIMITED, "seconds", [1])
        at_work, waited = events_of(log, result.run_id, ToolCallFailed)
        told = sorted([at_work.error.message, waited.error.message])
        assert "did not return within" in told[0]
        assert "was not called: a thread of 1 was not free within" in told[1]

    async def test_a_call_given_up_keeps_its_thread_until_it_returns(self) -> None:
        proceed, threads = threading.Event(), Places(1, "a thread of 1")

        @tool(timeout_s=0.02)
        def hang() -> str:
            proceed.wait(5)
            return "late"

        given_up = await called(hang, threads)
        refused = await called(hang, threads, wait_s=0.05)
        assert isinstance(given_up, ToolCallFailed)
        assert given_up.error.message == "hang did not return within 0.02 s and was given up"
        assert isinstance(refused, ToolCallFailed)
        assert (refused.error.code, refused.error.retryable) == (ErrorCode.TIMEOUT, True)
        assert refused.error.message == "hang was not called: a thread of 1 was not free within 0.05 s"
        proceed.set()
        assert isinstance(await called(sync_tool(Crowd()), threads, wait_s=5), ToolCallCompleted)

    async def test_a_hung_call_does_not_stop_the_agent_for_ever(self) -> None:
        threads, till = Places(1, "a thread"), Places(1, "the resource till", exclusive=True)
        turn = Turn((till, threads), hung_s=0.03)
        await turn.begin()
        turn.outlived()
        await asyncio.wait_for(threads.take(), 5)
        with pytest.raises(TimeoutError):  # what is exclusive stays with the call
            await asyncio.wait_for(till.take(), 0.05)
        turn.end()
        await asyncio.wait_for(till.take(), 5)
        with pytest.raises(TimeoutError):  # given back once, not twice
            await asyncio.wait_for(threads.take(), 0.02)

    def test_a_hung_tool_holds_up_neither_the_run_nor_the_end_of_the_process(self) -> None:
        program = """
            import time
            from ledgent.agent import Agent, Call, ScriptedModel, tool

            @tool(timeout_s=0.05)
            def hang() -> str:
                time.sleep(60)

            agent = Agent("a", ScriptedModel([[Call("hang"), Call("hang")], "done"]), tools=[hang])
            print(agent.run_sync("go", log="memory://"))
        """
        began = time.monotonic()
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50)
        assert done.stdout.strip() == "done", done.stderr
        assert time.monotonic() - began < 30


class TestPlacesOfATool:
    @MAKERS
    async def test_so_many_calls_of_it_are_at_work_at_once_over_all_runs(self, log: MemoryLog, make: Any) -> None:
        crowd, free = Crowd(), Crowd()
        agent = asking(["look", "free"] * 3, make(crowd, concurrency=2), make(free, "free"))
        await asyncio.gather(go(agent, log), go(agent.but(name="other"), log))
        assert (crowd.most, crowd.calls) == (2, 6)
        assert free.most > 2

    def test_there_is_at_least_one(self) -> None:
        with pytest.raises(UsageError, match="concurrency"):
            sync_tool(Crowd(), concurrency=0)

    @MAKERS
    async def test_a_call_that_is_cancelled_gives_its_place_back(self, make: Any) -> None:
        made, threads = make(Crowd(), concurrency=1), Places(1, "a thread")
        at_work = asyncio.create_task(called(made, threads))
        waits = asyncio.create_task(called(made, threads))
        await asyncio.sleep(0.005)
        at_work.cancel()
        waits.cancel()
        await asyncio.wait([at_work, waits])
        assert isinstance(await called(made, threads, wait_s=5), ToolCallCompleted)

    async def test_a_call_that_waits_in_vain_gives_back_what_it_had(self) -> None:
        made, threads = sync_tool(Crowd(), concurrency=1), Places(1, "a thread")
        await threads.take()
        refused = await called(made, threads, wait_s=0.02)
        assert isinstance(refused, ToolCallFailed)
        assert "a thread was not free" in refused.error.message
        threads.give_back()
        assert isinstance(await called(made, threads, wait_s=5), ToolCallCompleted)

    async def test_what_a_cancelled_call_was_just_given_goes_to_the_next(self) -> None:
        places = Places(1, "a place")
        await places.take()
        first, second = asyncio.create_task(places.take()), asyncio.create_task(places.take())
        await asyncio.sleep(0)
        places.give_back()  # to the first, which does not know yet
        first.cancel()
        await asyncio.wait_for(second, 5)

    async def test_they_are_given_in_the_order_of_asking(self) -> None:
        places, order = Places(1, "a place"), list[int]()

        async def one(number: int) -> None:
            await places.take()
            order.append(number)
            places.give_back()

        await places.take()
        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        places.give_back()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert order == [0, 1, 2, 3, 4]

    async def test_whoever_waited_on_a_loop_that_is_closed_is_passed_over(self) -> None:
        places, closed = Places(1, "a place"), asyncio.new_event_loop()
        await places.take()
        gone = places.take()

        def wait_on_the_other_loop() -> None:
            closed.call_soon(gone.send, None)
            closed.call_soon(closed.stop)
            closed.run_forever()
            closed.close()

        await asyncio.to_thread(wait_on_the_other_loop)
        places.give_back()
        await asyncio.wait_for(places.take(), 5)
        gone.close()  # as the garbage collector would: it was never given a place, and gives none back
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(places.take(), 0.02)


class TestResources:
    @MAKERS
    async def test_tools_that_name_the_same_do_not_overlap_and_others_do(self, log: MemoryLog, make: Any) -> None:
        till, all_ = Crowd(), Crowd()

        def using(name: str, *resources: str) -> Tool:
            async def use() -> None:
                with all_, till:
                    await asyncio.sleep(0.04)

            def use_now() -> None:
                with all_, till:
                    time.sleep(0.04)

            return tool(name=name, resources=resources)(use if make is async_tool else use_now)

        tools = [using("pay", "till"), using("refund", "till", "printer"), make(all_, "free")]
        await go(asking(["pay", "refund", "pay", "refund", "free"], *tools), log)
        assert (till.most, till.calls) == (1, 4)
        assert all_.most > 1

    async def test_tools_that_name_them_in_another_order_do_not_wait_for_each_other(self, log: MemoryLog) -> None:
        crowd = Crowd()
        one = async_tool(crowd, "one", resources=["left", "right"])
        other = async_tool(crowd, "other", resources=["right", "left", "right"])
        result = await asyncio.wait_for(go(asking(["one", "other"] * 4, one, other), log), 5)
        assert (result.output, crowd.most, crowd.calls) == ("done", 1, 8)
        assert [places.about for places in other._needs] == ["the resource left", "the resource right"]

    @MAKERS
    async def test_they_take_their_turn_in_the_order_that_the_model_asked_in(self, log: MemoryLog, make: Any) -> None:
        """So what one call of an answer leaves behind, a later one that names the same resource finds."""
        drawer: list[str] = []

        def now(content: str) -> str:
            time.sleep(0.01)
            drawer.append(content)
            return " ".join(drawer)

        async def soon(content: str) -> str:
            await asyncio.sleep(0.01)
            drawer.append(content)
            return " ".join(drawer)

        put = tool(name="put", resources=["drawer"])(soon if make is async_tool else now)
        calls = [Call("put", content=content) for content in "abcdef"]
        result = await go(Agent("a", ScriptedModel([calls, "done"]), tools=[put]), log)
        found = {event.call_id: event.result for event in events_of(log, result.run_id, ToolCallCompleted)}
        assert (found["m1.t0"], found["m1.t5"]) == ("a", "a b c d e f")

    def test_agents_on_several_event_loops_share_them(self) -> None:
        crowd = Crowd()

        def run(number: int) -> str | None:
            made = (sync_tool if number % 2 else async_tool)(crowd, resources=["till of several loops"])
            return asking(["look"] * 3, made).run_sync("go", log=MemoryLog()).output

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(run, range(4))) == ["done"] * 4
        assert (crowd.most, crowd.calls) == (1, 12)

    async def test_a_sync_call_given_up_keeps_its_resource_until_it_returns(self, log: MemoryLog) -> None:
        proceed, at = threading.Event(), dict[str, float]()

        @tool(timeout_s=0.03, resources=["slow till"])
        def slow() -> None:
            proceed.wait(5)
            at["slow ended"] = time.monotonic()

        @tool(resources=["slow till"])
        async def quick() -> str:
            at["quick began"] = time.monotonic()
            return "quick"

        running = asyncio.create_task(go(asking(["slow", "quick"], slow, quick), log))
        await until(lambda: [run for run in log.run_ids() if events_of(log, run, ToolCallFailed)])
        await asyncio.sleep(0.02)
        assert at == {}
        proceed.set()
        result = await asyncio.wait_for(running, 5)
        assert at["slow ended"] <= at["quick began"]
        assert only(log, result.run_id, ToolCallCompleted).result == "quick"
