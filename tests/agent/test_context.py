"""Runs that outgrow their model's window: less is sent, nothing is lost, and all of it is in the log."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import JsonValue

from ledgent.agent import (
    Agent,
    AnthropicModel,
    Attempts,
    Call,
    Fail,
    Limits,
    OpenAIModel,
    Reply,
    RetryPolicy,
    RunResult,
    ScriptedModel,
    Summarize,
    Trim,
    tool,
)
from ledgent.agent.commands import AskSummary, CallModel, Record
from ledgent.agent.decide import decide
from ledgent.agent.models.resolve import model_for
from ledgent.agent.models.scripted import Turn
from ledgent.agent.render import Renderer
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.agent.writing import RunWriter
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import (
    AnyEvent,
    ContextSummarized,
    ModelCallCompleted,
    ModelCallStarted,
    RunClaimed,
    RunStarted,
    ToolCallCompleted,
    ToolCallStarted,
)
from ledgent.schemas.requests import CancelRun, StartRun
from ledgent.schemas.run import replay
from ledgent.schemas.sent import room_in
from ledgent.schemas.state import RunState, Status, User
from ledgent.schemas.values import ToolRequest
from tests.agent.narrow_server import NOTES, NarrowServer
from tests.schemas.chain import SPEC
from tests.simulation.clock import SimulatedClock

ROUNDS = 40
WINDOW = 1_500
TASK = "Count all shelves, one after the other."
Api = Literal["openai", "anthropic"]


@tool
async def count(shelf: int) -> str:
    """Counts what is on a shelf.

    Args:
        shelf: The shelf's number.
    """
    return f"On shelf {shelf} there are {'boxes and jars, ' * 20}and nothing else."


def events_of(log: MemoryLog, run_id: str) -> list[AnyEvent]:
    return [decode(stored).event for stored in log.records(run_id)]


def folded(log: MemoryLog, run_id: str) -> RunState:
    return replay(run_id, log.records(run_id)).state


def checked(log: MemoryLog, result: RunResult) -> list[AnyEvent]:
    """The run's events, once they have been found whole and decided again."""
    certificate = verify(log, result.run_id)
    assert certificate.ok, certificate
    state = folded(log, result.run_id)
    assert (state.status, state.spent) == (result.status, result.spent)
    return events_of(log, result.run_id)


async def scripted(*turns: Turn, input: str = TASK, **options: Any) -> tuple[RunResult, list[AnyEvent]]:
    model = {"context_window": 400, "retry": RetryPolicy(attempts=2, first_s=0), **options.pop("model", {})}
    log = MemoryLog()
    agent = Agent("clerk", ScriptedModel(turns, **model), tools=[count], **options)
    result = await agent.run(input, log=log)
    return result, checked(log, result)


def long_run(rounds: int = 8) -> list[Turn]:
    return [*[Call("count", shelf=n) for n in range(rounds)], "done"]


def kinds(events: list[AnyEvent]) -> Counter[str]:
    return Counter(event.type for event in events)


