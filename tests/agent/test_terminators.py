"""Terminators: what else ends a run, judged between calls, recorded with its reason, and judged alike by verify."""

import pytest

from ledgent.agent import (
    Agent,
    AllOf,
    AnyOf,
    Call,
    CostBudget,
    Deadline,
    Limits,
    Reply,
    ScriptedModel,
    StopWords,
    TokenBudget,
    tool,
    when,
)
from ledgent.agent.models.prices import Price
from ledgent.agent.verify import verify
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ModelCallStarted, RunCompleted, RunFailed, RunLimited
from ledgent.schemas.state import Status
from ledgent.schemas.terminators import Terminator
from ledgent.schemas.values import Usage
from tests.agent import predicates
from tests.agent.recorded import events_of, go, only


@tool
async def look() -> str:
    return "nothing"


def talking(*terminators: Terminator, last: str = "done. GOODBYE") -> Agent:
    """An agent that says a word in the middle of its work, and another at its end."""
    turns = [Reply("hm", [Call("look")]), Reply("STOP here", [Call("look")]), Reply("hm again", [Call("look")]), last]
    for turn in turns[:3]:
        turn.usage, turn.cost_usd = Usage(input_tokens=60, output_tokens=40), 0.25
    model = ScriptedModel(turns, price=Price(input=1, output=1))
    return Agent("talking", model, tools=[look], terminators=terminators)


@pytest.mark.parametrize(
    ("terminator", "steps", "reason"),
    [
        (StopWords(words=("NOTHING", "STOP")), 2, "the answer says 'STOP'"),
        (when(predicates.after, steps=3), 3, "3 steps are enough"),
        (when(predicates.said, word="STOP"), 2, "tests.agent.predicates:said holds"),
        (AnyOf(of=(StopWords(words=("GOODBYE",)), when(predicates.after, steps=1))), 1, "1 steps are enough"),
        (
            AllOf(of=(when(predicates.after, steps=2), when(predicates.said, word="hm"), TokenBudget(tokens=250))),
            3,
            "2 steps are enough and tests.agent.predicates:said holds",
        ),
    ],
)
async def test_a_condition_on_what_was_said_completes_the_run(
    log: MemoryLog, terminator: Terminator, steps: int, reason: str
) -> None:
    result = await go(talking(terminator), log)
    completed = only(log, result.run_id, RunCompleted)
    assert (result.status, completed.reason) == (Status.COMPLETED, reason)
    assert len(events_of(log, result.run_id, ModelCallStarted)) == steps
    assert verify(log, result.run_id).ok


@pytest.mark.parametrize(
    ("terminator", "steps", "limit", "bound", "used"),
    [
        (TokenBudget(tokens=150), 2, "tokens", 150, 200),
        (CostBudget(usd=0.75), 3, "cost_usd", 0.75, 0.75),
        (AllOf(of=(TokenBudget(tokens=100), CostBudget(usd=0.5))), 2, "tokens", 100, 200),
        (AnyOf(of=(StopWords(words=("never",)), CostBudget(usd=0.1))), 1, "cost_usd", 0.1, 0.25),
    ],
)
async def test_a_budget_limits_the_run(
    log: MemoryLog, terminator: Terminator, steps: int, limit: str, bound: float, used: float
) -> None:
    result = await go(talking(terminator), log)
    limited = only(log, result.run_id, RunLimited)
    assert (limited.limit, limited.bound, limited.used) == (limit, bound, pytest.approx(used))
    assert len(events_of(log, result.run_id, ModelCallStarted)) == steps
    assert verify(log, result.run_id).ok


async def test_a_deadline_is_looked_at_between_calls(log: MemoryLog) -> None:
    model = ScriptedModel(lambda messages: Call("look"), delay_s=0.05)
    agent = Agent("slow", model, tools=[look], terminators=[Deadline(seconds=0.12)])
    result = await agent.run("go", log=log)
    assert (result.status, result.limit) == (Status.LIMITED, "seconds")
    assert 1 <= result.spent.steps <= 3
    assert only(log, result.run_id, RunLimited).used >= 0.12


async def test_a_run_that_no_condition_ends_goes_on_to_its_answer(log: MemoryLog) -> None:
    result = await go(talking(StopWords(words=("never",)), TokenBudget(tokens=10_000)), log)
    assert (result.status, result.output) == (Status.COMPLETED, "done. GOODBYE")
    assert only(log, result.run_id, RunCompleted).reason is None


