"""The recovery table: what a run does after a model call has failed, code by code, and how an agent changes that."""

from pathlib import Path

import pytest

from ledgent.agent import Agent, Attempts, Fail, Recovery, RetryPolicy, ScriptedModel
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ModelCallFailed, RetryScheduled, RunFailed
from ledgent.schemas.recovery import RETRYABLE, TABLE, table_in_markdown
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, go, only, records_of
from tests.agent.test_model_calls import ModelOf

PAGE = Path(__file__).parents[2] / "docs" / "resilience.md"

PASSING = {
    *("rate_limited", "timeout", "connection", "server_error", "malformed_response", "tool_error", "circuit_open"),
}


def test_the_page_holds_the_table() -> None:
    assert table_in_markdown() in PAGE.read_text(), "take it from: ledgent schema recovery"


def test_every_code_has_a_row_with_a_remedy() -> None:
    assert TABLE.keys() == set(ErrorCode)
    assert all(row.remedy for row in TABLE.values())


@pytest.mark.parametrize("code", sorted(set(ErrorCode) - {ErrorCode.INTERRUPTED}))
async def test_each_code_is_recovered_from_as_its_row_says(log: MemoryLog, code: str) -> None:
    result = await go(Agent("a", ScriptedModel([Attempts(Fail(code), "hi")])), log)
    waits = events_of(log, result.run_id, RetryScheduled)
    if code in PASSING:
        assert (result.output, [wait.code for wait in waits]) == ("hi", [code])
    else:
        assert (only(log, result.run_id, RunFailed).error.code, waits) == (code, [])


def test_the_adapters_go_by_the_same_table() -> None:
    assert {code for code in RETRYABLE if code is not ErrorCode.INTERRUPTED} == PASSING
    assert Fail("timeout").error.retryable
    assert not Fail("auth").error.retryable


async def test_what_its_adapter_calls_hopeless_is_not_tried_again(log: MemoryLog) -> None:
    result = await go(Agent("a", ScriptedModel([Attempts(Fail("rate_limited", retryable=False), "hi")])), log)
    assert result.status is Status.FAILED


class TestRowsOfAnAgent:
    async def test_they_stop_where_it_would_be_made_again(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel([Attempts(Fail("timeout"), "hi")]), recovery=[stop("timeout")])
        result = await go(agent, log)
        assert (result.status, len(events_of(log, result.run_id, ModelCallFailed))) == (Status.FAILED, 1)

    async def test_they_make_it_again_where_the_adapter_sees_no_hope(self, log: MemoryLog) -> None:
        row = Recovery(code=ErrorCode.CONTENT_FILTERED, again="backoff")
        agent = Agent("a", ScriptedModel([Attempts(Fail("content_filtered"), "hi")]), recovery=[row])
        assert (await go(agent, log)).output == "hi"

    async def test_they_may_leave_out_the_pause(self, log: MemoryLog) -> None:
        row = Recovery(code=ErrorCode.MALFORMED_RESPONSE, again="at_once")
        agent = Agent("a", ScriptedModel([Attempts(Fail("malformed_response"), "hi")]), recovery=[row])
        result = await go(agent, log)
        assert (result.output, events_of(log, result.run_id, RetryScheduled)) == ("hi", [])

    async def test_other_codes_keep_theirs(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel([Attempts(Fail("connection"), "hi")]), recovery=[stop("timeout")])
        assert (await go(agent, log)).output == "hi"

    async def test_they_are_frozen_into_the_run(self, log: MemoryLog) -> None:
        agent = Agent("a", ScriptedModel(["hi"]), recovery=[stop("timeout")])
        result = await go(agent, log)
        started = next(r.event for r in records_of(log, result.run_id) if r.event.type == "run.started")
        assert started.agent.recovery == (stop("timeout"),)  # type: ignore[union-attr]

    def test_two_for_one_code_are_refused(self) -> None:
        with pytest.raises(UsageError, match="same code"):
            Agent("a", ScriptedModel(["hi"]), recovery=[stop("timeout"), stop("timeout")])


class TestLongerTimeOuts:
    async def timeouts(self, log: MemoryLog, *codes: str, recovery: tuple[Recovery, ...] = ()) -> list[float]:
        """The time that each attempt got whose predecessors failed so."""

        def answer(request: ModelRequest) -> ModelReply:
            if request.attempt <= len(codes):
                raise_failure(codes[request.attempt - 1])
            return ModelReply("hi")

        model = ModelOf(answer, timeout_s=10.0)
        model.spec = model.spec.model_copy(update={"retry": RetryPolicy(attempts=9)})
        await go(Agent("a", model, recovery=recovery), log)
        return [request.timeout_s for request in model.requests]

    async def test_an_attempt_has_twice_the_time_after_one_that_ran_out_of_it_within_a_bound(
        self, log: MemoryLog
    ) -> None:
        assert await self.timeouts(log, *["timeout"] * 4) == [10.0, 20.0, 40.0, 40.0, 40.0]

    async def test_other_failures_lengthen_nothing(self, log: MemoryLog) -> None:
        assert await self.timeouts(log, "connection", "timeout", "connection") == [10.0, 10.0, 20.0, 20.0]

    async def test_not_where_the_agent_says_otherwise(self, log: MemoryLog) -> None:
        row = Recovery(code=ErrorCode.TIMEOUT, again="backoff")
        assert await self.timeouts(log, "timeout", recovery=(row,)) == [10.0, 10.0]

    async def test_the_next_call_has_the_usual_time(self, log: MemoryLog) -> None:
        agent = Agent("a", model := ModelOf(lambda request: ModelReply("hi"), timeout_s=10.0), conversational=True)
        seen = model.requests

        def answer(request: ModelRequest) -> ModelReply:
            if len(seen) == 1:
                raise_failure("timeout")
            return ModelReply("hi")

        model._answer = answer
        async with agent.conversation(log=log) as chat:
            await chat.send("one")
            await chat.send("two")
        assert [request.timeout_s for request in seen] == [10.0, 20.0, 10.0]


def stop(code: str) -> Recovery:
    return Recovery(code=ErrorCode(code), again="never")


def raise_failure(code: str) -> None:
    from ledgent.agent.models.port import ModelFailure

    raise ModelFailure(Fail(code).error)