@pytest.mark.parametrize("api", ["openai", "anthropic"])
class TestServersThatRefuse:
    """Over HTTP, with the providers' own words."""

    @pytest.mark.parametrize("policy", [Trim(), Summarize()])
    async def test_with_a_known_window_no_request_is_refused(self, api: Api, policy: Trim | Summarize) -> None:
        log = MemoryLog()
        async with NarrowServer(api, WINDOW, ROUNDS) as server:
            model = server.model(context_window=WINDOW)
            agent = Agent("clerk", model, tools=[count], context=policy)
            result = await agent.run(TASK, log=log, limits=Limits(steps=100))
            await model.aclose()
        assert (result.output, result.spent.steps) == ("done", ROUNDS + 1), result
        assert server.refused == []
        assert server.largest > WINDOW * 0.6, "a window that is never nearly full shows nothing"
        assert result.spent.cost_usd == pytest.approx(server.billed_usd)
        events = checked(log, result)
        assert sum(event.cost_usd or 0 for event in events if isinstance(event, ModelCallCompleted)) == pytest.approx(
            server.billed_usd
        )
        reduced = kinds(events)["context.summarized" if isinstance(policy, Summarize) else "context.trimmed"]
        assert 2 <= reduced < ROUNDS / 3, "less is sent at once, and not a little less at each step"
        assert len(server.summaries) == (reduced if isinstance(policy, Summarize) else 0)
        assert all(TASK in str(request["messages"]) for request in server.taken)
        assert len(folded(log, result.run_id).messages) == 2 * ROUNDS + 2

    @pytest.mark.parametrize("policy", [Trim(), Summarize()])
    async def test_with_an_unknown_window_what_is_refused_is_sent_again_with_less(
        self, api: Api, policy: Trim | Summarize
    ) -> None:
        log = MemoryLog()
        async with NarrowServer(api, WINDOW, ROUNDS) as server:
            model = server.model()
            agent = Agent("clerk", model, tools=[count], context=policy)
            result = await agent.run(TASK, log=log, limits=Limits(steps=100))
            await model.aclose()
        assert (result.output, result.spent.steps) == ("done", ROUNDS + 1), result
        assert server.refused
        reduced = kinds(checked(log, result))
        assert len(server.refused) <= reduced["context.trimmed"] + reduced["context.summarized"] < ROUNDS / 3

    async def test_a_window_that_is_smaller_than_it_is_said_to_be_is_found_out(self, api: Api) -> None:
        log = MemoryLog()
        async with NarrowServer(api, WINDOW, 15) as server:
            model = server.model(context_window=100 * WINDOW)
            result = await Agent("clerk", model, tools=[count]).run(TASK, log=log)
            await model.aclose()
        assert result.output == "done", result
        assert server.refused
        checked(log, result)

    @pytest.mark.parametrize("window", [WINDOW, None])
    async def test_a_single_result_that_is_too_long_is_sent_without_its_middle(
        self, api: Api, window: int | None
    ) -> None:
        @tool
        async def count(shelf: int) -> str:
            """Counts."""
            return f"begins {'box ' * 5_000}ends"

        log = MemoryLog()
        async with NarrowServer(api, WINDOW, 2) as server:
            model = server.model(context_window=window)
            result = await Agent("clerk", model, tools=[count]).run(TASK, log=log)
            await model.aclose()
        assert result.output == "done", result
        assert kinds(checked(log, result))["context.trimmed"]
        told = str(server.taken[1]["messages"])
        assert "begins box" in told
        assert "box ends" in told
        assert "characters left out" in told

    async def test_what_cannot_be_made_shorter_fails_and_says_so(self, api: Api) -> None:
        log = MemoryLog()
        async with NarrowServer(api, 100, 1) as server:
            model = server.model()
            result = await Agent("clerk", model, "word " * 200).run(TASK, log=log)
            bare = await Agent("clerk", model, "word " * 200, context=None).run(TASK, log=log)
            await model.aclose()
        assert result.error
        assert bare.error
        assert result.error.code is bare.error.code is ErrorCode.CONTEXT_OVERFLOW
        assert "larger window" in result.error.message
        assert "larger window" not in bare.error.message
        assert len(server.refused) == 2
        checked(log, result)


