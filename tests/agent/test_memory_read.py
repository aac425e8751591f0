"""Memory looked through before the model answers: when, what the model is told, and what happens when it cannot be."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, ScriptedModel, tool
from ledgent.agent.clock import SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.memory import LONGEST_ENTRY, RECALLED, Memory
from ledgent.agent.memory_read import read_memory
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.agent.running import start_request
from ledgent.agent.tools.places import Places
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import cancel_run, send_message, start_run
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.errors import ErrorCode, MemoryUnavailable
from ledgent.schemas.events import MemoryRead, MemoryReadStarted, RunClaimed
from ledgent.schemas.remembered import NOTE, QUERY_CHARACTERS
from ledgent.schemas.state import RunState, Status
from tests.agent.recorded import check_run, events_of, go, only, records_of, state_of, types_of, until
from tests.agent.test_verify import rewritten
from tests.simulation.clock import SimulatedClock

TEA = "Ada likes tea."


class Notes:
    """A memory of one text, which notes what it is asked."""

    name = "notes"

    def __init__(self, *texts: str) -> None:
        self.texts = texts or (TEA,)
        self.asked: list[str] = []

    def add(self, text: str, key: str) -> None:
        self.texts = (*self.texts, text)

    def search(self, query: str, limit: int) -> list[str]:
        self.asked.append(query)
        return list(self.texts) if "tea" in query else []


class Stuck(Notes):
    """Does not answer until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def search(self, query: str, limit: int) -> list[str]:
        self.asked.append(query)
        self.may.wait(10)
        return [TEA]


class Listening(ScriptedModel):
    """Keeps what it is sent."""

    def __init__(self, turns: Sequence[Any], **options: Any) -> None:
        super().__init__(turns, **options)
        self.sent: list[list[dict[str, Any]]] = []

    async def complete(self, request: ModelRequest, *args: Any) -> ModelReply:
        self.sent.append(orjson.loads(request.body)["messages"])
        return await super().complete(request, *args)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    memory = Stuck()
    yield memory
    memory.may.set()


def clerk(memory: Memory | None, *turns: Any, **options: Any) -> Agent:
    return Agent("clerk", Listening(turns or ["done"]), memory=memory, **options)


def texts(model: Any, call: int) -> list[str]:
    """What the model was sent with a call, counted from 0."""
    return [message["content"] for message in model.sent[call]]


class TestWhen:
    async def test_before_the_model_is_asked_and_it_is_told(self, log: MemoryLog) -> None:
        agent = clerk(Notes())
        result = await go(agent, log, "Does Ada like tea?")
        kinds = types_of(log, result.run_id)
        assert kinds[2:5] == ["memory.read_started", "memory.read", "model_call.started"]
        assert texts(agent.model, 0) == ["Does Ada like tea?", f"{NOTE}\n- {TEA}"]
        read = only(log, result.run_id, MemoryRead)
        assert (read.query, read.entries, read.error) == ("Does Ada like tea?", (TEA,), None)
        assert read.duration_ms is not None

    async def test_where_nothing_is_found_the_model_is_told_nothing(self, log: MemoryLog) -> None:
        agent = clerk(Notes())
        result = await go(agent, log, "Hello")
        assert only(log, result.run_id, MemoryRead).entries == ()
        assert texts(agent.model, 0) == ["Hello"]

    async def test_once_for_a_message_however_many_calls_follow(self, log: MemoryLog) -> None:
        notes = Notes()
        turns = [Call("recall", query="x"), Attempts(Fail("timeout"), Fail("server_error"), "done")]
        result = await go(clerk(notes, *turns), log, "tea")
        assert notes.asked == ["tea", "x"]
        assert len(events_of(log, result.run_id, MemoryReadStarted)) == 1

    async def test_for_each_further_message_of_a_conversation(self, log: MemoryLog) -> None:
        notes = Notes()
        agent = clerk(notes, "hi", "yes", conversational=True)
        async with agent.conversation(log=log) as chat:
            await chat.send("hello")
            await chat.send("tea?")
        assert notes.asked == ["hello", "tea?"]
        assert texts(agent.model, 1) == ["hello", "hi", "tea?", f"{NOTE}\n- {TEA}"]

    async def test_for_a_message_that_comes_while_tools_are_at_work(self, log: MemoryLog) -> None:
        @tool
        async def wait() -> str:
            """Waits for the user."""
            await send_message(log, run_id, "tea!")
            await until(lambda: "message.received" in types_of(log, run_id))
            return "waited"

        notes = Notes()
        agent = clerk(notes, Call("wait"), "done", conversational=True, tools=[wait])
        run_id = await start_run(log, "clerk", "hello")
        await Worker(log, {"clerk": agent}, clock=SimulatedClock()).work(until_idle=True)
        assert notes.asked == ["hello", "tea!"]
        assert texts(agent.model, 1)[-3:] == ["waited", "tea!", f"{NOTE}\n- {TEA}"]

    async def test_a_message_that_comes_meanwhile_is_looked_up_next(self, log: MemoryLog, stuck: Stuck) -> None:
        agent = clerk(stuck, conversational=True)
        run_id = await start_run(log, "clerk", "hello")
        working = asyncio.create_task(Worker(log, {"clerk": agent}).work(until_idle=True))
        await until(lambda: stuck.asked)
        await send_message(log, run_id, "and?")
        await until(lambda: "message.received" in types_of(log, run_id))
        stuck.may.set()
        await asyncio.wait_for(working, 5)
        assert stuck.asked == ["hello", "and?"]
        note = f"{NOTE}\n- {TEA}"
        assert texts(agent.model, 0) == ["hello", note, "and?", note]

    async def test_not_for_what_no_user_said(self, log: MemoryLog) -> None:
        notes = Notes()
        result = await go(clerk(notes, "no number", "7", output=int), log, "hello")
        assert result.value == 7
        assert notes.asked == ["hello"]

    async def test_not_where_the_run_has_reached_a_bound(self, log: MemoryLog) -> None:
        notes = Notes()
        agent = clerk(notes, "hi", conversational=True, limits=Limits(steps=1))
        async with agent.conversation(log=log) as chat:
            await chat.send("hello")
            assert (await chat.send("tea?")).status is Status.LIMITED
        assert notes.asked == ["hello"]

    async def test_not_for_a_message_without_text(self, log: MemoryLog) -> None:
        notes = Notes()
        await go(clerk(notes), log, "")
        assert notes.asked == []


