"""Tool calls in a run: what the model is told, what is recorded, what is made again and what is not."""

import asyncio
import sys
import threading
import time
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Reply, RunResult, ScriptedModel, Tool, ToolContext, ToolError, tool
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import MAX_TEXT_BYTES
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import (
    ModelCallFailed,
    RetryScheduled,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
)
from ledgent.schemas.state import Status, ToolResult
from tests.agent.recorded import events_of, go, only, records_of, state_of, types_of


def agent_with(*tools: Tool, calls: list[Call]) -> Agent:
    """An agent whose model asks for the calls, then answers "done"."""
    return Agent("caller", ScriptedModel([calls, "done"]), tools=tools)


async def run_one(log: MemoryLog, made: Tool, arguments: str = "{}") -> RunResult:
    return await go(agent_with(made, calls=[Call.raw(made.spec.name, arguments)]), log)


def told(log: MemoryLog, run_id: str) -> list[str]:
    """What the model was told of its calls."""
    return [message.text for message in state_of(log, run_id).messages if isinstance(message, ToolResult)]


class TestResults:
    async def test_the_result_is_recorded_and_told(self, log: MemoryLog) -> None:
        @tool
        async def look() -> dict[str, int]:
            return {"a": 1}

        result = await run_one(log, look)
        completed = only(log, result.run_id, ToolCallCompleted)
        assert (completed.call_id, completed.attempt, completed.result, completed.whole) == (
            "m1.t0",
            1,
            '{"a":1}',
            None,
        )
        assert completed.duration_ms >= 0
        assert told(log, result.run_id) == ['{"a":1}']

    async def test_a_tool_knows_run_call_and_key(self, log: MemoryLog) -> None:
        seen: list[ToolContext] = []

        @tool
        async def look(context: ToolContext) -> None:
            seen.append(context)

        result = await run_one(log, look)
        assert seen == [ToolContext(result.run_id, "m1.t0", f"{result.run_id}/m1.t0")]
        assert only(log, result.run_id, ToolCallStarted).idempotency_key == seen[0].idempotency_key

    async def test_half_a_character_in_a_result_does_not_stop_the_run(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            return "a\ud800b"

        result = await run_one(log, look)
        assert told(log, result.run_id) == ["a?b"]

    async def test_a_tool_that_ends_the_run_gives_its_output(self, log: MemoryLog) -> None:
        @tool(ends_run=True)
        async def hand_in(answer: str) -> str:
            return f"handed in: {answer}"

        result = await run_one(log, hand_in, '{"answer": "42"}')
        assert (result.status, result.output) == (Status.COMPLETED, "handed in: 42")
        assert types_of(log, result.run_id)[-2:] == ["tool_call.completed", "run.completed"]

    async def test_a_tool_that_ends_the_run_lets_its_siblings_settle(self, log: MemoryLog) -> None:
        @tool(ends_run=True)
        async def hand_in() -> str:
            return "handed in"

        @tool
        async def slow() -> str:
            await asyncio.sleep(0.02)
            return "slow"

        agent = agent_with(hand_in, slow, calls=[Call("hand_in"), Call("slow")])
        result = await go(agent, log)
        assert result.output == "handed in"
        assert told(log, result.run_id) == ["handed in", "slow"]

    async def test_a_tool_that_ends_the_run_but_fails_does_not_end_it(self, log: MemoryLog) -> None:
        @tool(ends_run=True)
        async def hand_in() -> str:
            raise ToolError("not yet")

        assert (await run_one(log, hand_in)).output == "done"


class TestErrors:
    async def test_the_text_of_a_tool_error_is_told_exactly(self, log: MemoryLog) -> None:
        text = "Error: no such order\n  (try  #W1)  "

        @tool
        async def look() -> str:
            raise ToolError(text)

        result = await run_one(log, look)
        failed = only(log, result.run_id, ToolCallFailed)
        assert (failed.error.code, failed.error.message, failed.error.retryable) == (ErrorCode.TOOL_ERROR, text, False)
        assert told(log, result.run_id) == [text]
        assert result.output == "done"

    async def test_an_over_long_tool_error_is_cut(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            raise ToolError("x" * MAX_TEXT_BYTES * 2)

        result = await run_one(log, look)
        failed = only(log, result.run_id, ToolCallFailed)
        assert failed.cut is not None
        assert failed.cut.size == MAX_TEXT_BYTES * 2
        assert told(log, result.run_id) == [failed.error.message]

    @pytest.mark.parametrize(
        "raised",
        [ValueError("bad"), KeyError("x"), TimeoutError("its own"), ExceptionGroup("g", [ValueError("a")])],
    )
    async def test_any_other_exception_is_told_with_its_type(self, log: MemoryLog, raised: Exception) -> None:
        @tool
        async def look() -> str:
            raise raised

        result = await run_one(log, look)
        (text,) = told(log, result.run_id)
        assert text == f"look raised {type(raised).__name__}: {raised}"
        assert only(log, result.run_id, ToolCallFailed).error.code is ErrorCode.TOOL_ERROR

    async def test_a_huge_exception_text_is_cut(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            raise ValueError("\ud800" + "x" * 10_000_000)

        result = await run_one(log, look)
        assert len(told(log, result.run_id)[0]) < 10_000

    @pytest.mark.parametrize("threaded", [False, True])
    async def test_a_tool_that_wants_to_end_the_process_fails_instead(self, log: MemoryLog, threaded: bool) -> None:
        def leave_now() -> str:
            sys.exit("usage: ...")

        async def leave() -> str:
            sys.exit("usage: ...")

        made = tool(name="leave")(leave_now if threaded else leave)
        result = await run_one(log, made)
        assert told(log, result.run_id) == ["leave raised SystemExit: usage: ..."]
        assert result.output == "done"

    @pytest.mark.parametrize("threaded", [False, True])
    async def test_a_tool_that_was_itself_cancelled_fails_and_does_not_hang_the_run(
        self, log: MemoryLog, threaded: bool
    ) -> None:
        def give_up_now() -> str:
            raise asyncio.CancelledError

        async def give_up() -> str:
            task = asyncio.ensure_future(asyncio.sleep(10))
            task.cancel()
            await task
            return ""

        made = tool(name="give_up")(give_up_now if threaded else give_up)
        result = await asyncio.wait_for(run_one(log, made), 5)
        assert told(log, result.run_id)[0].startswith("give_up raised CancelledError")
        assert result.output == "done"


class TestRejections:
    async def test_an_unknown_tool_is_answered_with_the_nearest_names(self, log: MemoryLog) -> None:
        @tool
        async def get_order() -> str:
            return ""

        @tool
        async def cancel_order() -> str:
            return ""

        agent = agent_with(get_order, cancel_order, calls=[Call("get_orders"), Call("xyz")])
        result = await go(agent, log)
        near, far = events_of(log, result.run_id, ToolCallRejected)
        assert (near.reason, near.name) == ("unknown_tool", "get_orders")
        assert near.suggestions[0] == "get_order"
        assert near.message.startswith("There is no tool named 'get_orders'. Did you mean get_order")
        assert far.message == "There is no tool named 'xyz'. The tools are: get_order, cancel_order."
        assert told(log, result.run_id) == [near.message, far.message]
        assert events_of(log, result.run_id, ToolCallStarted) == []

    async def test_an_agent_without_tools_says_so(self, log: MemoryLog) -> None:
        result = await go(agent_with(calls=[Call("look")]), log)
        assert told(log, result.run_id) == ["There is no tool named 'look'. The tools are: none."]

    @pytest.mark.parametrize("arguments", ['{"n": "x"}', "{", '{"n": 1, "m": 2}', ""])
    async def test_invalid_arguments_are_answered_and_the_tool_is_not_called(
        self, log: MemoryLog, arguments: str
    ) -> None:
        called = []

        @tool
        async def look(n: int) -> None:
            called.append(n)

        result = await run_one(log, look, arguments)
        rejected = only(log, result.run_id, ToolCallRejected)
        assert rejected.reason == "invalid_arguments"
        assert told(log, result.run_id) == [rejected.message]
        assert called == []

    async def test_a_huge_key_in_the_arguments_is_not_told_in_full(self, log: MemoryLog) -> None:
        @tool
        async def look(n: int = 1) -> None: ...

        result = await run_one(log, look, '{"' + "k" * 200_000 + '": 1}')
        assert len(told(log, result.run_id)[0]) <= 8_000

    @pytest.mark.parametrize(
        "calls",
        [
            [Call.raw("look", '"' * 250_000)],
            [Call.raw("look", "\x01" * 200_000)],
            [Call("look")] * 9_000,
            [Call("n" * 300_000)],
            [Call.raw("look", "x" * 300_000)],
        ],
        ids=["quotes", "control characters", "many", "a long name", "long"],
    )
    async def test_calls_too_large_for_a_record_fail_the_model_call(self, log: MemoryLog, calls: list[Call]) -> None:
        @tool
        async def look() -> None: ...

        result = await go(agent_with(look, calls=calls), log)
        assert only(log, result.run_id, ModelCallFailed).error.code is ErrorCode.TOO_LARGE
        assert result.status is Status.FAILED

    async def test_a_long_unknown_name_is_answered_quickly_and_briefly(self, log: MemoryLog) -> None:
        @tool
        async def look() -> None: ...

        began = time.monotonic()
        result = await go(agent_with(look, calls=[Call("ü" * 30_000)]), log)
        assert time.monotonic() - began < 2
        assert len(told(log, result.run_id)[0]) < 1_000

    async def test_half_a_character_in_a_call_is_answered(self, log: MemoryLog) -> None:
        @tool
        async def look(text: str) -> str:
            return text

        result = await go(agent_with(look, calls=[Call.raw("look", '{"text": "\ud800"}')]), log)
        assert told(log, result.run_id) == ["?"]


class TestTimeOuts:
    async def test_an_async_tool_is_stopped_at_its_time_out(self, log: MemoryLog) -> None:
        stopped = []

        @tool(timeout_s=0.01)
        async def look() -> str:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                stopped.append(True)
                raise
            return ""

        result = await run_one(log, look)
        failed = only(log, result.run_id, ToolCallFailed)
        assert (failed.error.code, failed.error.message) == (
            ErrorCode.TIMEOUT,
            "look did not return within 0.01 s and was given up",
        )
        assert stopped == [True]
        assert result.output == "done"

    async def test_a_tool_in_a_thread_is_left_behind_at_its_time_out(self, log: MemoryLog) -> None:
        proceed = threading.Event()

        @tool(timeout_s=0.01)
        def look() -> str:
            proceed.wait(5)
            return "too late"

        result = await run_one(log, look)
        assert only(log, result.run_id, ToolCallFailed).error.code is ErrorCode.TIMEOUT
        proceed.set()
        assert result.output == "done"


class Flaky:
    """Fails the first times, then returns what attempt and key it saw."""

    def __init__(self, failures: int, raised: Exception) -> None:
        self.keys: list[str] = []
        self._failures = failures
        self._raised = raised

    def tool(self, **options: Any) -> Tool:
        async def look(context: ToolContext) -> str:
            self.keys.append(context.idempotency_key)
            if len(self.keys) <= self._failures:
                raise self._raised
            return f"attempt {len(self.keys)}"

        return tool(**options)(look)


class TestRetries:
    async def test_an_idempotent_tool_is_called_again_with_the_same_key(self, log: MemoryLog) -> None:
        flaky = Flaky(2, ConnectionError("reset"))
        result = await run_one(log, flaky.tool(idempotent=True, attempts=3))
        assert flaky.keys == [f"{result.run_id}/m1.t0"] * 3
        assert told(log, result.run_id) == ["attempt 3"]
        assert [event.attempt for event in events_of(log, result.run_id, ToolCallStarted)] == [1, 2, 3]
        retries = events_of(log, result.run_id, RetryScheduled)
        assert [(retry.call_id, retry.attempt, retry.code) for retry in retries] == [
            ("m1.t0", 2, ErrorCode.TOOL_ERROR),
            ("m1.t0", 3, ErrorCode.TOOL_ERROR),
        ]
        assert (result.spent.tool_calls, result.spent.retries) == (1, 2)

    async def test_it_is_given_up_after_its_attempts_and_the_model_is_told(self, log: MemoryLog) -> None:
        flaky = Flaky(9, ConnectionError("reset"))
        result = await run_one(log, flaky.tool(idempotent=True, attempts=2))
        assert len(flaky.keys) == 2
        assert told(log, result.run_id) == ["look raised ConnectionError: reset"]
        assert result.output == "done"

    async def test_a_tool_that_is_not_idempotent_is_called_once(self, log: MemoryLog) -> None:
        flaky = Flaky(1, ConnectionError("reset"))
        result = await run_one(log, flaky.tool())
        assert len(flaky.keys) == 1
        assert events_of(log, result.run_id, RetryScheduled) == []

    async def test_a_tool_error_is_an_answer_and_not_retried(self, log: MemoryLog) -> None:
        flaky = Flaky(1, ToolError("no"))
        result = await run_one(log, flaky.tool(idempotent=True, attempts=3))
        assert len(flaky.keys) == 1
        assert told(log, result.run_id) == ["no"]

    async def test_a_time_out_of_an_idempotent_tool_is_retried(self, log: MemoryLog) -> None:
        calls = []

        @tool(idempotent=True, attempts=2, timeout_s=0.02)
        async def look() -> str:
            calls.append(1)
            if len(calls) == 1:
                await asyncio.sleep(10)
            return "ok"

        result = await run_one(log, look)
        assert told(log, result.run_id) == ["ok"]
        assert only(log, result.run_id, RetryScheduled).code is ErrorCode.TIMEOUT


class TestParallel:
    async def test_calls_of_one_answer_overlap_and_are_told_in_the_order_asked(self, log: MemoryLog) -> None:
        running, most = 0, 0
        met = asyncio.Event()

        def waiting(name: str, delay_s: float) -> Tool:
            async def look() -> str:
                nonlocal running, most
                running += 1
                most = max(most, running)
                if running == 3:
                    met.set()
                await asyncio.wait_for(met.wait(), 5)
                await asyncio.sleep(delay_s)
                running -= 1
                return name

            return tool(name=name)(look)

        tools = [waiting("a", 0.03), waiting("b", 0.015), waiting("c", 0.0)]
        result = await go(agent_with(*tools, calls=[Call("a"), Call("b"), Call("c")]), log)
        assert most == 3
        assert [event.call_id for event in events_of(log, result.run_id, ToolCallCompleted)] == [
            "m1.t2",
            "m1.t1",
            "m1.t0",
        ]
        assert told(log, result.run_id) == ["a", "b", "c"]

    async def test_tools_in_threads_overlap_too(self, log: MemoryLog) -> None:
        barrier = threading.Barrier(3, timeout=5)

        @tool
        def look() -> str:
            barrier.wait()
            return "met"

        result = await go(agent_with(look, calls=[Call("look")] * 3), log)
        assert told(log, result.run_id) == ["met"] * 3

    async def test_one_that_fails_does_not_stop_the_others(self, log: MemoryLog) -> None:
        @tool
        async def fail() -> str:
            raise ValueError("bad")

        @tool
        async def slow() -> str:
            await asyncio.sleep(0.01)
            return "slow"

        agent = agent_with(fail, slow, calls=[Call("slow"), Call("fail"), Call("nobody"), Call("slow")])
        result = await go(agent, log)
        first, second, third, fourth = told(log, result.run_id)
        assert (first, second, fourth) == ("slow", "fail raised ValueError: bad", "slow")
        assert third.startswith("There is no tool")

    async def test_all_intents_are_durable_before_the_first_call_begins(self, log: MemoryLog) -> None:
        seen: list[list[str]] = []

        class SlowLog(MemoryLog):
            """Takes its time to commit."""

            async def append(self, records, **options) -> None:  # type: ignore[no-untyped-def]
                await asyncio.sleep(0.005)
                await super().append(records, **options)

        @tool
        async def look(context: ToolContext) -> None:
            started = [event.call_id for event in events_of(log, context.run_id, ToolCallStarted)]
            seen.append(started)

        await go(agent_with(look, calls=[Call("look")] * 3), SlowLog(log.storage))
        assert seen == [["m1.t0", "m1.t1", "m1.t2"]] * 3

    async def test_a_call_waiting_for_its_retry_does_not_hold_up_its_siblings(self, log: MemoryLog) -> None:
        flaky = Flaky(1, ConnectionError("reset"))

        @tool
        async def quick() -> str:
            return "quick"

        agent = agent_with(
            flaky.tool(idempotent=True, attempts=2), quick, calls=[Call("look"), Call("quick"), Call("look")]
        )
        result = await go(agent, log)
        assert told(log, result.run_id)[1] == "quick"
        assert len(flaky.keys) == 3
        assert result.output == "done"

    async def test_each_answer_of_the_model_numbers_its_calls_anew(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            return ""

        model = ScriptedModel([[Call("look"), Call("look")], [Call("look")], "done"])
        result = await go(Agent("a", model, tools=[look]), log)
        assert [event.call_id for event in events_of(log, result.run_id, ToolCallStarted)] == [
            "m1.t0",
            "m1.t1",
            "m2.t0",
        ]
        spans = {record.envelope.span_id for record in records_of(log, result.run_id)}
        assert len(spans) == 1 + 3 + 3


class TestText:
    async def test_what_the_model_says_beside_its_calls_stays_in_the_history(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            return ""

        model = ScriptedModel([Reply("Let me look.", [Call("look")]), Attempts("done")])
        result = await go(Agent("a", model, tools=[look]), log)
        assert [getattr(message, "text", None) for message in state_of(log, result.run_id).messages] == [
            "go",
            "Let me look.",
            "",
            "done",
        ]
