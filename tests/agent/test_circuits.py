"""Circuits: calls that keep failing are refused for a while, in every run of the process and in other workers."""

import asyncio
from typing import Any

import pytest

from ledgent.agent import (
    Agent,
    Call,
    CircuitPolicy,
    Fail,
    OpenAIModel,
    RetryPolicy,
    ScriptedModel,
    ToolError,
    tool,
)
from ledgent.agent.clock import SystemClock
from ledgent.agent.resilience.breaker import Circuit, Named
from ledgent.agent.resilience.shared import follow, shared_of
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog, MemoryStorage
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import ModelCallFailed, ModelFellBack, RetryScheduled, RunFailed, ToolCallFailed
from ledgent.schemas.state import Status
from ledgent.schemas.system_events import CircuitClosed, CircuitHalfOpened, CircuitOpened, decode_system
from tests.agent.raw_server import RawServer, whole
from tests.agent.recorded import events_of, go, only, until
from tests.simulation.clock import SimulatedClock

POLICY = CircuitPolicy(calls=4, rate=0.5, window_s=60, open_s=30)
ONCE = RetryPolicy(attempts=1)
FAILED = ErrorCode.SERVER_ERROR


def announced(log: MemoryLog) -> list[Any]:
    return [decode_system(each.stored).event for each in log.announced(None, 100)]


class TestOne:
    def fed(self, *outcomes: bool, apart_s: float = 1.0) -> tuple[Circuit, list[object]]:
        """A circuit, and the changes that calls with these outcomes brought, each so much later than the last."""
        circuit = Circuit("model:p/m", POLICY)
        changes = [circuit.settled(number * apart_s, None if ok else FAILED) for number, ok in enumerate(outcomes)]
        return circuit, [change for change in changes if change is not None]

    def test_it_opens_once_enough_calls_were_made_and_enough_of_them_failed(self) -> None:
        assert self.fed(False, False, False)[1] == []
        assert self.fed(True, True, True, False)[1] == []
        circuit, changes = self.fed(True, True, False, False)
        assert changes == [CircuitOpened(circuit="model:p/m", calls=4, failures=2, open_s=30, reason=FAILED)]
        assert circuit.refused_s(3.0) == 30.0
        assert circuit.refused_s(13.0) == 20.0

    def test_what_has_left_the_window_counts_no_more(self) -> None:
        assert self.fed(False, False, False, False, apart_s=30.0)[1] == []
        assert len(self.fed(False, False, False, False, apart_s=10.0)[1]) == 1

    def test_one_call_at_a_time_is_let_through_to_see(self) -> None:
        circuit, _ = self.fed(*[False] * 4)
        assert circuit.refused_s(33.0) is None
        assert circuit.state == "half_open"
        assert circuit.refused_s(33.0) == 30.0
        circuit.unsettled()
        assert circuit.refused_s(34.0) is None

    def test_its_success_closes_it_and_its_failure_opens_it_again(self) -> None:
        circuit, _ = self.fed(*[False] * 4)
        assert circuit.refused_s(33.0) is None
        assert isinstance(circuit.settled(34.0, FAILED, probe=True), CircuitOpened)
        assert circuit.refused_s(63.0) == 1.0
        assert circuit.refused_s(64.0) is None
        assert circuit.settled(65.0, None, probe=True) == CircuitClosed(circuit="model:p/m")
        assert circuit.refused_s(65.0) is None
        assert circuit.settled(66.0, FAILED) is None, "it begins to count anew"

    def test_calls_that_began_before_it_opened_change_nothing(self) -> None:
        circuit, _ = self.fed(*[False] * 4)
        assert circuit.settled(5.0, None) is None
        assert circuit.refused_s(33.0) is None
        assert circuit.settled(33.0, FAILED) is None
        assert circuit.state == "half_open"

    def test_its_memory_is_bounded(self) -> None:
        circuit, _ = self.fed(*[True] * 20_000, apart_s=0.01)
        assert len(circuit._buckets) <= 11


def failing(code: str = "server_error", name: str = "first", retry: RetryPolicy = ONCE) -> ScriptedModel:
    return ScriptedModel(lambda _: Fail(code), name=name, retry=retry, circuit=POLICY)


