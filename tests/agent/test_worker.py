"""The worker: what it takes, what it hands over, what it takes over from the dead, and what it refuses to touch."""

import asyncio
import threading
import time
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, ScriptedModel, ToolContext, tool
from ledgent.agent.clock import SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Model
from ledgent.agent.models.prices import Price
from ledgent.agent.running import start_request
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import cancel_run, send_message, start_run
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import Recorded, digest_of
from ledgent.schemas.errors import ConcurrentAppend, ErrorCode, LogFull, UnknownEventType
from ledgent.schemas.events import (
    ModelCallFailed,
    ModelCallStarted,
    RetryScheduled,
    RunClaimed,
    RunFailed,
    RunSuspended,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.requests import SendMessage, StartRun, decode_request
from ledgent.schemas.state import RunState, Status, ToolResult
from tests.agent.recorded import check_run, events_of, only, records_of, state_of, types_of, until
from tests.schemas.chain import begun
from tests.simulation.clock import SimulatedClock


@tool
async def look() -> str:
    """Looks."""
    return "looked"


def looker(model: Model | None = None, **options: Any) -> Agent:
    return Agent("looker", model or ScriptedModel([Call("look"), "done"]), tools=[look]).but(**options)


async def idle(log: MemoryLog, *agents: Agent, clock: SimulatedClock | None = None) -> None:
    """A worker does all there is to do."""
    await asyncio.wait_for(Worker(log, {agent.name: agent for agent in agents}, clock=clock).work(until_idle=True), 10)


class TestTaking:
    async def test_many_runs_are_worked_on_at_once(self, log: MemoryLog) -> None:
        barrier = asyncio.Barrier(10)

        @tool
        async def meet() -> str:
            await asyncio.wait_for(barrier.wait(), 5)
            return "met"

        agent = Agent("m", ScriptedModel([Call("meet"), "done"]), tools=[meet])
        run_ids = [await start_run(log, "m", "go") for _ in range(10)]
        await idle(log, agent)
        assert [state_of(log, run_id).output for run_id in run_ids] == ["done"] * 10

    async def test_no_more_runs_at_once_than_there_is_room_for(self, log: MemoryLog) -> None:
        running, most = 0, 0

        @tool
        async def count() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1

        agent = Agent("m", ScriptedModel([Call("count"), "done"]), tools=[count])
        run_ids = [await start_run(log, "m", "go") for _ in range(12)]
        await asyncio.wait_for(Worker(log, {"m": agent}, concurrency=3).work(until_idle=True), 10)
        assert most <= 3
        assert [state_of(log, run_id).output for run_id in run_ids] == ["done"] * 12

    async def test_a_worker_with_little_room_is_not_idle_while_runs_wait(self, log: MemoryLog) -> None:
        class SlowLog(MemoryLog):
            """Its only run ends while the worker asks what that run is told."""

            async def take(self, agents, limit, timeout_s):  # type: ignore[no-untyped-def]
                if agents is None:
                    await until(lambda: (log.ends()[0] + 1) % 9 == 0)
                    await asyncio.sleep(0.01)
                return await super().take(agents, limit, timeout_s)

        run_ids = [await start_run(log, "looker", "go") for _ in range(3)]
        agent = looker(ScriptedModel([Call("look"), "done"], delay_s=0.07))
        worker = Worker(SlowLog(log.storage), {"looker": agent}, concurrency=1)
        await asyncio.wait_for(worker.work(until_idle=True), 5)
        assert [state_of(log, run_id).output for run_id in run_ids] == ["done"] * 3

    async def test_two_workers_share_the_runs_and_do_each_once(self, log: MemoryLog) -> None:
        run_ids = [await start_run(log, "looker", "go") for _ in range(20)]
        await asyncio.gather(idle(MemoryLog(log.storage), looker()), idle(MemoryLog(log.storage), looker()))
        assert [types_of(log, run_id).count("run.completed") for run_id in run_ids] == [1] * 20
        assert len(log.storage.done) == 20

    async def test_records_are_shown_to_whoever_asked(self, log: MemoryLog) -> None:
        shown: list[Recorded] = []
        run_id = await start_run(log, "looker", "go")
        await Worker(log, {"looker": looker()}, on_record=shown.append).work(until_idle=True)
        assert shown == records_of(log, run_id)

    async def test_an_unknown_agent_fails_its_run_with_the_known_names(self, log: MemoryLog) -> None:
        run_id = await start_run(log, "lokker", "go")
        await idle(log, looker(), Agent("other", ScriptedModel([])))
        assert types_of(log, run_id) == ["run.claimed", "run.failed"]
        error = only(log, run_id, RunFailed).error
        assert error.code is ErrorCode.UNKNOWN_AGENT
        assert error.message == "no agent is named 'lokker'; this worker knows: looker, other"
        assert await log.take(frozenset({"lokker"}), 10, 0) == []

    async def test_a_run_that_has_begun_is_left_to_those_who_know_its_agent(self, log: MemoryLog) -> None:
        mortal = MemoryLog(log.storage)
        running = asyncio.create_task(looker(ScriptedModel(["late"], delay_s=30)).run("go", log=mortal))
        await until(lambda: log.ends()[0] >= 2)
        mortal.close()
        await idle(log, Agent("other", ScriptedModel([])))
        (run_id,) = log.run_ids()
        assert len(types_of(log, run_id)) == 3
        await idle(log, looker(ScriptedModel(["done"])))
        assert state_of(log, run_id).output == "done"
        running.cancel()
        with pytest.raises((asyncio.CancelledError, ConcurrentAppend)):
            await running

    async def test_a_run_that_a_tool_holds_beside_the_worker_is_not_taken_from_it(self, log: MemoryLog) -> None:
        inner = Agent("inner", ScriptedModel(["late"], delay_s=30))

        @tool
        async def delegate() -> str:
            return str((await inner.run("go", log=log)).status)

        outer = Agent("outer", ScriptedModel([Call("delegate"), "done"]), tools=[delegate])
        run_id = await start_run(log, "outer", "go")
        working = asyncio.create_task(Worker(log, {"outer": outer, "inner": inner}).work(until_idle=True))
        await until(lambda: log.ends()[0] >= 7)
        (inner_id,) = set(log.run_ids()) - {run_id}
        await cancel_run(log, inner_id)
        await asyncio.wait_for(working, 5)
        assert types_of(log, inner_id)[-3:] == ["run.cancel_requested", "model_call.failed", "run.cancelled"]
        assert only(log, run_id, ToolCallCompleted).result == "cancelled"
        assert state_of(log, run_id).output == "done"


class TestHandingOver:
    async def test_a_worker_that_is_stopped_hands_its_runs_over(self, log: MemoryLog) -> None:
        run_ids = [await start_run(log, "looker", "go") for _ in range(3)]
        slow = looker(ScriptedModel([Call("look"), "done"], delay_s=0.2))
        working = asyncio.create_task(Worker(log, {"looker": slow}).work())
        await until(lambda: all(len(types_of(log, run_id)) >= 3 for run_id in run_ids))
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        for run_id in run_ids:
            assert types_of(log, run_id)[-1] == "run.suspended"
            assert only(log, run_id, RunSuspended).reason == "handed_over"
            check_run(log, run_id)
        await idle(MemoryLog(log.storage), looker())
        for run_id in run_ids:
            assert [event.reason for event in events_of(log, run_id, RunClaimed)] == ["started", "resumed"]
            assert state_of(log, run_id).output == "done"

    async def test_an_agent_run_that_is_cancelled_hands_over_too(self, log: MemoryLog) -> None:
        running = asyncio.create_task(looker(ScriptedModel(["late"], delay_s=30)).run("go", log=log))
        await until(lambda: log.ends()[0] >= 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        (run_id,) = log.run_ids()
        await idle(MemoryLog(log.storage), looker(ScriptedModel(["done"])))
        assert state_of(log, run_id).output == "done"
        assert [event.attempt for event in events_of(log, run_id, ModelCallStarted)] == [1, 2]

    async def test_what_is_in_when_a_run_is_handed_over_is_recorded_and_not_made_again(self, log: MemoryLog) -> None:
        called = []

        @tool
        async def pay(context: ToolContext) -> str:
            called.append(context.call_id)
            # The outcome is in the loop's queue when the cancel arrives.
            asyncio.get_running_loop().call_soon(working.cancel)
            return "paid"

        agent = Agent("payer", ScriptedModel([Call("pay"), "done"]), tools=[pay])
        working = asyncio.create_task(agent.run("go", log=log))
        with pytest.raises(asyncio.CancelledError):
            await working
        (run_id,) = log.run_ids()
        assert types_of(log, run_id)[-2:] == ["tool_call.completed", "run.suspended"]
        check_run(log, run_id)
        await idle(MemoryLog(log.storage), agent)
        assert called == ["m1.t0"]
        assert state_of(log, run_id).output == "done"

    async def test_several_outcomes_in_at_once_are_handed_over_whole(self, log: MemoryLog) -> None:
        """Among them failures after which a retry would have been decided, had the run not been handed over."""
        together = asyncio.Event()

        @tool(idempotent=True, attempts=2)
        async def book() -> str:
            if together.is_set():
                return "booked"
            await together.wait()
            raise ConnectionError("reset")

        @tool
        async def stop() -> str:
            together.set()
            asyncio.get_running_loop().call_soon(working.cancel)
            return "stopped"

        calls = [Call("book"), Call("book"), Call("stop")]
        agent = Agent("booker", ScriptedModel([calls, "done"]), tools=[book, stop])
        working = asyncio.create_task(agent.run("go", log=log))
        with pytest.raises(asyncio.CancelledError):
            await working
        (run_id,) = log.run_ids()
        assert sorted(types_of(log, run_id)[-4:]) == [
            "run.suspended",
            "tool_call.completed",
            "tool_call.failed",
            "tool_call.failed",
        ]
        check_run(log, run_id)
        await idle(MemoryLog(log.storage), agent, clock=SimulatedClock())
        assert state_of(log, run_id).output == "done"

    async def test_a_request_that_the_loop_had_not_looked_at_is_given_back(self, log: MemoryLog) -> None:
        """It waits in the loop's queue, behind an outcome, when the run is handed over."""

        @tool
        async def stop() -> str:
            asyncio.get_running_loop().call_soon(loop.post, message)
            asyncio.get_running_loop().call_soon(working.cancel)
            return "stopped"

        model = ScriptedModel([Call("stop"), "done", "more it is"], delay_s=0.05)
        agent = Agent("talker", model, tools=[stop], conversational=True)
        request = start_request("talker", "go", None, None, None)
        loop = RunLoop(log, agent, RunState(request.run_id), Guard(), SystemClock())
        loop.begin(request, accept=True)
        message = SendMessage(request_id="message", run_id=request.run_id, text="more")
        working = asyncio.create_task(loop.work())
        await until(lambda: log.ends()[0] >= 2)
        await log.submit(message)
        log.storage.taken["message"] = log.writer
        with pytest.raises(asyncio.CancelledError):
            await working
        assert "message" not in log.storage.taken
        await idle(MemoryLog(log.storage), agent)
        texts = [message.text for message in state_of(log, request.run_id).messages]
        assert texts == ["go", None, "stopped", "done", "more", "more it is"]

    async def test_the_requests_of_a_run_that_is_handed_over_are_given_back(self, log: MemoryLog) -> None:
        agent = Agent("talker", ScriptedModel(["one", "two"], delay_s=30), conversational=True)
        run_id = await start_run(log, "talker", "hi")
        worker = Worker(log, {"talker": agent})
        working = asyncio.create_task(worker.work())
        await until(lambda: len(types_of(log, run_id)) >= 3)
        await send_message(log, run_id, "more")
        await until(lambda: len(log.storage.taken) == 2)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        other = MemoryLog(log.storage)
        given = await other.take(frozenset({"talker"}), 10, 0)
        assert [request.type for request in given] == ["start_run", "send_message"]

    async def test_a_wait_goes_on_where_it_was(self, log: MemoryLog) -> None:
        clock = SimulatedClock()
        turns = [Attempts(Fail("server_error", retry_after_s=600), "done")]
        run_id = await start_run(log, "looker", "go")
        working = asyncio.create_task(Worker(log, {"looker": looker(ScriptedModel(turns))}, clock=clock).work())
        await until(lambda: events_of(log, run_id, RetryScheduled))
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        clock.elapsed_s += 400
        await idle(MemoryLog(log.storage), looker(ScriptedModel(turns)), clock=clock)
        records = {record.event.type: record for record in records_of(log, run_id)}
        waited = (records["timer.fired"].at - records["retry.scheduled"].at).total_seconds()
        assert 600 <= waited < 601
        assert state_of(log, run_id).output == "done"


class LosingLog(MemoryLog):
    """A log that gives its process's runs to another one, when a test says so."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log.storage)
        self.losing: set[str] = set()

    def lose(self, run_id: str) -> None:
        """What had been taken for the run is anybody's; who had taken it is told once."""
        for request_id, body in self.storage.requests.items():
            if decode_request(body).run_id == run_id:
                self.storage.taken.pop(request_id, None)
        self.losing.add(run_id)

    def lost(self) -> frozenset[str]:
        lost, self.losing = frozenset(self.losing), set()
        return lost


class TestLosingRuns:
    async def test_a_run_that_was_lost_is_handed_over_and_the_others_go_on(self, log: MemoryLog) -> None:
        gate = asyncio.Event()

        @tool
        async def wait() -> str:
            await gate.wait()
            return "waited"

        agent = Agent("waiter", ScriptedModel([Call("wait"), "done"]), tools=[wait])
        losing = LosingLog(log)
        run_ids = [await start_run(log, "waiter", "go") for _ in range(3)]
        working = asyncio.create_task(Worker(losing, {"waiter": agent}).work())
        await until(lambda: all("tool_call.started" in types_of(log, run_id) for run_id in run_ids))
        losing.lose(run_ids[1])
        await until(lambda: types_of(log, run_ids[1])[-1] == "run.suspended")
        assert only(log, run_ids[1], RunSuspended).reason == "handed_over"
        gate.set()
        await idle(MemoryLog(log.storage), agent)
        await until(lambda: all(state_of(log, run_id).ended for run_id in run_ids))
        assert [len(events_of(log, run_id, RunClaimed)) for run_id in run_ids] == [1, 2, 1]
        assert [state_of(log, run_id).output for run_id in run_ids] == ["done"] * 3
        assert not working.done()
        working.cancel()
        await asyncio.wait([working])

    async def test_a_run_that_comes_back_while_it_is_handed_over_is_claimed_again(self, log: MemoryLog) -> None:
        losing = LosingLog(log)
        slow = looker(ScriptedModel([Call("look"), "done"], delay_s=0.2))
        run_id = await start_run(log, "looker", "go")
        working = asyncio.create_task(Worker(losing, {"looker": slow}).work())
        await until(lambda: len(types_of(log, run_id)) >= 3)
        losing.lose(run_id)
        losing.lose(run_id)
        await until(lambda: log.head(run_id) and state_of(log, run_id).ended)
        assert state_of(log, run_id).output == "done"
        assert [event.reason for event in events_of(log, run_id, RunClaimed)] == ["started", "resumed"]
        await until(lambda: len(log.storage.done) == 1)
        working.cancel()
        await asyncio.wait([working])

    async def test_a_run_that_is_lost_before_it_is_claimed_is_left_alone(self, log: MemoryLog) -> None:
        class SlowLog(LosingLog):
            """It is long about a run's head."""

            def records(self, run_id: str, after: int = 0) -> Any:
                time.sleep(0.2)
                return super().records(run_id, after)

        run_id = await start_run(log, "looker", "go")
        first = MemoryLog(log.storage)
        running = asyncio.create_task(Worker(first, {"looker": looker(ScriptedModel(["late"], delay_s=30))}).work())
        await until(lambda: len(types_of(log, run_id)) >= 3)
        running.cancel()
        await asyncio.wait([running])
        losing = SlowLog(log)
        working = asyncio.create_task(Worker(losing, {"looker": looker(ScriptedModel(["done"]))}).work())
        await until(lambda: losing.writer in log.storage.taken.values())
        losing.lose(run_id)
        await until(lambda: state_of(log, run_id).ended)
        assert len(events_of(log, run_id, RunClaimed)) == 2
        working.cancel()
        await asyncio.wait([working])

    async def test_what_is_lost_and_unknown_here_does_not_matter(self, log: MemoryLog) -> None:
        losing = LosingLog(log)
        losing.losing = {"nobody"}
        run_id = await start_run(log, "looker", "go")
        await asyncio.wait_for(Worker(losing, {"looker": looker()}).work(until_idle=True), 10)
        assert state_of(log, run_id).output == "done"


class Dying:
    """Runs an agent on a log whose process then dies in the middle of a tool."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.effects: list[str] = []
        self.dead = False

    def agent(self, idempotent: bool) -> Agent:
        async def pay(context: ToolContext) -> str:
            self.effects.append(context.idempotency_key)
            if not self.dead:
                await asyncio.sleep(30)
            return "paid"

        made = tool(idempotent=idempotent)(pay)
        return Agent("payer", ScriptedModel([[Call("look"), Call("pay")], "done"]), tools=[look, made])

    async def die_in_the_tool(self, idempotent: bool) -> str:
        mortal = MemoryLog(self.log.storage)
        agent = self.agent(idempotent)
        running = asyncio.create_task(agent.run("go", log=mortal))
        await until(lambda: self.effects and self.completed() == 1)
        mortal.close()
        self.dead = True
        (run_id,) = self.log.run_ids()
        await idle(MemoryLog(self.log.storage), agent)
        running.cancel()
        with pytest.raises((asyncio.CancelledError, ConcurrentAppend)):
            await running
        return run_id

    def completed(self) -> int:
        return sum(len(events_of(self.log, run_id, ToolCallCompleted)) for run_id in self.log.run_ids())


class TestTakingOver:
    async def test_a_call_of_a_dead_process_that_is_not_idempotent_is_not_made_again(self, log: MemoryLog) -> None:
        dying = Dying(log)
        run_id = await dying.die_in_the_tool(idempotent=False)
        assert dying.effects == [f"{run_id}/m1.t1"]
        uncertain = only(log, run_id, ToolCallUncertain)
        assert "pay" in uncertain.message
        assert "unknown" in uncertain.message
        assert "not made again" in uncertain.message
        told = [message.text for message in state_of(log, run_id).messages if isinstance(message, ToolResult)]
        assert told == ["looked", uncertain.message]
        assert state_of(log, run_id).output == "done"

    async def test_an_idempotent_call_of_a_dead_process_is_made_again_with_the_same_key(self, log: MemoryLog) -> None:
        dying = Dying(log)
        run_id = await dying.die_in_the_tool(idempotent=True)
        assert dying.effects == [f"{run_id}/m1.t1"] * 2
        failed = only(log, run_id, ToolCallFailed)
        assert (failed.error.code, failed.attempt) == (ErrorCode.INTERRUPTED, 1)
        starts = [(e.name, e.attempt) for e in events_of(log, run_id, ToolCallStarted)]
        assert starts == [("look", 1), ("pay", 1), ("pay", 2)]
        assert state_of(log, run_id).output == "done"

    async def test_a_model_call_of_a_dead_process_is_asked_again_and_its_possible_cost_is_noted(
        self, log: MemoryLog
    ) -> None:
        mortal = MemoryLog(log.storage)
        late = ScriptedModel(["late"], delay_s=30, price=Price(input=1_000.0, output=2_000.0))
        running = asyncio.create_task(looker(late).run("go", log=mortal))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        mortal.close()
        await idle(log, looker(ScriptedModel(["done"])))
        failed = only(log, run_id, ModelCallFailed)
        assert failed.error.code is ErrorCode.INTERRUPTED
        assert "may have been billed" in failed.error.message
        assert failed.maybe_cost_usd == failed.maybe_usage.input_tokens / 1e3 + failed.maybe_usage.output_tokens / 500
        spent = state_of(log, run_id).spent
        assert spent.maybe_cost_usd == failed.maybe_cost_usd > 0
        assert spent.cost_usd == 0
        check_run(log, run_id)
        assert [(e.call_id, e.attempt) for e in events_of(log, run_id, ModelCallStarted)] == [("m1", 1), ("m1", 2)]
        assert [event.reason for event in events_of(log, run_id, RunClaimed)] == ["started", "taken_over"]
        assert events_of(log, run_id, RetryScheduled) == []
        running.cancel()
        with pytest.raises((asyncio.CancelledError, ConcurrentAppend)):
            await running

    async def test_whoever_was_thought_dead_finds_its_run_taken_and_leaves_it(self, log: MemoryLog) -> None:
        proceed = asyncio.Event()

        @tool
        async def wait() -> str:
            await proceed.wait()
            return "waited"

        agent = Agent("waiter", ScriptedModel([Call("wait"), "done"]), tools=[wait])
        paused = MemoryLog(log.storage)
        running = asyncio.create_task(agent.run("go", log=paused))
        await until(lambda: log.ends()[0] >= 4)
        paused.close()
        (run_id,) = log.run_ids()
        await idle(log, agent)
        assert state_of(log, run_id).status is Status.COMPLETED
        proceed.set()
        with pytest.raises(ConcurrentAppend, match=run_id):
            await running
        assert types_of(log, run_id).count("run.completed") == 1

    async def test_a_worker_whose_run_was_taken_goes_on_with_the_others(self, log: MemoryLog) -> None:
        proceed = asyncio.Event()

        @tool
        async def wait() -> str:
            await proceed.wait()
            return "waited"

        agent = Agent("waiter", ScriptedModel([Call("wait"), "done"]), tools=[wait])
        slow = MemoryLog(log.storage)
        taken, kept = [await start_run(log, "waiter", "go") for _ in range(2)]
        working = asyncio.create_task(Worker(slow, {"waiter": agent}).work(until_idle=True))
        await until(lambda: log.ends()[0] >= 9)
        state = records_of(log, taken)[-1]
        thief = begun(taken)
        thief.records = list(log.records(taken))
        head = log.head(taken)
        assert head is not None
        thief.guard = head.guard
        assert state.event.type == "tool_call.started"
        await log.append([thief.claim(log.writer)])
        proceed.set()
        await asyncio.wait_for(working, 5)
        assert state_of(log, kept).output == "done"
        assert types_of(log, taken)[-1] == "run.claimed"

    async def test_the_requests_of_a_run_that_was_taken_are_given_back(self, log: MemoryLog) -> None:
        proceed = asyncio.Event()

        @tool
        async def wait() -> str:
            await proceed.wait()
            return "waited"

        agent = Agent("waiter", ScriptedModel([Call("wait"), "done"]), tools=[wait], conversational=True)
        run_id = await start_run(log, "waiter", "go")
        working = asyncio.create_task(Worker(MemoryLog(log.storage), {"waiter": agent}).work())
        await until(lambda: len(types_of(log, run_id)) == 5)
        await send_message(log, run_id, "more")
        await until(lambda: len(types_of(log, run_id)) == 6)
        head = log.head(run_id)
        assert head is not None
        thief = begun(run_id)
        thief.records, thief.guard = list(log.records(run_id)), head.guard
        await log.append([thief.claim(log.writer)])
        proceed.set()
        await until(lambda: not log.storage.taken)
        assert len(await log.take(frozenset({"waiter"}), 10, 0)) == 2
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working


class TestTrouble:
    async def test_a_defect_of_one_run_is_recorded_and_stops_no_other(self, log: MemoryLog) -> None:
        class Broken(ScriptedModel):
            @property
            def spec(self):  # type: ignore[no-untyped-def]
                raise ZeroDivisionError("no such model")

        bad, good = await start_run(log, "broken", "go"), await start_run(log, "looker", "go")
        await idle(log, Agent("broken", Broken([])), looker())
        error = only(log, bad, RunFailed).error
        assert (error.code, error.message) == (
            ErrorCode.INTERNAL,
            "a defect stopped this run: ZeroDivisionError: no such model",
        )
        assert state_of(log, good).output == "done"

    async def test_a_defect_in_the_middle_of_a_run_is_recorded(self, log: MemoryLog) -> None:
        def show(record: Recorded) -> None:
            if record.event.type == "tool_call.completed":
                raise ZeroDivisionError("in a callback")

        run_id = await start_run(log, "looker", "go")
        await Worker(log, {"looker": looker()}, on_record=show).work(until_idle=True)
        assert only(log, run_id, RunFailed).error.message.endswith("ZeroDivisionError: in a callback")

    async def test_a_run_whose_records_are_broken_is_refused_and_left_alone(self, log: MemoryLog) -> None:
        agent = Agent("talker", ScriptedModel(["one"]), conversational=True)
        result = await agent.run("hi", log=log)
        await send_message(log, result.run_id, "more")
        run = log.storage.runs[result.run_id]
        whole = run[2]
        run[2] = whole._replace(body=whole.body.replace(b'"m1"', b'"m2"'))
        await idle(log, agent)
        (reason,) = [reason for reason in log.storage.done.values() if reason]
        assert reason.startswith(f"run {result.run_id}: record 3: ")
        assert len(log.storage.runs[result.run_id]) == len(run)
        run[2] = whole

    async def test_a_worker_older_than_the_log_stops_and_leaves_the_run_to_a_newer_one(self) -> None:
        log = MemoryLog()
        chain = begun(writer="newer")
        future = chain.next(RunSuspended(reason="input"))
        body = future.body.replace(b'"type":"run.suspended"', b'"type":"run.dreaming!"')
        await log.submit(StartRun(request_id="1", run_id=chain.run_id, agent="clerk", input="hello"))
        await log.append(chain.records)
        await log.append([future._replace(body=body, digest=digest_of(chain.guard.digest, body))])
        with pytest.raises(UnknownEventType, match=r"run\.dreaming!.*upgrade"):
            await Worker(log, {"clerk": Agent("clerk", ScriptedModel([]))}).work(until_idle=True)
        assert len(await MemoryLog(log.storage).take(frozenset({"clerk"}), 10, 0)) == 1

    async def test_a_full_disk_stops_the_worker_with_one_clear_error(self, log: MemoryLog) -> None:
        class FullLog(MemoryLog):
            async def append(self, records, **options) -> None:  # type: ignore[no-untyped-def]
                if b"tool_call.started" in records[-1].body:
                    raise LogFull("there is no space left for the log")
                await super().append(records, **options)

        await start_run(log, "looker", "go")
        with pytest.raises(LogFull):
            await Worker(FullLog(log.storage), {"looker": looker()}).work(until_idle=True)

    async def test_a_sync_tool_that_hangs_does_not_hold_up_the_other_runs(self, log: MemoryLog) -> None:
        proceed = threading.Event()

        @tool(timeout_s=0.2)
        def hang() -> str:
            proceed.wait(10)
            return ""

        stuck = Agent("stuck", ScriptedModel([Call("hang"), "done"]), tools=[hang])
        first, second = await start_run(log, "stuck", "go"), await start_run(log, "looker", "go")
        await idle(log, stuck, looker())
        proceed.set()
        assert (state_of(log, first).output, state_of(log, second).output) == ("done", "done")
        ends = {run_id: records_of(log, run_id)[-1].at for run_id in (first, second)}
        assert ends[second] < ends[first]

    async def test_a_clock_that_jumps_back_does_not_turn_the_order_round(self, log: MemoryLog) -> None:
        clock = SimulatedClock()

        @tool
        async def jump() -> str:
            clock.elapsed_s -= 300
            return ""

        agent = Agent("jumper", ScriptedModel([Call("jump"), Reply("done")]), tools=[jump])
        run_id = await start_run(log, "jumper", "go", limits=Limits(seconds=60))
        await idle(log, agent, clock=clock)
        assert state_of(log, run_id).output == "done"
        times = [record.at for record in records_of(log, run_id)]
        assert times == sorted(times)