class TestSummaries:
    async def test_the_summary_stands_for_what_it_sums_up(self) -> None:
        async with NarrowServer("openai", WINDOW, ROUNDS) as server:
            model = server.model(context_window=WINDOW)
            await Agent("clerk", model, tools=[count], context=Summarize()).run(TASK, log=MemoryLog())
            await model.aclose()
        first, second = server.summaries[:2]
        after = server.taken[server.taken.index(first) + 1]
        assert after["messages"][0]["content"].startswith(TASK)
        assert NOTES in after["messages"][0]["content"]
        assert "tools" not in first
        assert "On shelf 1 there" in str(first["messages"])
        assert "On shelf 1 there" not in str(after["messages"])
        assert NOTES in str(second["messages"]), "what was summed up before is summed up with the rest"
        assert "On shelf 1 there" not in str(second["messages"])

    async def test_it_counts_in_tokens_and_cost_and_is_no_step(self) -> None:
        answers = 9
        result, events = await scripted(*long_run(), limits=Limits(steps=answers))
        assert result.output == "done", result
        completed = [event for event in events if isinstance(event, ModelCallCompleted)]
        assert {event.purpose for event in completed} == {"answer", "summary"}
        assert result.spent.steps == answers
        assert result.spent.input_tokens == sum(event.usage.input_tokens for event in completed)

    async def test_the_words_can_be_ones_own(self) -> None:
        seen = list[str]()

        def turn(messages: list[dict[str, Any]]) -> Turn:
            seen.append(messages[0]["content"])
            return Call("count", shelf=1) if len(seen) < 9 else "done"

        log = MemoryLog()
        model = ScriptedModel(turn, context_window=400, summaries=["Notes"])
        agent = Agent("clerk", model, tools=[count], context=Summarize(instructions="In verse, please."))
        result = await agent.run(TASK, log=log)
        summaries = [event for event in checked(log, result) if isinstance(event, ContextSummarized)]
        assert summaries
        assert {event.summary for event in summaries} == {"Notes"}

    @pytest.mark.parametrize(
        "summary", ["", "  ", Fail("auth"), Fail("context_overflow"), Fail("timeout"), Reply(None), "word " * 2_000]
    )
    async def test_one_that_fails_or_saves_nothing_is_trimmed_instead(self, summary: Turn) -> None:
        result, events = await scripted(*long_run(), model={"summaries": [summary]})
        assert result.output == "done", result
        found = kinds(events)
        assert found["context.trimmed"]
        assert not found["context.summarized"]
        timed_out = isinstance(summary, Fail) and summary.error.retryable
        assert found["retry.scheduled"] == (found["context.trimmed"] if timed_out else 0)

    async def test_one_that_fails_once_is_asked_for_again(self) -> None:
        result, events = await scripted(*long_run(5), model={"summaries": [Attempts(Fail("timeout"), "Notes")]})
        assert result.output == "done", result
        assert kinds(events)["context.summarized"] == kinds(events)["retry.scheduled"] > 0

    async def test_a_call_that_was_refused_goes_on_under_its_own_number(self) -> None:
        turns = [*long_run(5)[:-1], Attempts(Fail("context_overflow"), "done")]
        result, events = await scripted(*turns, model={"context_window": None, "summaries": ["Notes"]})
        assert (result.output, result.spent.steps) == ("done", 6), result
        started = [(event.call_id, event.attempt) for event in events if isinstance(event, ModelCallStarted)]
        assert started[-3:] == [("m6", 1), ("s1", 1), ("m6", 2)]

    async def test_it_is_not_begun_once_the_run_has_used_up_its_tokens(self) -> None:
        result, events = await scripted(*long_run(), limits=Limits(tokens=300))
        assert (result.status, result.limit) == (Status.LIMITED, "tokens")
        assert "summary" not in {event.purpose for event in events if isinstance(event, ModelCallStarted)}

    async def test_refusals_without_end_end(self) -> None:
        for window, rounds, least in ((None, 60, 6), (400, 6, 1)):
            turns = [*long_run(rounds)[:-1], Fail("context_overflow")]
            model = {"context_window": window, "summaries": ["Notes"]}
            result, events = await scripted(*turns, model=model, limits=Limits(steps=100))
            assert result.error is not None
            assert result.error.code is ErrorCode.CONTEXT_OVERFLOW
            assert least <= kinds(events)["model_call.failed"] <= 6


