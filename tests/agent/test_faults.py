"""Faults on purpose: as many as asked for, the same for the same seed, and gone through like real ones."""

from collections import Counter

import pytest

from ledgent.agent import Agent, Call, Faults, RetryPolicy, ScriptedModel, ToolContext, tool
from ledgent.agent.faults import KINDS
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import (
    ModelCallCompleted,
    ModelCallFailed,
    RetryScheduled,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
)
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, events_of, go, types_of

PATIENT = RetryPolicy(attempts=20, max_s=1.0)


def a_model(timeout_s: float = 5.0) -> ScriptedModel:
    return ScriptedModel([Call("book", what="a"), "done"], retry=PATIENT, timeout_s=timeout_s)


def an_agent(effects: Counter[str], timeout_s: float = 5.0) -> Agent:
    @tool(idempotent=True, attempts=20, timeout_s=timeout_s)
    async def book(what: str, context: ToolContext) -> str:
        effects[context.idempotency_key] += 1
        return f"booked {what}"

    return Agent("shop", a_model(timeout_s), tools=[book])


async def test_a_bad_day_is_gone_through_and_its_faults_are_told_as_what_they_are() -> None:
    log, effects = MemoryLog(), Counter[str]()
    agent = Faults(rate=0.6, kinds=("rate_limited", "server_error"), seed=3).agent(an_agent(effects))
    result = await go(agent, log)
    assert (result.status, result.output) == (Status.COMPLETED, "done")
    failed = events_of(log, result.run_id, ModelCallFailed) + events_of(log, result.run_id, ToolCallFailed)
    assert failed
    assert {event.error.message.partition(":")[0] for event in failed if isinstance(event, ModelCallFailed)} == {
        "injected"
    }
    assert len(events_of(log, result.run_id, RetryScheduled)) == len(failed)
    check_run(log, result.run_id)


async def test_the_same_seed_brings_the_same_faults_and_another_others() -> None:
    async def day(seed: int) -> list[str]:
        log = MemoryLog()
        result = await go(Faults(rate=0.5, seed=seed).agent(an_agent(Counter())), log)
        return types_of(log, result.run_id)

    assert await day(1) == await day(1)
    assert len({tuple(await day(seed)) for seed in range(6)}) > 1


async def test_about_as_many_calls_fail_as_the_rate_says_and_each_kind_comes() -> None:
    faults = Faults(rate=0.3, kinds=("rate_limited",) * 3 + ("hang",), seed=5)
    met = Counter(faults.of("m1", 1, number) for number in range(4_000))
    assert met[None] == pytest.approx(2_800, rel=0.05)
    assert met["rate_limited"] == pytest.approx(900, rel=0.15)
    assert met["hang"] == pytest.approx(300, rel=0.2)
    assert not any(Faults(rate=0.0).of(number) for number in range(100))
    assert all(Faults(rate=1.0).of(number) for number in range(100))


async def test_a_call_that_hangs_is_given_up_when_its_own_time_is() -> None:
    log = MemoryLog()
    agent = Faults(rate=0.5, kinds=("hang",), seed=2).agent(an_agent(Counter(), timeout_s=0.02))
    result = await go(agent, log)
    assert result.output == "done"
    hung = events_of(log, result.run_id, ModelCallFailed) + events_of(log, result.run_id, ToolCallFailed)
    assert hung
    assert {event.error.code for event in hung} == {ErrorCode.TIMEOUT}


async def test_a_lost_answer_is_one_of_a_call_that_was_made() -> None:
    log, effects = MemoryLog(), Counter[str]()
    agent = an_agent(effects)
    agent = agent.but(tools=[Faults(rate=0.7, kinds=("lost",), seed=4).tool(each) for each in agent.tools])  # type: ignore[arg-type]
    result = await go(agent, log)
    lost = events_of(log, result.run_id, ToolCallFailed)
    assert lost
    assert effects[f"{result.run_id}/m1.t0"] == len(events_of(log, result.run_id, ToolCallStarted))
    assert len(events_of(log, result.run_id, ToolCallCompleted)) == 1

    billed = agent.but(model=Faults(rate=0.7, kinds=("lost",), seed=4).model(a_model()))
    result = await go(billed, log)
    failed = events_of(log, result.run_id, ModelCallFailed)
    assert failed
    assert all(event.usage.input_tokens for event in failed), "a lost answer has been paid for"
    assert events_of(log, result.run_id, ModelCallCompleted)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("hang", "lost", "tool_error")])
async def test_each_kind_fails_a_model_call_with_its_code(kind: str) -> None:
    log = MemoryLog()
    result = await go(an_agent(Counter()).but(model=Faults(1.0, [kind]).model(a_model())), log)
    assert result.status is Status.FAILED
    assert result.error is not None
    assert result.error.code == kind


async def test_a_tool_without_a_second_try_answers_the_model_with_the_fault() -> None:
    @tool
    def once() -> str:
        return "never"

    log = MemoryLog()
    agent = Agent("once", ScriptedModel([Call("once"), "done"]), tools=[Faults(1.0, ["tool_error"]).tool(once)])
    result = await go(agent, log)
    assert result.output == "done"
    assert [event.error.message for event in events_of(log, result.run_id, ToolCallFailed)] == [
        "injected: the tool says no"
    ]


def test_faults_are_read_from_a_text() -> None:
    faults = Faults.parse("rate=0.3, kinds=rate_limited+hang, seed=7")
    assert (faults.rate, faults.kinds, faults.seed) == (0.3, ("rate_limited", "hang"), 7)
    assert Faults.parse("seed=2").rate == Faults().rate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate=2", "from 0 to 1"),
        ("rate=x", "rate=0.3,kinds="),
        ("often", "is not understood"),
        ("kinds=rate_limited+hangs", "no kind of fault hangs"),
    ],
)
def test_what_is_no_fault_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Faults.parse(text)