class TestWhatIsTold:
    async def test_a_few_entries_of_bounded_length(self, log: MemoryLog) -> None:
        result = await go(clerk(Notes(*["long " * 1_000 + "\ud800"] * 9)), log, "tea " * 10_000)
        read = only(log, result.run_id, MemoryRead)
        assert len(read.query) <= QUERY_CHARACTERS
        assert [len(entry) for entry in read.entries] == [LONGEST_ENTRY] * RECALLED

    async def test_a_replay_asks_no_memory(self, log: MemoryLog) -> None:
        notes = Notes()
        result = await go(clerk(notes), log, "tea")
        asked = list(notes.asked)
        certificate = verify(log, result.run_id)
        assert (certificate.verdict, notes.asked) == ("verified", asked)

    async def test_another_entry_or_query_in_the_log_is_found_out(self, log: MemoryLog) -> None:
        result = await go(clerk(Notes()), log, "tea")

        async def found(cls: Any, **fields: Any) -> str:
            (old,) = [record for record in records_of(log, result.run_id) if isinstance(record.event, cls)]
            new = old.event.model_copy(update=fields)
            return str(verify(await rewritten(log, result.run_id, seq=old.seq, event=new), result.run_id).reason)

        assert "request_digest" in await found(MemoryRead, entries=("Ada likes gin.",))
        assert "does not follow" in await found(MemoryRead, query="gin")
        assert "memory.read_started.query is 'gin'" in await found(MemoryReadStarted, query="gin")

    async def test_a_restored_run_is_told_the_same_and_asks_for_what_was_not_read(self, log: MemoryLog) -> None:
        notes = Notes()
        parent = await go(clerk(notes, Call("recall", query="x"), "done"), log, "tea")
        at = {record.event.type: record.seq for record in reversed(records_of(log, parent.run_id))}
        for seq, asked in ((at["run.started"], ["tea"]), (at["memory.read_started"], ["tea"]), (at["memory.read"], [])):
            notes.asked.clear()
            agent = clerk(notes, "done")
            restored = await agent.restore(parent.run_id, at=seq, log=log)
            assert restored.ok
            assert notes.asked == asked
            assert texts(agent.model, 0) == ["tea", f"{NOTE}\n- {TEA}"]


