"""Tools that begin while the model is still answering: real streams, held open by the server until the tool has run."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ledgent.agent import (
    Agent,
    AnthropicModel,
    Call,
    Delta,
    Fail,
    Limits,
    OpenAIModel,
    Reply,
    RetryPolicy,
    RunResult,
    ScriptedModel,
    ToolContext,
    tool,
)
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.scripted import Attempts
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import approve_call, cancel_run, send_message
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    RunFailed,
    RunStarted,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.state import Status
from tests.agent.models import anthropic_calls as anthropic
from tests.agent.openai_calls import a_call, a_chunk
from tests.agent.raw_server import RawServer, Step, events, streamed, torn, unframed
from tests.agent.recorded import events_of, only, records_of, state_of, types_of, until
from tests.agent.test_verify import rewritten

FAST = RetryPolicy(first_s=0.001)
DONE = streamed(events(a_chunk({"content": "done"}, "stop"), "[DONE]"))
END = events(a_chunk(finish="tool_calls"), "[DONE]")


def asks(number: int, name: str = "look", **arguments: Any) -> bytes:
    """A call in three pieces, as OpenAI streams it."""
    text = orjson.dumps(arguments or {"what": number}).decode()
    first = a_call(index=number, id=f"c{number}", type="function", name=name, arguments="")
    return events(first, *(a_call(index=number, arguments=piece) for piece in (text[:4], text[4:])))


class Looking:
    """A tool that says when it has been called, and another that waits until it may return."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.done = asyncio.Event()
        self.proceed = asyncio.Event()

    def tools(self, idempotent: bool = False) -> list[Any]:
        async def look(what: int | str) -> str:
            self.seen.append(what)
            self.done.set()
            return f"saw {what}"

        async def wait(what: int | str, context: ToolContext) -> str:
            self.seen.append(what)
            self.done.set()
            await self.proceed.wait()
            return f"waited for {what}"

        return [tool(look), tool(idempotent=idempotent)(wait)]


@pytest.fixture
def looking() -> Looking:
    return Looking()


def openai(server: RawServer, timeout_s: float = 5.0) -> OpenAIModel:
    return OpenAIModel("gpt-4o", base_url=server.url, api_key="sk-x", stream=True, retry=FAST, timeout_s=timeout_s)


async def gone_through(agent: Agent, log: MemoryLog, **options: Any) -> RunResult:
    try:
        return await asyncio.wait_for(agent.run("go", log=log, **options), 30)
    finally:
        await agent.live_model.aclose()


def at(log: MemoryLog, run_id: str, cls: type[Any], call_id: str) -> int:
    """The seq of the first such event of the call."""
    return next(r.seq for r in records_of(log, run_id) if isinstance(r.event, cls) and r.event.call_id == call_id)


def sent(server: RawServer, number: int) -> list[dict[str, Any]]:
    """The messages of a request, without the first, which is the user's."""
    return list(orjson.loads(server.seen[number].body)["messages"][1:])