async def test_a_stop_word_ends_a_conversation(log: MemoryLog) -> None:
    agent = talking(StopWords(words=("GOODBYE",))).but(conversational=True)
    async with agent.conversation(log=log) as chat:
        result = await chat.send("hello")
    assert (result.status, only(log, result.run_id, RunCompleted).reason) == (
        Status.COMPLETED,
        "the answer says 'GOODBYE'",
    )


async def test_a_predicate_that_raises_fails_the_run(log: MemoryLog) -> None:
    result = await go(talking(when(predicates.broken)), log)
    failed = only(log, result.run_id, RunFailed)
    assert failed.error.code is ErrorCode.INTERNAL
    assert "ZeroDivisionError: the predicate divides by zero" in failed.error.message
    assert verify(log, result.run_id).ok


async def test_verify_says_when_a_predicate_is_not_what_it_was(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await go(talking(when(predicates.after, steps=2)), log)
    monkeypatch.setattr("ledgent.agent.terminators.function_at", lambda name: lambda state, steps: "sooner")
    monkeypatch.setattr("ledgent.agent.terminators.source_of", lambda name: "another")
    certificate = verify(log, result.run_id)
    assert certificate.verdict == "diverged"
    assert certificate.reason is not None
    assert certificate.reason.endswith("the source of tests.agent.predicates:after has changed since")


def test_a_predicate_must_be_one_that_others_can_find() -> None:
    def inner(state: object) -> bool:
        return True

    with pytest.raises(UsageError, match="top level of a module"):
        when(inner)
    with pytest.raises(UsageError, match="top level of a module"):
        when(lambda state: True)
    with pytest.raises(UsageError, match="JSON"):
        when(predicates.said, word=object())


class TestLoops:
    """Limits that see a run go in circles."""

    async def test_the_same_call_again_and_again_ends_the_run(self, log: MemoryLog) -> None:
        model = ScriptedModel([Call.raw("look", "{}"), Call.raw("look", "{ }"), Call("look"), "done"])
        result = await go(Agent("looping", model, tools=[look]), log, limits=Limits(repeats=2))
        limited = only(log, result.run_id, RunLimited)
        assert (limited.limit, limited.bound, limited.used) == ("repeats", 2, 2)
        assert (result.spent.steps, result.spent.tool_calls) == (3, 2)
        assert verify(log, result.run_id).ok

    async def test_another_call_in_between_is_no_repetition(self, log: MemoryLog) -> None:
        @tool
        async def find(what: str) -> str:
            return what

        calls = [Call("find", what="a"), Call("find", what="b"), Call("find", what="a"), "done"]
        result = await go(Agent("busy", ScriptedModel(calls), tools=[find]), log, limits=Limits(repeats=1))
        assert result.status is Status.COMPLETED

    async def test_a_run_that_learns_nothing_new_is_stopped(self, log: MemoryLog) -> None:
        model = ScriptedModel([Call("look"), Call("look"), Call("look"), "done"])
        result = await go(Agent("looping", model, tools=[look]), log, limits=Limits(idle_steps=2))
        limited = only(log, result.run_id, RunLimited)
        assert (limited.limit, limited.bound, limited.used) == ("idle_steps", 2, 2)
        assert result.spent.steps == 3
        assert verify(log, result.run_id).ok

    async def test_a_call_that_gives_something_else_each_time_is_progress(self, log: MemoryLog) -> None:
        seen = iter("abcdef")

        @tool
        async def poll() -> str:
            return next(seen)

        model = ScriptedModel([Call("poll"), Call("poll"), Call("poll"), "done"])
        result = await go(Agent("waiting", model, tools=[poll]), log, limits=Limits(idle_steps=1))
        assert result.status is Status.COMPLETED

    async def test_of_parallel_calls_only_so_many_begin_as_are_left(self, log: MemoryLog) -> None:
        model = ScriptedModel([[Call("look")] * 2, [Call("look")] * 3, "done"])
        result = await go(Agent("wide", model, tools=[look]), log, limits=Limits(tool_calls=4))
        limited = only(log, result.run_id, RunLimited)
        assert (limited.limit, limited.bound, limited.used) == ("tool_calls", 4, 4)
        assert verify(log, result.run_id).ok

    async def test_a_run_with_just_enough_tool_calls_completes(self, log: MemoryLog) -> None:
        model = ScriptedModel([[Call("look")] * 2, [Call("look")] * 2, "done"])
        result = await go(Agent("wide", model, tools=[look]), log, limits=Limits(tool_calls=4))
        assert result.status is Status.COMPLETED