class TestModels:
    async def test_a_call_that_is_refused_is_not_made_and_says_for_how_long(self, log: MemoryLog) -> None:
        async with RawServer(whole({"error": "x"}, 500)) as server:
            model = OpenAIModel("gpt-4o", base_url=server.url, circuit=POLICY, retry=ONCE)
            for _ in range(5):
                result = await go(Agent("a", model), log)
            await model.aclose()
            assert len(server.seen) == 4
        failed = only(log, result.run_id, ModelCallFailed)
        assert (failed.error.code, failed.error.retryable) == (ErrorCode.CIRCUIT_OPEN, True)
        assert failed.error.retry_after_s == pytest.approx(30.0, abs=1.0)
        (opened,) = announced(log)
        assert (opened.circuit, opened.failures, opened.reason) == (f"model:openai/gpt-4o@{server.url}", 4, FAILED)

    async def test_without_a_fallback_the_run_waits_and_goes_on_once_calls_succeed(self, log: MemoryLog) -> None:
        asked: list[int] = []

        def turn(_: object) -> Any:
            asked.append(1)
            return Fail("server_error") if len(asked) <= 4 else "hi"

        model = ScriptedModel(turn, circuit=POLICY, retry=RetryPolicy(attempts=9, first_s=0.01, max_s=0.01))
        result = await go(Agent("a", model), log, clock=SimulatedClock())
        assert (result.output, len(asked)) == ("hi", 5)
        waits = events_of(log, result.run_id, RetryScheduled)
        assert [wait.code for wait in waits] == [FAILED] * 4 + [ErrorCode.CIRCUIT_OPEN]
        assert waits[-1].delay_s == pytest.approx(30.0, abs=1.0)
        assert [type(event) for event in announced(log)] == [CircuitOpened, CircuitHalfOpened, CircuitClosed]

    async def test_with_a_fallback_the_run_does_not_wait(self, log: MemoryLog) -> None:
        for _ in range(4):
            await go(Agent("a", failing()), log)
        patient = failing(retry=RetryPolicy(attempts=9))
        result = await go(Agent("a", patient, fallbacks=[ScriptedModel(["hi"], name="second")]), log)
        assert (result.output, events_of(log, result.run_id, RetryScheduled)) == ("hi", [])
        assert only(log, result.run_id, ModelFellBack).reason is ErrorCode.CIRCUIT_OPEN

    @pytest.mark.parametrize("code", ["rate_limited", "auth", "invalid_request", "content_filtered"])
    async def test_what_is_not_the_services_fault_opens_nothing(self, log: MemoryLog, code: str) -> None:
        for _ in range(6):
            await go(Agent("a", failing(code)), log)
        assert announced(log) == []

    async def test_other_models_and_other_logs_are_not_affected(self, log: MemoryLog) -> None:
        for _ in range(4):
            await go(Agent("a", failing()), log)
        assert (await go(Agent("a", ScriptedModel(["hi"], name="other", circuit=POLICY)), log)).output == "hi"
        assert (await go(Agent("a", ScriptedModel(["hi"], name="first", circuit=POLICY)), MemoryLog())).output == "hi"
        refused = await go(Agent("a", ScriptedModel(["hi"], name="first", circuit=POLICY, retry=ONCE)), log)
        assert refused.status is Status.FAILED

    async def test_a_call_let_through_that_is_broken_off_lets_another_through(self, log: MemoryLog) -> None:
        class Slow:
            """Never answers."""

            spec = failing().spec

            def priced(self) -> bool:
                return False

            async def complete(self, *_: object) -> Any:
                await asyncio.sleep(60)

            async def aclose(self) -> None: ...

        circuit = shared_of(log).circuits.get(Named("model:scripted/first", POLICY))
        circuit.heard_open(0.0)
        task = asyncio.create_task(go(Agent("a", Slow()), log))
        await until(lambda: circuit.state == "half_open")
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert circuit.refused_s(1e9) is None


