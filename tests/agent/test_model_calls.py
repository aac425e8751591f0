"""Model calls in a run: each attempt, wait and failure is an event of its own."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, RetryPolicy, ScriptedModel, tool
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.prices import Price
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.codec import MAX_TEXT_BYTES
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import ModelCallCompleted, ModelCallFailed, ModelCallStarted, RetryScheduled
from ledgent.schemas.state import Status
from ledgent.schemas.values import Usage
from tests.agent.recorded import events_of, go, only, records_of, types_of
from tests.simulation.clock import SimulatedClock


class ModelOf:
    """A model made of one function."""

    def __init__(self, answer: Callable[[ModelRequest], object], timeout_s: float = 60.0) -> None:
        self.requests: list[ModelRequest] = []
        self.spec = ModelSpec(provider="test", name="of-a-function", timeout_s=timeout_s)
        self._answer = answer

    def priced(self) -> bool:
        return False

    async def aclose(self) -> None: ...

    async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
        self.requests.append(request)
        answer = self._answer(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert isinstance(answer, ModelReply)
        return answer


class TestRequests:
    async def test_the_log_keeps_the_digest_of_the_very_bytes_that_were_sent(self, log: MemoryLog) -> None:
        model = ModelOf(lambda request: ModelReply("hi"))
        result = await go(Agent("a", model, "Be brief."), log, "hello ü")
        (request,) = model.requests
        started = only(log, result.run_id, ModelCallStarted)
        assert started.request_digest == hashlib.sha256(request.body).hexdigest()
        assert (started.call_id, started.attempt, started.provider, started.model) == ("m1", 1, "test", "of-a-function")
        assert json.loads(request.body) == {
            "model": "of-a-function",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello ü"}],
        }

    async def test_each_request_goes_on_from_the_last_with_calls_and_their_answers(self, log: MemoryLog) -> None:
        @tool
        async def add(a: int, b: int) -> int:
            """Adds."""
            return a + b

        def answer(request: ModelRequest) -> ModelReply:
            asked = (AskedTool("id-1", "add", '{"a":1,"b":2}'), AskedTool("id-1", "add", '{"a":3,"b":4}'))
            return ModelReply(None, asked) if request.call_id == "m1" else ModelReply("3 and 7")

        model = ModelOf(answer)
        await go(Agent("a", model, tools=[add]), log, "add")
        first, second = (json.loads(request.body) for request in model.requests)
        assert first["tools"] == second["tools"]
        assert first["tools"][0]["function"]["name"] == "add"
        assert second["messages"] == [
            *first["messages"],
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "id-1", "type": "function", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}},
                    {"id": "id-1", "type": "function", "function": {"name": "add", "arguments": '{"a":3,"b":4}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "id-1", "content": "3"},
            {"role": "tool", "tool_call_id": "id-1", "content": "7"},
        ]

    async def test_a_retried_call_sends_the_same_request(self, log: MemoryLog) -> None:
        def answer(request: ModelRequest) -> ModelReply:
            if request.attempt == 1:
                raise ModelFailure(ErrorInfo(code=ErrorCode.SERVER_ERROR, message="500", retryable=True))
            return ModelReply("hi")

        model = ModelOf(answer)
        await go(Agent("a", model), log)
        first, second = model.requests
        assert (first.body, first.call_id, first.attempt) == (second.body, "m1", 1)
        assert (second.call_id, second.attempt) == ("m1", 2)


class TestAnswers:
    async def test_everything_that_is_known_of_an_answer_is_recorded(self, log: MemoryLog) -> None:
        usage = Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=2)
        reply = ModelReply("hi", (), "hm", usage, 0.25, "stop", "model-1", "id-1", 12.5)
        result = await go(Agent("a", ModelOf(lambda request: reply)), log)
        completed = only(log, result.run_id, ModelCallCompleted)
        assert completed == ModelCallCompleted(
            call_id="m1",
            text="hi",
            reasoning="hm",
            usage=usage,
            cost_usd=0.25,
            finish_reason="stop",
            model="model-1",
            response_id="id-1",
            first_token_ms=12.5,
            duration_ms=completed.duration_ms,
        )
        assert completed.duration_ms > 0
        assert (result.spent.tokens, result.spent.cached_tokens, result.spent.cost_usd) == (15, 4, 0.25)

    async def test_over_long_text_and_reasoning_are_cut(self, log: MemoryLog) -> None:
        long = '"\n' * MAX_TEXT_BYTES
        result = await go(Agent("a", ScriptedModel([Reply(long, reasoning=long)])), log)
        completed = only(log, result.run_id, ModelCallCompleted)
        assert completed.cut is not None
        assert completed.cut.size == len(long)
        assert result.output == completed.text
        assert len(json.dumps(completed.text)) < MAX_TEXT_BYTES * 1.01
        assert completed.reasoning is not None
        assert len(completed.reasoning) < MAX_TEXT_BYTES

    async def test_a_full_record_of_text_reasoning_and_calls_still_fits(self, log: MemoryLog) -> None:
        long = "ü" * MAX_TEXT_BYTES
        call = Call.raw("nothing", json.dumps({"a": '"' * 50_000}))
        result = await go(Agent("a", ScriptedModel([Reply(long, [call], reasoning=long), "done"])), log)
        assert result.output == "done"

    @pytest.mark.parametrize(
        "reply",
        [
            ModelReply("a\ud800"),
            ModelReply(None, reasoning="\udfff"),
            ModelReply("x", model="\ud800", response_id="\ud800", finish_reason="\ud800"),
        ],
        ids=["text", "reasoning", "names"],
    )
    async def test_half_a_character_in_an_answer_does_not_stop_the_run(self, log: MemoryLog, reply: ModelReply) -> None:
        result = await go(Agent("a", ModelOf(lambda request: reply)), log)
        assert result.status is Status.COMPLETED

    async def test_an_answer_without_text_completes_the_run(self, log: MemoryLog) -> None:
        result = await go(Agent("a", ScriptedModel([Reply(None)])), log)
        assert (result.status, result.output) == (Status.COMPLETED, None)


class TestRetries:
    async def test_a_failure_that_may_pass_is_waited_out_and_the_call_made_again(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("rate_limited"), Fail("timeout"), "hi")])
        clock = SimulatedClock()
        result = await go(Agent("a", model), log, clock=clock)
        assert result.output == "hi"
        assert types_of(log, result.run_id) == [
            "run.claimed",
            "run.started",
            *["model_call.started", "model_call.failed", "retry.scheduled", "timer.fired"] * 2,
            "model_call.started",
            "model_call.completed",
            "run.completed",
        ]
        retries = events_of(log, result.run_id, RetryScheduled)
        assert [(retry.attempt, retry.code) for retry in retries] == [
            (2, ErrorCode.RATE_LIMITED),
            (3, ErrorCode.TIMEOUT),
        ]
        assert (result.spent.steps, result.spent.retries) == (1, 2)

    async def test_each_pause_is_drawn_up_to_a_bound_that_doubles(self, log: MemoryLog) -> None:
        retry = RetryPolicy(attempts=6, first_s=1.0, max_s=5.0)
        model = ScriptedModel([Attempts(*[Fail("server_error")] * 5, "hi")], retry=retry)
        clock = SimulatedClock(seed=3)
        result = await go(Agent("a", model), log, clock=clock)
        assert clock.drawn == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 5.0), (0.0, 5.0)]
        delays = [event.delay_s for event in events_of(log, result.run_id, RetryScheduled)]
        assert len(set(delays)) == 5
        assert all(least <= delay <= most for delay, (least, most) in zip(delays, clock.drawn, strict=True))

    async def test_the_pause_is_as_long_as_was_recorded(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("server_error", retry_after_s=7.0), "hi")])
        result = await go(Agent("a", model), log)
        records = {record.event.type: record for record in records_of(log, result.run_id)}
        waited = records["timer.fired"].at - records["retry.scheduled"].at
        assert 7.0 <= waited.total_seconds() < 7.1

    async def test_the_pause_that_the_other_side_asked_for_is_kept(self, log: MemoryLog) -> None:
        retry = RetryPolicy(first_s=0.5, max_s=2.0)
        fails = [Fail("rate_limited", retry_after_s=9.0), Fail("rate_limited", retry_after_s=0.5)]
        clock = SimulatedClock()
        await go(Agent("a", ScriptedModel([Attempts(*fails, "hi")], retry=retry)), log, clock=clock)
        assert clock.drawn == [(9.0, 9.0), (0.5, 1.0)]

    async def test_an_absurd_pause_does_not_break_the_run(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("rate_limited", retry_after_s=1e300), "hi")])
        clock = SimulatedClock()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(go(Agent("a", model), log, clock=clock), 0.05)
        assert clock.drawn == [(86_400.0, 86_400.0)]

    async def test_thousands_of_attempts_do_not_break_the_arithmetic(self, log: MemoryLog) -> None:
        retry = RetryPolicy(attempts=1_200, first_s=0.001, max_s=0.001)
        model = ScriptedModel([Attempts(*[Fail("server_error")] * 1_100, "hi")], retry=retry)
        assert (await go(Agent("a", model), log)).output == "hi"

    async def test_it_is_given_up_after_the_last_attempt(self, log: MemoryLog) -> None:
        model = ScriptedModel([Fail("server_error", "500")], retry=RetryPolicy(attempts=3))
        result = await go(Agent("a", model), log)
        assert result.status is Status.FAILED
        assert result.error is not None
        assert result.error.message == "500"
        assert [event.attempt for event in events_of(log, result.run_id, ModelCallFailed)] == [1, 2, 3]
        assert len(events_of(log, result.run_id, RetryScheduled)) == 2

    @pytest.mark.parametrize("code", ["auth", "quota_exhausted", "invalid_request", "context_overflow"])
    async def test_a_failure_that_will_not_pass_fails_the_run_at_once(self, log: MemoryLog, code: str) -> None:
        result = await go(Agent("a", ScriptedModel([Fail(code)])), log)
        assert types_of(log, result.run_id)[-2:] == ["model_call.failed", "run.failed"]
        assert events_of(log, result.run_id, RetryScheduled) == []

    async def test_what_a_failed_attempt_used_up_counts(self, log: MemoryLog) -> None:
        def answer(request: ModelRequest) -> ModelReply:
            if request.attempt == 1:
                error = ErrorInfo(code=ErrorCode.CONNECTION, message="cut", retryable=True)
                raise ModelFailure(error, Usage(input_tokens=7, output_tokens=1), 0.5)
            return ModelReply("hi", usage=Usage(input_tokens=7, output_tokens=2), cost_usd=0.75)

        result = await go(Agent("a", ModelOf(answer)), log)
        assert (result.spent.tokens, result.spent.cost_usd) == (17, 1.25)

    async def test_a_retry_counts_as_no_step(self, log: MemoryLog) -> None:
        model = ScriptedModel([Attempts(Fail("timeout"), Fail("timeout"), "hi")])
        result = await go(Agent("a", model), log, limits=Limits(steps=1))
        assert (result.status, result.spent.steps) == (Status.COMPLETED, 1)


class TestDefects:
    async def test_a_defect_of_the_adapter_fails_the_run_and_is_recorded(self, log: MemoryLog) -> None:
        def answer(request: ModelRequest) -> object:
            raise ZeroDivisionError("oops")

        result = await go(Agent("a", ModelOf(answer)), log)
        assert result.error is not None
        assert (result.error.code, result.error.message) == (
            ErrorCode.INTERNAL,
            "the model adapter raised ZeroDivisionError: oops",
        )

    async def test_an_adapter_that_keeps_no_time_out_is_stopped_all_the_same(self, log: MemoryLog) -> None:
        async def never() -> None:
            await asyncio.sleep(30)

        model = ModelOf(lambda request: never(), timeout_s=0.01)
        model.spec = model.spec.model_copy(update={"retry": RetryPolicy(attempts=1)})
        result = await asyncio.wait_for(go(Agent("a", model), log), 5)
        assert result.error is not None
        assert result.error.code is ErrorCode.TIMEOUT

    async def test_an_adapter_that_was_itself_cancelled_fails_and_does_not_hang_the_run(self, log: MemoryLog) -> None:
        def answer(request: ModelRequest) -> object:
            raise asyncio.CancelledError

        result = await asyncio.wait_for(go(Agent("a", ModelOf(answer)), log), 5)
        assert result.error is not None
        assert result.error.code is ErrorCode.INTERNAL

    async def test_an_overlong_error_is_cut(self, log: MemoryLog) -> None:
        result = await go(Agent("a", ScriptedModel([Fail("auth", "x" * 100_000)])), log)
        assert result.error is not None
        assert len(result.error.message) == 8_000


class TestPrices:
    async def test_the_cost_is_counted_by_the_models_price(self, log: MemoryLog) -> None:
        price = Price(input=2.0, output=8.0)
        usage = Usage(input_tokens=1_000_000, output_tokens=500_000)
        result = await go(Agent("a", ScriptedModel([Reply("hi", usage=usage)], price=price)), log)
        assert result.spent.cost_usd == pytest.approx(6.0)