class TestFailing:
    async def test_a_memory_that_does_not_answer_is_recorded_and_the_run_goes_on(self, log: MemoryLog) -> None:
        class Gone(Notes):
            def search(self, query: str, limit: int) -> list[str]:
                raise MemoryUnavailable("nobody there")

        agent = clerk(Gone())
        result = await go(agent, log, "tea")
        assert result.output == "done"
        error = only(log, result.run_id, MemoryRead).error
        assert error is not None
        assert (error.code, error.retryable) == (ErrorCode.CONNECTION, True)
        assert "nobody there" in error.message
        assert texts(agent.model, 0) == ["tea"]

    @pytest.mark.parametrize("given", [[7], None, 7, ValueError("no \ud800"), asyncio.CancelledError()])
    async def test_whatever_a_memory_does_is_recorded(self, log: MemoryLog, given: Any) -> None:
        class Odd(Notes):
            def search(self, query: str, limit: int) -> list[str]:
                if isinstance(given, BaseException):
                    raise given
                return given  # type: ignore[no-any-return]

        result = await go(clerk(Odd()), log, "tea")
        assert result.output == "done"
        error = only(log, result.run_id, MemoryRead).error
        assert error is not None
        assert error.code is ErrorCode.INTERNAL

    async def test_one_that_hangs_is_given_up(self, stuck: Stuck) -> None:
        threads = Places(1, "a thread")
        began = time.monotonic()
        for _ in range(2):  # the second waits for the thread in vain
            read = await read_memory(stuck, MemoryReadStarted(query="tea"), 0.05, SystemClock(), threads)
            assert read.error is not None
            assert read.error.code is ErrorCode.TIMEOUT
        assert time.monotonic() - began < 3
        stuck.may.set()
        read = await read_memory(stuck, MemoryReadStarted(query="tea"), 5, SystemClock(), threads)
        assert read.entries == (TEA,), "its thread was given back once it had returned"

    async def test_one_that_hangs_is_given_up_at_the_runs_deadline(self, log: MemoryLog, stuck: Stuck) -> None:
        result = await asyncio.wait_for(clerk(stuck).run("tea", log=log, limits=Limits(seconds=0.1)), 5)
        assert (result.status, result.limit) == (Status.LIMITED, "seconds")
        assert types_of(log, result.run_id)[-2:] == ["memory.read", "run.limited"]

    async def test_it_is_stopped_with_the_run(self, log: MemoryLog, stuck: Stuck) -> None:
        running = asyncio.create_task(clerk(stuck).run("tea", log=log))
        await until(lambda: stuck.asked)
        (run_id,) = log.run_ids()
        await cancel_run(log, run_id, "enough")
        result = await asyncio.wait_for(running, 5)
        assert result.status is Status.CANCELLED
        assert types_of(log, run_id)[-3:] == ["run.cancel_requested", "memory.read", "run.cancelled"]
        error = only(log, run_id, MemoryRead).error
        assert error is not None
        assert error.code is ErrorCode.CANCELLED

    async def test_a_run_that_is_taken_over_in_the_middle_of_it_reads_again(self, log: MemoryLog, stuck: Stuck) -> None:
        run_id = await start_run(log, "clerk", "tea")
        working = asyncio.create_task(Worker(log, {"clerk": clerk(stuck)}).work())
        await until(lambda: stuck.asked)
        log.close()  # the process is dead
        other, notes = MemoryLog(log.storage), Notes()
        await Worker(other, {"clerk": clerk(notes)}, clock=SimulatedClock()).work(until_idle=True)
        working.cancel()
        await asyncio.wait([working])
        assert state_of(other, run_id).status is Status.COMPLETED
        assert notes.asked == ["tea"]
        assert [event.reason for event in events_of(other, run_id, RunClaimed)] == ["started", "taken_over"]
        assert len(events_of(other, run_id, MemoryReadStarted)) == 2
        assert len(events_of(other, run_id, MemoryRead)) == 1

    async def test_a_run_that_is_handed_over_in_the_middle_of_it_reads_again(
        self, log: MemoryLog, stuck: Stuck
    ) -> None:
        run_id, stop = await start_run(log, "clerk", "tea"), asyncio.Event()
        working = asyncio.create_task(Worker(log, {"clerk": clerk(stuck)}).work(stop=stop, drain_s=0.05))
        await until(lambda: stuck.asked)
        stop.set()
        await asyncio.wait_for(working, 5)
        assert types_of(log, run_id)[-1] == "run.suspended"
        await Worker(log, {"clerk": clerk(Notes())}, clock=SimulatedClock()).work(until_idle=True)
        assert state_of(log, run_id).status is Status.COMPLETED

    async def test_one_that_ends_while_the_worker_leaves_is_not_made_again(self, log: MemoryLog, stuck: Stuck) -> None:
        request = start_request("clerk", "tea", None, None, None)
        run_id = request.run_id
        loop = RunLoop(log, clerk(stuck), RunState(run_id), Guard(), SystemClock())
        loop.begin(request, accept=True)
        working = asyncio.create_task(loop.work())
        await until(lambda: stuck.asked)
        loop.leave(5.0)
        stuck.may.set()
        await asyncio.wait([working])
        assert types_of(log, run_id)[-2:] == ["memory.read", "run.suspended"]
        await Worker(log, {"clerk": clerk(None)}, clock=SimulatedClock()).work(until_idle=True)
        assert state_of(log, run_id).status is Status.COMPLETED
        assert len(events_of(log, run_id, MemoryReadStarted)) == 1

    async def test_an_agent_that_has_none_any_more_goes_on_without(self, log: MemoryLog, stuck: Stuck) -> None:
        run_id, stop = await start_run(log, "clerk", "tea"), asyncio.Event()
        working = asyncio.create_task(Worker(log, {"clerk": clerk(stuck)}).work(stop=stop, drain_s=0.0))
        await until(lambda: stuck.asked)
        stop.set()
        await asyncio.wait_for(working, 5)
        await Worker(log, {"clerk": clerk(None)}, clock=SimulatedClock()).work(until_idle=True)
        assert state_of(log, run_id).status is Status.COMPLETED
        error = only(log, run_id, MemoryRead).error
        assert error is not None
        assert "no memory any more" in error.message

    @pytest.mark.parametrize("late", ["remember", "recall"])
    async def test_what_tools_did_to_it_while_the_worker_leaves_is_recorded(self, log: MemoryLog, late: str) -> None:
        may = threading.Event()

        class Slow(Notes):
            def wait(self, what: str) -> None:
                may.wait(10)
                if what != late:
                    raise MemoryUnavailable("not now")
                time.sleep(0.05)

            def add(self, text: str, key: str) -> None:
                self.wait("remember")

            def search(self, query: str, limit: int) -> list[str]:
                if query != "go":
                    self.wait("recall")
                return [TEA]

        request = start_request("clerk", "go", None, None, None)
        asked = [Call("remember", text=TEA), Call("recall", query="tea")]
        loop = RunLoop(log, clerk(Slow(), asked, "done"), RunState(request.run_id), Guard(), SystemClock())
        loop.begin(request, accept=True)
        working = asyncio.create_task(loop.work())
        await until(lambda: types_of(log, request.run_id).count("tool_call.started") == 2)
        loop.leave(5.0)
        may.set()
        await asyncio.wait([working])
        did = "memory.written" if late == "remember" else "memory.read"
        assert types_of(log, request.run_id)[-4:] == ["tool_call.failed", did, "tool_call.completed", "run.suspended"]