class TestTools:
    async def run(self, log: MemoryLog, *tools: Any) -> Any:
        """A run that calls these in turn."""
        return await go(
            Agent(
                "a", ScriptedModel([*(Call(each.spec.name) for each in tools), "ok"]), tools=list(dict.fromkeys(tools))
            ),
            log,
        )

    async def test_tools_of_one_service_share_a_circuit(self, log: MemoryLog) -> None:
        called = []

        @tool(service="crm", circuit=POLICY)
        def look() -> None:
            """Looks."""
            called.append("look")
            raise ConnectionError("down")

        @tool(service="crm", circuit=POLICY)
        def save() -> str:
            """Saves."""
            called.append("save")
            return "saved"

        result = await self.run(log, look, look, look, look, save)
        assert called == ["look"] * 4
        error = events_of(log, result.run_id, ToolCallFailed)[-1].error
        assert (error.code, result.output) == (ErrorCode.CIRCUIT_OPEN, "ok")
        assert error.message.startswith("not called: ")
        assert [event.circuit for event in announced(log)] == ["service:crm"]

    async def test_a_tool_has_one_of_its_own_only_where_it_asks_for_it(self, log: MemoryLog) -> None:
        @tool(circuit=POLICY)
        def guarded() -> None:
            """Fails."""
            raise ConnectionError("down")

        @tool
        def plain() -> None:
            """Fails."""
            raise ConnectionError("down")

        await self.run(log, *[plain] * 6)
        assert announced(log) == []
        await self.run(log, *[guarded] * 6)
        assert [event.circuit for event in announced(log)] == ["tool:a/guarded"]

    async def test_what_a_tool_tells_the_model_is_no_failure_of_its_service(self, log: MemoryLog) -> None:
        @tool(service="crm", circuit=POLICY)
        def look() -> None:
            """Finds nothing."""
            raise ToolError("no such customer")

        await self.run(log, *[look] * 6)
        assert announced(log) == []


class TestOtherWorkers:
    async def hearing(self, storage: MemoryStorage) -> MemoryLog:
        """Another process's log, once it has heard what was announced."""
        other = MemoryLog(storage)
        task = asyncio.create_task(follow(other, other.writer, SystemClock()))
        await asyncio.sleep(0.05)
        task.cancel()
        return other

    async def test_they_refuse_too_until_it_would_be_tried_again(self, log: MemoryLog) -> None:
        for _ in range(4):
            await go(Agent("a", failing()), log)
        other = await self.hearing(log.storage)
        result = await Agent("a", failing(name="first")).run("go", log=other)
        error = only(log, result.run_id, ModelCallFailed).error
        assert error.code is ErrorCode.CIRCUIT_OPEN
        assert error.retry_after_s == pytest.approx(30.0, abs=2.0)

    async def test_they_make_calls_again_once_one_has_found_that_it_works(self, log: MemoryLog) -> None:
        await log.announce(CircuitOpened(circuit="model:scripted/first", calls=9, failures=9, open_s=30, reason=FAILED))
        await log.announce(CircuitClosed(circuit="model:scripted/first"))
        other = await self.hearing(log.storage)
        model = ScriptedModel(["hi"], name="first", circuit=POLICY)
        assert (await Agent("a", model).run("go", log=other)).output == "hi"

    async def test_what_was_announced_long_ago_counts_no_more(self, log: MemoryLog) -> None:
        await log.announce(
            CircuitOpened(circuit="model:scripted/first", calls=9, failures=9, open_s=0.5, reason=FAILED)
        )
        await asyncio.sleep(0.6)
        other = await self.hearing(log.storage)
        model = ScriptedModel(["hi"], name="first", circuit=POLICY, retry=ONCE)
        assert (await Agent("a", model).run("go", log=other)).output == "hi"

    @pytest.mark.slow
    async def test_a_worker_follows_by_itself(self, log: MemoryLog) -> None:
        agent = Agent("a", failing())
        working = asyncio.create_task(Worker(MemoryLog(log.storage), {"a": agent}).work())
        await asyncio.sleep(0.05)
        await log.announce(CircuitOpened(circuit="model:scripted/first", calls=9, failures=9, open_s=30, reason=FAILED))
        await asyncio.sleep(1.2)
        run_id = await agent.submit("go", log=log)
        await until(lambda: events_of(log, run_id, RunFailed))
        working.cancel()
        assert only(log, run_id, ModelCallFailed).error.code is ErrorCode.CIRCUIT_OPEN