class TestDefaults:
    async def test_an_agent_without_a_setting_sums_up(self) -> None:
        result, events = await scripted(*long_run())
        assert result.output == "done", result
        assert kinds(events)["context.summarized"]

    @pytest.mark.parametrize("model", [{"context_window": None}, {"context_window": 100_000}])
    async def test_nothing_happens_as_long_as_no_window_is_near(self, model: dict[str, Any]) -> None:
        _, events = await scripted(*long_run(), model=model)
        assert not {"context.summarized", "context.trimmed"} & kinds(events).keys()

    def test_what_is_no_policy_is_refused(self) -> None:
        with pytest.raises(UsageError, match="Trim"):
            Agent("clerk", ScriptedModel(["done"]), context="trim")  # type: ignore[arg-type]

    async def test_without_a_policy_the_model_decides(self) -> None:
        result, events = await scripted(*long_run(), context=None)
        assert result.output == "done"
        assert not {"context.summarized", "context.trimmed"} & kinds(events).keys()


class TestWindows:
    def test_a_model_has_the_window_of_its_name_unless_it_is_told_another(self) -> None:
        assert OpenAIModel("gpt-4o-2024-11-20").spec.context_window == 128_000
        assert AnthropicModel("claude-haiku-4-5-20251001").spec.context_window == 200_000
        assert OpenAIModel("gpt-4o", context_window=9_000).spec.context_window == 9_000
        assert OpenAIModel("nobody-knows-it").spec.context_window is None

    def test_a_model_made_from_a_frozen_spec_has_the_same_window(self) -> None:
        spec = OpenAIModel("nobody-knows-it", context_window=9_000).spec
        assert model_for(spec).spec == spec

    @pytest.mark.parametrize(
        ("parameters", "room"),
        [({}, 1_000), ({"max_tokens": 100}, 900), ({"max_completion_tokens": 300}, 700), ({"max_tokens": 5_000}, 500)],
    )
    def test_what_is_asked_for_the_answer_is_no_room_for_the_request(
        self, parameters: dict[str, JsonValue], room: int
    ) -> None:
        model = SPEC.model.model_copy(update={"context_window": 1_000, "parameters": parameters})
        assert room_in(RunState("run"), SPEC.model_copy(update={"model": model})) == room


class TestEverythingElse:
    async def test_react_in_text(self) -> None:
        turns = [*['Thought: next\nAction: count\nAction Input: {"shelf": 1}'] * 8, "Final Answer: done"]
        for policy in (Trim(), Summarize()):
            result, events = await scripted(*turns, policy="react", text_protocol=True, context=policy)
            assert result.output == "done", result
            assert {"context.summarized", "context.trimmed"} & kinds(events).keys()

    async def test_an_answer_of_a_type_is_never_taken_from_a_summary(self) -> None:
        turns = [*long_run()[:-1], "not a number", "42"]
        result, events = await scripted(*turns, output=int, model={"summaries": ["7"]})
        assert result.value == 42, result
        assert kinds(events)["output.rejected"] == 1

    async def test_a_long_conversation(self) -> None:
        log = MemoryLog()
        model = ScriptedModel([f"answer {n} {'and so on ' * 20}" for n in range(1, 31)], context_window=600)
        agent = Agent("clerk", model, conversational=True)
        async with agent.conversation(log=log) as chat:
            for number in range(1, 31):
                result = await chat.send(f"Question {number}?")
                assert (result.output or "").startswith(f"answer {number} "), result
            run_id = chat.run_id
        events = events_of(log, run_id)
        assert verify(log, run_id).ok
        assert kinds(events)["context.summarized"] > 2
        users = [message.text for message in folded(log, run_id).messages if isinstance(message, User)]
        assert users == [f"Question {number}?" for number in range(1, 31)]

    async def test_nobody_is_told_a_summary_as_an_answer(self) -> None:
        model = ScriptedModel(long_run(), context_window=400, stream=True, summaries=["Secret notes"])
        agent = Agent("clerk", model, tools=[count])
        log, said = MemoryLog(), ""
        async for piece in agent.stream(TASK, log=log):
            said += "" if isinstance(piece, RunResult) else piece.text
        assert "done" in said
        assert "notes" not in said

    @pytest.mark.parametrize("way", ["cancelled", "killed", "handed_over"])
    async def test_in_the_middle_of_a_summary(self, way: str) -> None:
        log = MemoryLog()
        slow = Agent("clerk", ScriptedModel(long_run(), context_window=400), tools=[count])
        asked = asyncio.Event()

        class Stuck(ScriptedModel):
            async def complete(self, request: Any, *more: Any) -> Any:
                if request.call_id == "s1":
                    asked.set()
                    await asyncio.Event().wait()
                return await super().complete(request, *more)

        stuck = slow.but(model=Stuck(long_run(), context_window=400))
        await log.submit(StartRun(request_id="r1", run_id="run", agent="clerk", input=TASK))
        working = asyncio.create_task(Worker(log, {"clerk": stuck}).work(until_idle=True))
        await asyncio.wait_for(asked.wait(), 10)
        if way == "cancelled":
            await log.submit(CancelRun(request_id="r2", run_id="run"))
            await asyncio.wait_for(working, 10)
            assert folded(log, "run").status is Status.CANCELLED
        else:
            if way == "killed":
                log.close()
                log = MemoryLog(log.storage)
            else:
                working.cancel()
                await asyncio.wait([working])
            await asyncio.wait_for(Worker(log, {"clerk": slow}).work(until_idle=True), 10)
            state = folded(log, "run")
            assert (state.status, state.output) == (Status.COMPLETED, "done")
            started = [event for event in events_of(log, "run") if isinstance(event, ModelCallStarted)]
            assert [event.attempt for event in started if event.call_id == "s1"] == [1, 2]
            if way == "killed":
                working.cancel()
                await asyncio.wait([working])
        assert verify(log, "run").ok


