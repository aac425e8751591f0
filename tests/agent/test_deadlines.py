"""Deadlines: each that passes stops what it covers, and the failure says which it was."""

import asyncio
import socket
import time

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, OpenAIModel, RetryPolicy, ScriptedModel, Timeouts, tool
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import approve_call
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import ModelCallFailed, RunCompleted, RunLimited, ToolCallFailed
from ledgent.schemas.state import Status
from tests.agent.openai_calls import a_chunk, a_request, an_answer, error_of, serving
from tests.agent.raw_server import RawServer, events, streamed, whole
from tests.agent.recorded import events_of, go, only

ONCE = RetryPolicy(attempts=1)


def said(error: ErrorInfo) -> tuple[str, str | None, bool]:
    return error.code, error.deadline, error.retryable


class TestOverHttp:
    async def test_a_connection_that_does_not_come_about(self, log: MemoryLog) -> None:
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # what the kernel takes without anybody accepting
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        model = OpenAIModel("gpt-4o", base_url=url, timeouts=Timeouts(connect_s=0.1), retry=ONCE)
        try:
            result = await go(Agent("a", model), log)
        finally:
            await model.aclose()
            for each in (full, *waiting):
                each.close()
        error = only(log, result.run_id, ModelCallFailed).error
        assert said(error) == (ErrorCode.TIMEOUT, "connect", True)
        assert "no connection in time to 127.0.0.1" in error.message

    async def test_a_first_token_that_does_not_come(self) -> None:
        answer = streamed(0.5, events(a_chunk({"content": "hi"}, "stop"), "[DONE]"))
        error = await error_of(answer, stream=True, timeouts=Timeouts(first_token_s=0.05))
        assert said(error) == (ErrorCode.TIMEOUT, "first_token", True)
        assert "sent no first piece of its answer within 0.05 s" in error.message

    async def test_a_server_that_does_not_even_answer(self) -> None:
        error = await error_of([0.5], stream=True, timeouts=Timeouts(first_token_s=0.05))
        assert error.deadline == "first_token"

    async def test_a_stream_that_stands_still(self) -> None:
        answer = streamed(events(a_chunk({"content": "hi"})), 0.5, events(a_chunk({}, "stop"), "[DONE]"))
        error = await error_of(answer, stream=True, timeouts=Timeouts(between_tokens_s=0.05))
        assert said(error) == (ErrorCode.TIMEOUT, "between_tokens", True)
        assert "sent no further piece of its answer within 0.05 s" in error.message

    async def test_a_stream_whose_pieces_keep_coming_may_last(self) -> None:
        pieces = [step for _ in range(8) for step in (events(a_chunk({"content": "x"})), 0.03)]
        answer = streamed(*pieces, events(a_chunk({}, "stop"), "[DONE]"))
        async with serving(answer, stream=True, timeouts=Timeouts(first_token_s=0.1, between_tokens_s=0.2)) as (
            _,
            model,
        ):
            assert (await model.complete(a_request())).text == "x" * 8

    async def test_a_whole_call(self) -> None:
        error = await error_of([0.5, *whole(an_answer())], timeout_s=0.05)
        assert said(error) == (ErrorCode.TIMEOUT, "call", True)

    async def test_the_next_attempt_has_more_of_each(self, log: MemoryLog) -> None:
        answer = streamed(0.15, events(a_chunk({"content": "hi"}, "stop"), "[DONE]"))
        async with RawServer(answer) as server:
            retry = RetryPolicy(attempts=2, first_s=0)
            model = OpenAIModel(
                "gpt-4o", base_url=server.url, stream=True, retry=retry, timeouts=Timeouts(first_token_s=0.1)
            )
            result = await go(Agent("a", model), log)
            await model.aclose()
        assert result.output == "hi"
        assert [failed.error.deadline for failed in events_of(log, result.run_id, ModelCallFailed)] == ["first_token"]


class TestCalls:
    async def test_a_tool(self, log: MemoryLog) -> None:
        @tool(timeout_s=0.05)
        async def slow() -> None:
            """Sleeps."""
            await asyncio.sleep(5)

        result = await go(Agent("a", ScriptedModel([Call("slow"), "gave up"]), tools=[slow]), log)
        assert only(log, result.run_id, ToolCallFailed).error.deadline == "tool"

    @pytest.mark.parametrize(("limits", "of"), [(Limits(seconds=0.2), "run"), (Limits(step_seconds=0.2), "step")])
    async def test_a_model_call_is_stopped_by_the_limits_of_run_and_step(
        self, log: MemoryLog, limits: Limits, of: str
    ) -> None:
        result = await Agent("a", ScriptedModel(["late"], delay_s=5)).run("go", limits=limits, log=log)
        error = only(log, result.run_id, ModelCallFailed).error
        assert said(error) == (ErrorCode.TIMEOUT, of, True)
        assert error.message.endswith(f"the {of}'s time is up")
        assert result.limit == ("seconds" if of == "run" else "step_seconds")

    @pytest.mark.parametrize(("limits", "of"), [(Limits(seconds=0.3), "run"), (Limits(step_seconds=0.3), "step")])
    async def test_a_hung_tool_holds_the_run_no_longer(self, log: MemoryLog, limits: Limits, of: str) -> None:
        @tool
        def hangs() -> None:
            """In a thread, where nobody can stop it."""
            time.sleep(1)

        agent = Agent("a", ScriptedModel([Call("hangs"), "never"]), tools=[hangs])
        result = await asyncio.wait_for(agent.run("go", limits=limits, log=log), 0.9)
        assert only(log, result.run_id, ToolCallFailed).error.deadline == of
        assert (result.status, only(log, result.run_id, RunLimited).limit) == (
            Status.LIMITED,
            "seconds" if of == "run" else "step_seconds",
        )


class TestSteps:
    async def test_each_step_has_its_own_time(self, log: MemoryLog) -> None:
        @tool
        async def slow() -> str:
            """Takes a while."""
            await asyncio.sleep(0.1)
            return "ok"

        agent = Agent("a", ScriptedModel([Call("slow")] * 4 + ["done"]), tools=[slow], limits=Limits(step_seconds=0.3))
        result = await agent.run("go", log=log)
        assert result.output == "done"

    async def test_pauses_before_further_attempts_count(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("rate_limited", retry_after_s=60), "late")])
        result = await go(Agent("a", model, limits=Limits(step_seconds=5)), log)
        assert result.limit == "step_seconds"

    async def test_time_between_messages_does_not(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["one", "two"]), conversational=True, limits=Limits(step_seconds=0.2))
        async with agent.conversation(log=log) as chat:
            await chat.send("1")
            await asyncio.sleep(0.3)
            assert str(await chat.send("2")) == "two"

    async def test_nor_does_the_time_that_a_person_takes_to_allow_a_call(self, log: MemoryLog) -> None:
        @tool(approval=True)
        def pay() -> str:
            """Pays."""
            return "paid"

        agent = Agent("a", ScriptedModel([Call("pay"), "done"]), tools=[pay], limits=Limits(step_seconds=0.2))
        result = await agent.run("go", log=log)
        assert result.waits_for == "approval"
        await asyncio.sleep(0.3)
        await approve_call(log, result.run_id, "m1.t0")
        await Worker(log, {"a": agent}).work(until_idle=True)
        assert only(log, result.run_id, RunCompleted).output == "done"