class TestWhileItStreams:
    async def test_a_tool_returns_before_the_stream_ends(self, log: MemoryLog, looking: Looking) -> None:
        answer = streamed(events(a_chunk({"content": "I look."})) + asks(0), looking.done, END)
        async with RawServer(answer, DONE) as server:
            result = await gone_through(Agent("a", openai(server), tools=looking.tools()), log)
        assert result.output == "done"
        assert types_of(log, result.run_id)[2:] == [
            "model_call.started",
            "model_call.tool_requested",
            "tool_call.started",
            "tool_call.completed",
            "model_call.completed",
            "model_call.started",
            "model_call.completed",
            "run.completed",
        ]
        requested = only(log, result.run_id, ModelCallToolRequested)
        assert (requested.call_id, requested.attempt, requested.request.call_id) == ("m1", 1, "m1.t0")
        records = {type(record.event): record.envelope for record in reversed(records_of(log, result.run_id))}
        asked, told = records[ModelCallStarted], records[ModelCallToolRequested]
        assert (told.cause, told.span_id) == (asked.seq, asked.span_id)
        completed = events_of(log, result.run_id, ModelCallCompleted)[0]
        assert (completed.text, completed.tool_calls) == ("I look.", (requested.request,))
        assert sent(server, 1) == [
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {"id": "c0", "type": "function", "function": {"name": "look", "arguments": '{"what":0}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c0", "content": "saw 0"},
        ]

    async def test_so_it_does_in_the_anthropic_format(self, log: MemoryLog, looking: Looking) -> None:
        begun = [
            anthropic.a_start(input_tokens=5),
            *anthropic.a_text("I look."),
            anthropic.a_block(1, type="tool_use", id="toolu_1", name="look", input={}),
            anthropic.a_delta(1, type="input_json_delta", partial_json='{"what"'),
            anthropic.a_delta(1, type="input_json_delta", partial_json=": 7}"),
            {"type": "content_block_stop", "index": 1},
        ]
        end = anthropic.named_events(*anthropic.an_end("tool_use"))
        answer = streamed(anthropic.named_events(*begun), looking.done, end)
        done = anthropic.named_events(anthropic.a_start(), *anthropic.a_text("done"), *anthropic.an_end())
        async with RawServer(answer, streamed(done)) as server:
            model = AnthropicModel("claude-sonnet-4-5", base_url=server.url, api_key="sk-x", stream=True)
            result = await gone_through(Agent("a", model, tools=looking.tools()), log)
        assert (result.output, looking.seen) == ("done", [7])
        run_id = result.run_id
        assert at(log, run_id, ToolCallCompleted, "m1.t0") < at(log, run_id, ModelCallCompleted, "m1")

    async def test_each_of_two_calls_begins_once_it_is_whole(self, log: MemoryLog, looking: Looking) -> None:
        second = asyncio.Event()

        @tool
        async def last(what: int) -> str:
            second.set()
            return "last"

        answer = streamed(asks(0), looking.done, asks(1, "last"), second, END)
        async with RawServer(answer, DONE) as server:
            result = await gone_through(Agent("a", openai(server), tools=[*looking.tools(), last]), log)
        run_id = result.run_id
        assert result.output == "done"
        first_done, second_asked = (
            at(log, run_id, ToolCallCompleted, "m1.t0"),
            [record.seq for record in records_of(log, run_id) if isinstance(record.event, ModelCallToolRequested)][1],
        )
        assert first_done < second_asked < at(log, run_id, ToolCallCompleted, "m1.t1")
        assert at(log, run_id, ToolCallCompleted, "m1.t1") < at(log, run_id, ModelCallCompleted, "m1")
        assert [message["content"] for message in sent(server, 1)] == [None, "saw 0", "last"]

    async def test_a_tool_may_take_longer_than_the_stream(self, log: MemoryLog, looking: Looking) -> None:
        async with RawServer(streamed(asks(0, "wait"), looking.done, END), DONE) as server:
            result = await gone_through(
                Agent("a", openai(server), tools=looking.tools()),
                log,
                on_record=proceeding(looking, ModelCallCompleted),
            )
        run_id = result.run_id
        assert result.output == "done"
        assert at(log, run_id, ToolCallStarted, "m1.t0") < at(log, run_id, ModelCallCompleted, "m1")
        assert at(log, run_id, ModelCallCompleted, "m1") < at(log, run_id, ToolCallCompleted, "m1.t0")

    async def test_unknown_tools_and_invalid_arguments_are_rejected_at_once(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        answer = streamed(asks(0, "luck"), asks(1, "look", which=1), asks(2), looking.done, END)
        async with RawServer(answer, DONE) as server:
            result = await gone_through(Agent("a", openai(server), tools=looking.tools()), log)
        run_id = result.run_id
        reasons = [rejected.reason for rejected in events_of(log, run_id, ToolCallRejected)]
        assert (result.output, reasons) == ("done", ["unknown_tool", "invalid_arguments"])
        assert at(log, run_id, ToolCallRejected, "m1.t1") < at(log, run_id, ModelCallCompleted, "m1")

    async def test_a_stream_of_the_agent_tells_it_in_order(self, log: MemoryLog, looking: Looking) -> None:
        seen: list[str] = []

        @tool
        async def report(what: int, context: ToolContext) -> str:
            context.progress("half")
            looking.done.set()
            return "reported"

        def see(record: Recorded) -> None:
            seen.append(record.event.type)

        late = events(a_chunk({"content": "late"}))
        thought = events(a_chunk({"reasoning": "hm"}), a_chunk({"content": "I look."}))
        answer = streamed(thought + asks(0, "report"), looking.done, 0.05, late, END)
        async with RawServer(answer, DONE) as server:
            agent = Agent("a", openai(server), tools=[report])
            async for piece in agent.stream("go", log=log, on_record=see):
                if isinstance(piece, Delta) and piece.kind != "tool_arguments":
                    seen.append(f"{piece.call_id} {piece.kind}: {piece.text}")
            await agent.live_model.aclose()
        first = seen[3 : seen.index("model_call.completed") + 1]
        assert [each for each in first if not each.startswith("m1.t0 progress")] == [
            "m1 reasoning: hm",
            "m1 text: I look.",
            "model_call.tool_requested",
            "tool_call.started",
            "tool_call.completed",
            "m1 text: late",
            "model_call.completed",
        ]
        assert first.index("m1.t0 progress: half") < first.index("m1 text: late")


def proceeding(looking: Looking, cls: type[Any]) -> Callable[[Recorded], None]:
    """Lets the waiting tool go on once such an event is durable."""

    def see(record: Recorded) -> None:
        if isinstance(record.event, cls):
            looking.proceed.set()

    return see


class TestCutStreams:
    @pytest.mark.parametrize("cut", [torn, unframed])
    async def test_what_a_tool_returned_is_kept_and_it_is_not_called_again(
        self, log: MemoryLog, looking: Looking, cut: Callable[..., list[Step]]
    ) -> None:
        text = events(a_chunk({"content": "I lo"}))
        half = events(a_call(index=1, id="c1", name="look", arguments='{"wh'))
        again = streamed(asks(0, what="more"), END)
        async with RawServer(cut(text + asks(0), looking.done, half), again, DONE) as server:
            result = await gone_through(Agent("a", openai(server), tools=looking.tools()), log)
        run_id = result.run_id
        assert (result.output, looking.seen) == ("done", [0, "more"])
        failed = only(log, run_id, ModelCallFailed)
        assert (failed.error.code, failed.attempt) == (ErrorCode.CONNECTION, 1)
        assert [event.request.call_id for event in events_of(log, run_id, ModelCallToolRequested)] == ["m1.t0", "m1.t1"]
        asked = {"id": "c0", "type": "function", "function": {"name": "look", "arguments": '{"what":0}'}}
        kept = [
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": "c0", "content": "saw 0"},
        ]
        assert sent(server, 1) == kept
        assert sent(server, 2)[:2] == kept
        assert [message["content"] for message in sent(server, 2)[2:]] == [None, "saw more"]
        assert result.spent.steps == 2
        assert result.spent.tool_calls == 2

    async def test_the_next_attempt_waits_for_a_tool_that_is_still_at_work(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        async with RawServer(torn(asks(0, "wait"), looking.done), DONE) as server:
            result = await gone_through(
                Agent("a", openai(server), tools=looking.tools()), log, on_record=proceeding(looking, ModelCallFailed)
            )
        assert (result.output, looking.seen) == ("done", [0])
        assert types_of(log, result.run_id)[4:9] == [
            "tool_call.started",
            "model_call.failed",
            "tool_call.completed",
            "retry.scheduled",
            "timer.fired",
        ]
        assert [message["content"] for message in sent(server, 1)] == [None, "waited for 0"]

    async def test_a_failure_for_good_lets_the_tool_finish_and_begins_nothing(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        refused = events({"error": {"message": "no more", "code": "insufficient_quota"}})
        async with RawServer(streamed(asks(0, "wait"), looking.done, refused)) as server:
            result = await gone_through(
                Agent("a", openai(server), tools=looking.tools()), log, on_record=proceeding(looking, ModelCallFailed)
            )
        assert result.status is Status.FAILED
        assert only(log, result.run_id, RunFailed).error.code is ErrorCode.QUOTA_EXHAUSTED
        assert types_of(log, result.run_id)[-3:] == ["model_call.failed", "tool_call.completed", "run.failed"]

    async def test_nothing_is_tried_again_after_a_failure_for_good(self, log: MemoryLog, looking: Looking) -> None:
        @tool(idempotent=True, attempts=3)
        async def flaky() -> str:
            looking.seen.append("flaky")
            await looking.proceed.wait()
            raise OSError("no")

        model = ScriptedModel([Fail("auth", after=Reply(calls=[Call("flaky")]))], stream=True)
        agent = Agent("a", model, tools=[flaky])
        result = await agent.run("go", log=log, on_record=proceeding(looking, ModelCallFailed))
        assert (result.status, looking.seen) == (Status.FAILED, ["flaky"])
        assert types_of(log, result.run_id)[-3:] == ["model_call.failed", "tool_call.failed", "run.failed"]

    async def test_the_last_attempt_that_is_cut_fails_the_run(self, log: MemoryLog, looking: Looking) -> None:
        async with RawServer(torn(asks(0))) as server:
            result = await gone_through(Agent("a", openai(server), tools=looking.tools()), log)
        assert result.status is Status.FAILED
        attempts = RetryPolicy().attempts
        assert looking.seen == [0] * attempts
        ids = [event.call_id for event in events_of(log, result.run_id, ToolCallCompleted)]
        assert ids == [f"m1.t{number}" for number in range(attempts)]

    async def test_what_has_not_begun_is_dropped_with_the_answer(self, log: MemoryLog) -> None:
        paid = []

        @tool(approval=True)
        async def pay() -> str:
            paid.append(1)
            return "paid"

        @tool(ends_run=True)
        async def hang_up() -> str:
            paid.append(2)
            return "bye"

        cut = Fail("connection", after=Reply(calls=[Call("pay"), Call("hang_up"), Call("pa")]), retry_after_s=0)
        model = ScriptedModel([Attempts(cut, "never mind")], stream=True, retry=FAST)
        result = await Agent("a", model, tools=[pay, hang_up]).run("go", log=log)
        assert (result.output, paid) == ("never mind", [])
        (asked, told) = state_of(log, result.run_id).messages[1:3]
        assert [call.name for call in asked.tool_calls] == ["pa"]  # type: ignore[union-attr]
        assert "pay" in told.text  # type: ignore[union-attr]

    async def test_an_idempotent_tool_is_tried_again_as_ever(self, log: MemoryLog) -> None:
        tried = []

        @tool(idempotent=True, attempts=3)
        async def flaky() -> str:
            tried.append(1)
            if len(tried) < 3:
                raise OSError("no")
            return "at last"

        cut = Fail("connection", after=Reply(calls=[Call("flaky")]))
        model = ScriptedModel([Attempts(cut, "done")], stream=True, retry=FAST)
        result = await Agent("a", model, tools=[flaky]).run("go", log=log)
        assert (result.output, len(tried)) == ("done", 3)
        assert [event.attempt for event in events_of(log, result.run_id, ToolCallStarted)] == [1, 2, 3]


class TestWhatWaits:
    async def test_a_tool_that_needs_approval_waits_for_the_whole_answer(self, log: MemoryLog) -> None:
        @tool(approval=True)
        async def pay(usd: int) -> str:
            return f"paid {usd}"

        @tool
        async def look() -> str:
            return "looked"

        agent = Agent("a", ScriptedModel([[Call("pay", usd=1), Call("look")], "done"], stream=True), tools=[pay, look])
        result = await agent.run("go", log=log)
        assert result.waits_for == "approval"
        types = types_of(log, result.run_id)
        assert types.index("model_call.completed") < types.index("approval.requested") < types.index("run.suspended")
        assert types.index("tool_call.completed") > types.index("tool_call.started")
        assert types.index("tool_call.started") < types.index("model_call.completed")
        await approve_call(log, result.run_id, "m1.t0")
        await Worker(log, {"a": agent}).work(until_idle=True)
        assert state_of(log, result.run_id).output == "done"

    async def test_a_tool_that_ends_the_run_waits_for_the_whole_answer(self, log: MemoryLog) -> None:
        @tool(ends_run=True)
        async def hang_up() -> str:
            return "bye"

        agent = Agent("a", ScriptedModel([[Call("hang_up"), Call("hang")]], stream=True), tools=[hang_up])
        result = await agent.run("go", log=log)
        assert (result.status, result.output) == (Status.COMPLETED, "bye")
        assert at(log, result.run_id, ModelCallCompleted, "m1") < at(log, result.run_id, ToolCallStarted, "m1.t0")
        assert at(log, result.run_id, ToolCallRejected, "m1.t1") < at(log, result.run_id, ModelCallCompleted, "m1")

    @pytest.mark.parametrize("changes", [{"limits": Limits(repeats=3)}, {"policy": "react"}])
    async def test_where_the_whole_answer_is_looked_at_no_call_is_told_early(
        self, log: MemoryLog, looking: Looking, changes: dict[str, Any]
    ) -> None:
        model = ScriptedModel([Call("look", what=1), "done"], stream=True)
        result = await Agent("a", model, tools=looking.tools(), **changes).run("go", log=log)
        assert result.ok
        assert events_of(log, result.run_id, ModelCallToolRequested) == []

    async def test_a_call_beyond_the_limit_ends_the_run_once_the_answer_is_whole(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        model = ScriptedModel([[Call("look", what=1), Call("look", what=2)]], stream=True)
        result = await Agent("a", model, tools=looking.tools(), limits=Limits(tool_calls=1)).run("go", log=log)
        assert (result.limit, looking.seen) == ("tool_calls", [1])
        types = types_of(log, result.run_id)
        assert types.index("tool_call.started") < types.index("model_call.completed")
        assert types[-1] == "run.limited"

    async def test_an_answer_that_is_not_what_it_was_made_of_is_malformed(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        class Lying(ScriptedModel):
            async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
                if request.attempt == 1:
                    on_call(AskedTool("c", "look", '{"what": 0}'))
                return await super().complete(request, on_delta)

        model = Lying([Attempts(Call("look", what=1), "done")], stream=True, retry=FAST)
        result = await Agent("a", model, tools=looking.tools()).run("go", log=log)
        assert (result.output, looking.seen) == ("done", [0])
        assert only(log, result.run_id, ModelCallFailed).error.code is ErrorCode.MALFORMED_RESPONSE


class TestVerification:
    """A run whose tools began early, written down otherwise than it happened."""

    async def streamed_run(self) -> tuple[MemoryLog, str]:
        log, looking = MemoryLog(), Looking()
        model = ScriptedModel([[Call("look", what=1), Call("look", what=2)], "done"], stream=True)
        return log, (await Agent("a", model, tools=looking.tools()).run("go", log=log)).run_id

    async def test_a_request_where_calls_wait_for_the_whole_answer_is_named(self) -> None:
        log, run_id = await self.streamed_run()
        started = only(log, run_id, RunStarted)
        bounded = started.model_copy(update={"limits": Limits(repeats=3)})
        certificate = verify(await rewritten(log, run_id, seq=2, event=bounded), run_id)
        seq = next(r.seq for r in records_of(log, run_id) if isinstance(r.event, ModelCallToolRequested))
        assert (certificate.verdict, certificate.seq) == ("diverged", seq)
        assert "wait for the whole answer" in (certificate.reason or "")

    async def test_a_requested_call_that_is_not_made_is_named(self) -> None:
        log, run_id = await self.streamed_run()
        seq = at(log, run_id, ToolCallStarted, "m1.t0")
        made_up = ToolCallCompleted(call_id="m1.t0", result="made up", duration_ms=1)
        assert verify(await rewritten(log, run_id, seq=seq, event=made_up), run_id).verdict == "diverged"

    async def test_a_request_of_no_call_is_broken(self) -> None:
        log, run_id = await self.streamed_run()
        requested = events_of(log, run_id, ModelCallToolRequested)[0]
        seq = at(log, run_id, ModelCallStarted, "m1")
        certificate = verify(await rewritten(log, run_id, seq=seq, event=requested), run_id)
        assert (certificate.verdict, certificate.seq) == ("broken", seq)


class TestInterruptions:
    async def test_a_cancel_stops_the_model_and_the_tool(self, log: MemoryLog, looking: Looking) -> None:
        async with RawServer(streamed(asks(0, "wait"), 30.0)) as server:
            running = asyncio.create_task(gone_through(Agent("a", openai(server), tools=looking.tools()), log))
            await until(looking.done.is_set)
            (run_id,) = log.run_ids()
            await cancel_run(log, run_id, "enough")
            result = await running
        assert result.status is Status.CANCELLED
        assert only(log, run_id, ModelCallFailed).error.code is ErrorCode.CANCELLED
        assert only(log, run_id, ToolCallFailed).error.code is ErrorCode.CANCELLED

    async def test_the_runs_time_ends_both(self, log: MemoryLog, looking: Looking) -> None:
        async with RawServer(streamed(asks(0, "wait"), 30.0)) as server:
            limits = Limits(seconds=0.3)
            result = await gone_through(Agent("a", openai(server), tools=looking.tools(), limits=limits), log)
        assert result.limit == "seconds"
        codes = [only(log, result.run_id, cls).error.code for cls in (ModelCallFailed, ToolCallFailed)]
        assert codes == [ErrorCode.TIMEOUT] * 2

    @pytest.mark.parametrize("idempotent", [False, True])
    @pytest.mark.parametrize("dies", [False, True])
    async def test_another_process_goes_on_from_the_middle_of_a_stream(
        self, log: MemoryLog, looking: Looking, dies: bool, idempotent: bool
    ) -> None:
        """The first call has returned, the second is at work, and the stream goes on."""
        mortal = MemoryLog(log.storage)
        answer = streamed(asks(0), looking.done, asks(1, "wait", what="long"), 30.0)
        async with RawServer(answer, DONE) as server:
            first = Agent("a", openai(server), tools=looking.tools(idempotent))
            running = asyncio.create_task(first.run("go", log=mortal))
            await until(lambda: looking.seen == [0, "long"])
            (run_id,) = log.run_ids()
            if dies:
                mortal.close()
            else:
                running.cancel()
                await asyncio.wait([running])
            elsewhere = Looking()  # what a process that died had called never returns there
            elsewhere.seen = looking.seen
            elsewhere.proceed.set()
            second = Agent("a", openai(server), tools=elsewhere.tools(idempotent))
            await Worker(MemoryLog(log.storage), {"a": second}).work(until_idle=True)
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            await first.live_model.aclose()
            await second.live_model.aclose()
        assert state_of(log, run_id).output == "done"
        assert only(log, run_id, ModelCallFailed).error.code is ErrorCode.INTERRUPTED
        assert looking.seen == [0, "long", *(["long"] if idempotent else [])]
        told = "waited for long" if idempotent else only(log, run_id, ToolCallUncertain).message
        assert [message["content"] for message in sent(server, 1)] == [None, "saw 0", told]

    async def test_calls_that_were_told_of_while_the_run_was_handed_over_are_asked_for_anew(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        class Telling(ScriptedModel):
            """Tells of a call in the very moment in which it is stopped."""

            async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
                on_call(AskedTool("c0", "look", '{"what": 0}'))
                try:
                    await asyncio.sleep(30)
                finally:
                    on_call(AskedTool("c1", "look", '{"what": 1}'))
                    on_call(AskedTool("c2", "look", '{"what": 2}'))
                raise AssertionError

        agent = Agent("a", Telling([], stream=True), tools=looking.tools())
        running = asyncio.create_task(agent.run("go", log=log))
        await until(lambda: "tool_call.completed" in [t for run in log.run_ids() for t in types_of(log, run)])
        running.cancel()
        await asyncio.wait([running])
        (run_id,) = log.run_ids()
        assert types_of(log, run_id)[-3:] == ["model_call.tool_requested"] * 2 + ["run.suspended"]
        assert verify(log, run_id).ok
        model = ScriptedModel([[Call("look", what="anew")], "done"], stream=True)
        await Worker(log, {"a": agent.but(model=model)}).work(until_idle=True)
        assert looking.seen == [0, "anew"]
        started = [event.call_id for event in events_of(log, run_id, ToolCallStarted)]
        assert started == ["m1.t0", "m1.t3"]

    async def test_a_hand_over_may_end_with_outcomes_that_nothing_follows_from(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        @tool
        async def stubborn() -> str:
            looking.done.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return "returned all the same"
            return ""

        class Failing(ScriptedModel):
            """Is stopped in the very moment in which it fails for good."""

            async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
                on_call(AskedTool("c0", "stubborn", "{}"))
                await looking.done.wait()
                on_call(AskedTool("c1", "stubborn", "{}"))
                running.cancel()
                raise ModelFailure(ErrorInfo(code=ErrorCode.AUTH, message="no"))

        agent = Agent("a", Failing([], stream=True), tools=[stubborn])
        running = asyncio.create_task(agent.run("go", log=log))
        await asyncio.wait([running])
        (run_id,) = log.run_ids()
        assert types_of(log, run_id)[-4:] == [
            "model_call.tool_requested",
            "model_call.failed",
            "tool_call.completed",
            "run.suspended",
        ]
        assert verify(log, run_id).ok
        await Worker(log, {"a": agent}).work(until_idle=True)
        assert state_of(log, run_id).status is Status.FAILED

    async def test_a_message_that_comes_meanwhile_is_told_after_the_results(
        self, log: MemoryLog, looking: Looking
    ) -> None:
        async with RawServer(streamed(asks(0, "wait"), looking.proceed, END), DONE) as server:
            agent = Agent("a", openai(server), tools=looking.tools(), conversational=True)
            running = asyncio.create_task(gone_through(agent, log))
            await until(looking.done.is_set)
            (run_id,) = log.run_ids()
            await send_message(log, run_id, "and?")
            await until(lambda: "message.received" in types_of(log, run_id))
            looking.proceed.set()
            assert (await running).output == "done"
        assert [message["role"] for message in sent(server, 1)] == ["assistant", "tool", "user"]