CHECKOUT = Path(__file__).resolve().parents[2]
WORKER = """
import asyncio, sys, time
from pathlib import Path
from ledgent.agent import Agent, ScriptedModel
from ledgent.agent.worker import Worker
from ledgent.producers.sqlite import SqliteLog

class Stuck:
    name = "notes"
    def add(self, text, key):
        pass
    def search(self, query, limit):
        Path(sys.argv[2]).touch()
        time.sleep(60)

agent = Agent("clerk", ScriptedModel(["done"]), memory=Stuck())
asyncio.run(Worker(SqliteLog(Path(sys.argv[1])), {"clerk": agent}).work())
"""


@pytest.mark.slow
async def test_a_process_killed_while_it_reads_is_followed_by_one_that_reads_again(tmp_path: Path) -> None:
    log, looking = SqliteLog(tmp_path / "log.db"), tmp_path / "looking"
    run_id = await start_run(log, "clerk", "tea")
    command = [sys.executable, "-c", WORKER, str(log.path), str(looking)]
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT)
    async with asyncio.timeout(30):
        while not looking.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    notes = Notes()
    working = asyncio.create_task(Worker(log, {"clerk": clerk(notes)}).work())
    async with asyncio.timeout(30):
        while not state_of(log, run_id).ended:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait([working])
    assert notes.asked == ["tea"]
    kinds = types_of(log, run_id)
    assert kinds[2:5] == ["memory.read_started", "run.claimed", "memory.read_started"]
    assert (kinds.count("memory.read"), kinds[-1]) == (1, "run.completed")
    check_run(log, run_id)
    log.close()