def work_of(step: Callable[[], object]) -> int:
    """How many functions a step calls."""
    calls = 0

    def count_calls(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count_calls)
    try:
        step()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Trim(), Summarize()])
def test_a_step_of_a_very_long_run_is_no_more_work_than_one_at_its_start(policy: Trim | Summarize) -> None:
    spec = SPEC.model_copy(update={"context": policy, "model": SPEC.model.model_copy(update={"context_window": 2_000})})
    writer = RunWriter(MemoryLog(), RunState("run"), Guard(), SimulatedClock())
    writer.claim()
    writer.record(RunClaimed(reason="started"), None)
    writer.record(RunStarted(request_id="r", agent=spec, input="hello", limits=Limits()), None)
    renderer, work = Renderer(spec, spec.model), list[int]()

    def step() -> None:
        while (command := decide(writer.state)[0]) and not isinstance(command, CallModel):
            match command:
                case Record(event):
                    writer.record(event, None)
                case AskSummary(call_id, attempt, upto):
                    renderer.summary(writer.state, upto)
                    ask(call_id, attempt, "summary", upto)
                    answer(call_id, "summary", "Notes")
                case _:
                    raise AssertionError(command)
        renderer.request(writer.state)
        ask(command.call_id, command.attempt, "answer", None)

    def ask(call_id: str, attempt: int, purpose: Literal["answer", "summary"], upto: int | None) -> None:
        started = ModelCallStarted(
            call_id=call_id, attempt=attempt, provider="p", model="m", request_digest="", purpose=purpose, upto=upto
        )
        writer.record(started, None)

    def answer(call_id: str, purpose: Literal["answer", "summary"], text: str | None, *asked: ToolRequest) -> None:
        answered = ModelCallCompleted(call_id=call_id, text=text, tool_calls=asked, duration_ms=1, purpose=purpose)
        writer.record(answered, None)

    for number in range(1, 5_001):
        work.append(work_of(step))
        call_id = f"m{number}"
        request = ToolRequest(call_id=f"{call_id}.t0", provider_id=call_id, name="look_up", arguments="{}")
        answer(call_id, "answer", None, request)
        started = ToolCallStarted(call_id=request.call_id, name="look_up", arguments="{}", idempotency_key="k")
        writer.record(started, None)
        writer.record(ToolCallCompleted(call_id=request.call_id, result="found " * 20, duration_ms=1), None)
    assert len(writer.state.messages) > 10_000
    assert writer.state.context.start > 9_900
    assert sum(work[-500:]) <= sum(work[500:1_000]) * 1.02
    assert max(work[-500:]) <= max(work[:1_000]) * 1.1
