"""The ways to run an agent: here, from code that is not async, streamed, or by a worker."""

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from ledgent.agent import Agent, Call, Delta, Fail, Limits, Reply, RunResult, ScriptedModel, tool
from ledgent.agent.running import run_agent, start_request
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import MAX_RECORD_BYTES, Recorded
from ledgent.schemas.errors import ErrorCode, LogUnavailable, RecordTooLarge, UsageError
from ledgent.schemas.events import RunFailed, RunStarted
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, only, records_of, state_of, types_of, until


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def adder(**changes: object) -> Agent:
    agent = Agent("adder", ScriptedModel([Call("add", a=1, b=2), "It is 3."]), "Add.", [add])
    return agent.but(**changes)


class TestRun:
    async def test_a_run_calls_the_tools_that_the_model_asks_for_and_ends_with_its_answer(self, log: MemoryLog) -> None:
        result = await adder().run("1 + 2?", log=log)
        assert (result.status, result.output, str(result), result.ok) == (
            Status.COMPLETED,
            "It is 3.",
            "It is 3.",
            True,
        )
        assert (result.spent.steps, result.spent.tool_calls) == (2, 1)
        assert types_of(log, result.run_id) == [
            "run.claimed",
            "run.started",
            "model_call.started",
            "model_call.completed",
            "tool_call.started",
            "tool_call.completed",
            "model_call.started",
            "model_call.completed",
            "run.completed",
        ]

    async def test_each_record_names_the_one_that_it_follows_from(self, log: MemoryLog) -> None:
        result = await adder().run("1 + 2?", log=log)
        causes = [record.envelope.cause for record in records_of(log, result.run_id)]
        assert causes == [None, 1, 2, 3, 4, 5, 6, 7, 8]

    async def test_an_attempt_and_its_outcome_share_a_span_and_the_run_one_trace(self, log: MemoryLog) -> None:
        result = await adder().run("1 + 2?", log=log)
        envelopes = [record.envelope for record in records_of(log, result.run_id)]
        spans = [envelope.span_id for envelope in envelopes]
        run = spans[0]
        assert spans == [run, run, spans[2], spans[2], spans[4], spans[4], spans[6], spans[6], run]
        assert len(set(spans)) == 4
        assert {envelope.trace_id for envelope in envelopes} == {result.run_id.replace("-", "")}

    async def test_what_the_run_freezes_is_the_whole_agent_and_the_request(self, log: MemoryLog) -> None:
        agent = adder(limits=Limits(steps=9, tokens=100_000))
        result = await agent.run(
            "1 + 2?", log=log, limits=Limits(steps=5, seconds=60), session="s", labels={"colour": "blue"}
        )
        started = only(log, result.run_id, RunStarted)
        assert started.agent == agent.spec
        assert started.limits == Limits(steps=5, tokens=100_000, seconds=60)
        assert (started.input, started.session, started.labels) == ("1 + 2?", "s", {"colour": "blue"})

    async def test_the_state_in_hand_is_the_state_that_the_log_folds_to(self, log: MemoryLog) -> None:
        result = await adder().run("1 + 2?", log=log)
        state = state_of(log, result.run_id)
        assert (state.status, state.output, state.spent) == (result.status, result.output, result.spent)

    async def test_a_record_is_shown_once_it_is_durable(self, log: MemoryLog) -> None:
        shown: list[Recorded] = []

        def show(record: Recorded) -> None:
            assert record.seq <= len(list(log.records(record.run_id)))
            shown.append(record)

        result = await adder().run("1 + 2?", log=log, on_record=show)
        assert shown == records_of(log, result.run_id)

    async def test_an_outcome_rides_to_the_log_with_the_intents_that_follow_from_it(self, log: MemoryLog) -> None:
        batches: list[int] = []

        class CountingLog(MemoryLog):
            async def append(self, records, **options) -> None:  # type: ignore[no-untyped-def]
                batches.append(len(records))
                await super().append(records, **options)

        await adder().run("1 + 2?", log=CountingLog(log.storage))
        assert batches == [3, 2, 2, 2]

    async def test_many_runs_at_once_do_not_mix(self, log: MemoryLog) -> None:
        agent = Agent(
            "echo",
            ScriptedModel(
                lambda messages: (
                    Call("add", a=int(messages[0]["content"]), b=1) if len(messages) == 1 else messages[-1]["content"]
                )
            ),
            tools=[add],
        )
        results = await asyncio.gather(*(agent.run(str(n), log=log) for n in range(40)))
        assert [result.output for result in results] == [str(n + 1) for n in range(40)]

    async def test_a_run_knows_nothing_of_the_one_before_it(self, log: MemoryLog) -> None:
        agent = Agent(
            "counting", ScriptedModel(lambda messages: f"{len(messages)} {messages[-1]['content']}"), "Count."
        )
        first, second = await agent.run("a", log=log), await agent.run("b", log=log)
        assert (first.output, second.output) == ("2 a", "2 b")
        assert first.run_id != second.run_id
        assert (first.spent.steps, second.spent.steps) == (1, 1)

    async def test_a_run_in_a_file_is_there_when_the_file_is_opened_again(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/log.db"
        log = open_log(url)
        result = await adder().run("1 + 2?", log=log)
        log.close()
        log = open_log(url)
        check_run(log, result.run_id)
        assert state_of(log, result.run_id).output == "It is 3."
        log.close()

    async def test_a_failing_run_is_a_result_and_no_exception(self, log: MemoryLog) -> None:
        result = await adder(model=ScriptedModel([Fail("auth", "the key was refused")])).run("1 + 2?", log=log)
        assert (result.status, result.ok, result.output) == (Status.FAILED, False, None)
        assert result.error is not None
        assert (result.error.code, result.error.message) == (ErrorCode.AUTH, "the key was refused")
        assert types_of(log, result.run_id)[-2:] == ["model_call.failed", "run.failed"]

    async def test_a_closed_log_is_one_clear_error(self, tmp_path: Path) -> None:
        log = open_log(f"sqlite:///{tmp_path}/log.db")
        await adder().run("1 + 2?", log=log)
        log.close()
        with pytest.raises(LogUnavailable, match="has been closed"):
            await adder().run("1 + 2?", log=log)


class TestInput:
    async def test_an_input_that_is_no_text_is_refused(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError, match="is a text, not int"):
            await adder().run(3, log=log)  # type: ignore[arg-type]

    async def test_an_agent_that_is_not_conversational_needs_an_input(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError, match="needs an input"):
            await adder().run(None, log=log)

    async def test_a_submitted_run_without_an_input_fails_unless_it_is_a_conversation(self, log: MemoryLog) -> None:
        run_id = await adder().submit(None, log=log)
        await Worker(log, {"adder": adder()}).work(until_idle=True)
        assert only(log, run_id, RunFailed).error.code is ErrorCode.INVALID_REQUEST

    async def test_an_input_with_half_a_character_is_refused(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError, match="half a character"):
            await adder().run("\ud800", log=log)
        with pytest.raises(UsageError, match="half a character"):
            await adder().submit("\ud800", log=log)
        assert log.ends() == {0: -1}

    @pytest.mark.parametrize("size", [MAX_RECORD_BYTES + 1, MAX_RECORD_BYTES - 100])
    async def test_an_input_too_large_for_a_record_is_refused_before_anything_is_written(
        self, log: MemoryLog, size: int
    ) -> None:
        with pytest.raises(RecordTooLarge):
            await adder().run("x" * size, log=log)
        with pytest.raises(RecordTooLarge):
            await adder().submit("x" * size, log=log)
        assert log.ends() == {0: -1}
        assert await log.take(frozenset({"adder"}), 10, 0) == []

    async def test_an_input_that_fits_its_request_but_not_its_record_fails_the_run(self, log: MemoryLog) -> None:
        wordy = adder(instructions="y" * 500_000)
        run_id = await wordy.submit("x" * 500_000, log=log)
        await Worker(log, {"adder": wordy}).work(until_idle=True)
        assert only(log, run_id, RunFailed).error.code is ErrorCode.TOO_LARGE

    async def test_a_run_of_endless_seconds_cannot_be_asked_for(self) -> None:
        with pytest.raises(ValidationError):
            Limits(seconds=float("inf"))
        with pytest.raises((ValidationError, UsageError)):
            tool(timeout_s=float("inf"))(add.function)


class TestRunSync:
    def test_it_runs_without_an_event_loop(self, log: MemoryLog) -> None:
        assert adder().run_sync("1 + 2?", log=log).output == "It is 3."

    async def test_it_runs_inside_an_event_loop(self, log: MemoryLog) -> None:
        assert adder().run_sync("1 + 2?", log=log).output == "It is 3."

    async def test_it_raises_in_the_callers_thread(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError):
            adder().run_sync(None, log=log)

    def test_runs_of_many_threads_share_one_log(self, tmp_path: Path) -> None:
        log = open_log(f"sqlite:///{tmp_path}/log.db")

        async def many() -> list[RunResult]:
            return await asyncio.gather(*(asyncio.to_thread(adder().run_sync, "1 + 2?", log=log) for _ in range(8)))

        results = asyncio.run(many())
        assert [result.output for result in results] == ["It is 3."] * 8
        for result in results:
            check_run(log, result.run_id)
        log.close()


class TestStream:
    async def test_the_pieces_come_first_and_the_result_last(self, log: MemoryLog) -> None:
        model = ScriptedModel([Reply("one two three", reasoning="hm")], stream=True)
        pieces = [piece async for piece in Agent("a", model).stream("count", log=log)]
        result = pieces.pop()
        assert isinstance(result, RunResult)
        assert result.output == "one two three"
        deltas = [piece for piece in pieces if isinstance(piece, Delta)]
        assert len(deltas) == len(pieces) > 3
        assert "".join(delta.text for delta in deltas if delta.kind == "text") == "one two three"

    async def test_leaving_a_stream_early_hands_the_run_over(self, log: MemoryLog) -> None:
        model = ScriptedModel([Reply("one two three")], stream=True, delay_s=30)
        stream = Agent("a", model).stream("count", log=log)
        waiting = asyncio.ensure_future(anext(stream))
        await until(lambda: log.ends() == {0: 2})
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await stream.aclose()  # type: ignore[attr-defined]
        (run_id,) = log.run_ids()
        assert types_of(log, run_id)[-1] == "run.suspended"
        done = Agent("a", ScriptedModel([Reply("one two three")]))
        await Worker(log, {"a": done}).work(until_idle=True)
        assert state_of(log, run_id).output == "one two three"

    async def test_an_error_comes_out_of_the_stream(self, log: MemoryLog) -> None:
        with pytest.raises(UsageError):
            _ = [piece async for piece in adder().stream(None, log=log)]


class TestSubmit:
    async def test_a_submitted_run_is_done_by_a_worker(self, log: MemoryLog) -> None:
        run_id = await adder().submit("1 + 2?", log=log, labels={"by": "hand"})
        assert log.head(run_id) is None
        await Worker(log, {"adder": adder()}).work(until_idle=True)
        state = state_of(log, run_id)
        assert (state.status, state.output, state.labels) == (Status.COMPLETED, "It is 3.", {"by": "hand"})


class TestAgent:
    def test_a_name_must_fit_into_commands_and_labels(self) -> None:
        for name in ("", "two words", "a/b"):
            with pytest.raises(UsageError, match="name"):
                Agent(name, ScriptedModel([]))

    def test_two_tools_of_one_name_are_refused(self) -> None:
        with pytest.raises(UsageError, match="two tools"):
            Agent("a", ScriptedModel([]), tools=[add, add])

    def test_plain_functions_are_made_tools(self) -> None:
        def double(n: int) -> int:
            """Doubles."""
            return 2 * n

        assert [spec.name for spec in Agent("a", ScriptedModel([]), tools=[double]).spec.tools] == ["double"]

    async def test_the_spec_of_a_past_run_rules_its_continuation(self, log: MemoryLog) -> None:
        """A limit that was edited since does not reach into a run that has begun."""
        task = asyncio.create_task(
            run_agent(
                adder(model=ScriptedModel([Reply("late")], delay_s=30), limits=Limits(steps=7)),
                start_request("adder", "hi", None, None, None),
                log,
                None,
                None,
            )
        )
        await until(lambda: log.ends() == {0: 2})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (run_id,) = log.run_ids()
        edited = adder(model=ScriptedModel(["now"]), limits=Limits(steps=1), instructions="other")
        await Worker(log, {"adder": edited}).work(until_idle=True)
        state = state_of(log, run_id)
        assert (state.status, state.limits.steps) == (Status.COMPLETED, 7)
