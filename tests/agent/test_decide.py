"""Decisions: given what was recorded, when asked, then exactly these commands. A table of the tool loop."""

import pytest
from msgspec.structs import replace

from ledgent.agent.commands import CallModel, CallTool, Command, Record, ScheduleRetry
from ledgent.agent.decide import decide
from ledgent.agent.limits import seconds_left
from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    AnyEvent,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelFellBack,
    RetryScheduled,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunSuspended,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.prices import Price
from ledgent.schemas.sent import ANSWER_TOKENS, tokens_sent
from ledgent.schemas.state import RunState
from ledgent.schemas.values import ToolRequest, Usage
from tests.schemas.chain import SPEC, Chain, asked

TALKER = SPEC.model_copy(update={"conversational": True})
PASSING = ErrorInfo(code=ErrorCode.SERVER_ERROR, message="500", retryable=True)
FATAL = ErrorInfo(code=ErrorCode.AUTH, message="401")


def given(
    *events: AnyEvent, spec: AgentSpec = SPEC, limits: Limits | None = None, input: str | None = "hello"
) -> RunState:
    """The state of a run that has begun and then saw these events, a second apart."""
    chain = Chain()
    chain.claim()
    chain.start(input=input, spec=spec, limits=limits)
    for event in events:
        chain.add(event)
    return chain.state


def asking(attempt: int = 1, number: int = 1) -> ModelCallStarted:
    return ModelCallStarted(
        call_id=f"m{number}", attempt=attempt, provider="scripted", model="script", request_digest="0" * 64
    )


def answer(text: str | None = None, *calls: ToolRequest, number: int = 1, usage: Usage | None = None) -> AnyEvent:
    return ModelCallCompleted(call_id=f"m{number}", text=text, tool_calls=calls, duration_ms=1, usage=usage or Usage())


def failing(error: ErrorInfo, attempt: int = 1) -> ModelCallFailed:
    return ModelCallFailed(call_id="m1", attempt=attempt, error=error, duration_ms=1)


def calling(name: str, call_id: str = "m1.t0", attempt: int = 1) -> ToolCallStarted:
    return ToolCallStarted(
        call_id=call_id, attempt=attempt, name=name, arguments="{}", idempotency_key=f"run/{call_id}"
    )


def done(call_id: str = "m1.t0", result: str = "ok") -> ToolCallCompleted:
    return ToolCallCompleted(call_id=call_id, result=result, duration_ms=1)


def tool_failing(error: ErrorInfo, call_id: str = "m1.t0", attempt: int = 1) -> ToolCallFailed:
    return ToolCallFailed(call_id=call_id, attempt=attempt, error=error, duration_ms=1)


def recorded(commands: tuple[Command, ...]) -> list[AnyEvent]:
    assert all(isinstance(command, Record) for command in commands)
    return [command.event for command in commands if isinstance(command, Record)]


LOOK, PAY = asked("look_up"), asked("pay")
TWO = (asked("look_up"), asked("pay", "m1.t1"))
TAKEN = RunClaimed(reason="taken_over")
CANCEL = RunCancelRequested(request_id="c", reason="enough")
END = RunEndRequested(request_id="e")


class TestTurns:
    def test_nothing_before_a_run_has_begun(self) -> None:
        assert decide(RunState("run-1")) == ()
        chain = Chain()
        chain.claim()
        assert decide(chain.state) == ()

    def test_a_new_run_asks_the_model(self) -> None:
        assert decide(given()) == (CallModel("m1", 1),)

    def test_while_the_model_is_asked_nothing_more(self) -> None:
        assert decide(given(asking())) == ()

    def test_an_answer_completes_the_run(self) -> None:
        assert recorded(decide(given(asking(), answer("hi")))) == [RunCompleted(output="hi")]

    def test_an_empty_answer_completes_the_run(self) -> None:
        assert recorded(decide(given(asking(), answer(None)))) == [RunCompleted(output=None)]

    @pytest.mark.parametrize(
        "end", [RunCompleted(), RunFailed(error=FATAL), RunCancelled(), RunLimited(limit="steps", bound=1, used=1)]
    )
    def test_nothing_after_the_end(self, end: AnyEvent) -> None:
        assert decide(given(asking(), answer("hi"), end)) == ()

    def test_a_run_without_input_fails_unless_it_is_a_conversation(self) -> None:
        (event,) = recorded(decide(given(input=None)))
        assert isinstance(event, RunFailed)
        assert event.error.code is ErrorCode.INVALID_REQUEST


class TestTools:
    def test_all_calls_of_an_answer_are_made(self) -> None:
        assert decide(given(asking(), answer(None, *TWO))) == (CallTool("m1.t0", 1), CallTool("m1.t1", 1))

    def test_while_calls_run_nothing_is_decided(self) -> None:
        running = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1")]
        assert decide(given(*running)) == ()
        assert decide(given(*running, done())) == ()

    def test_once_all_are_answered_the_model_is_asked_again(self) -> None:
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1"), done("m1.t1"), done()]
        assert decide(given(*events)) == (CallModel("m2", 1),)

    def test_an_unknown_tool_is_rejected_beside_the_others(self) -> None:
        first, second = decide(given(asking(), answer(None, asked("lookup"), asked("pay", "m1.t1"))))
        (rejected,) = recorded((first,))
        assert isinstance(rejected, ToolCallRejected)
        assert (rejected.reason, rejected.suggestions) == ("unknown_tool", ("look_up",))
        assert second == CallTool("m1.t1", 1)

    def test_a_rejected_call_is_settled(self) -> None:
        rejected = ToolCallRejected(call_id="m1.t0", name="x", reason="unknown_tool", message="no")
        assert decide(given(asking(), answer(None, asked("x")), rejected)) == (CallModel("m2", 1),)

    def test_a_failed_call_of_an_idempotent_tool_is_retried_while_it_has_attempts(self) -> None:
        called = [asking(), answer(None, LOOK), calling("look_up"), tool_failing(PASSING)]
        assert decide(given(*called)) == (ScheduleRetry("m1.t0", 2, 0.0, 0.5, ErrorCode.SERVER_ERROR),)

    @pytest.mark.parametrize(
        ("request_", "error", "attempt"),
        [(PAY, PASSING, 1), (LOOK, FATAL, 1), (LOOK, PASSING, 3)],
        ids=["not idempotent", "will not pass", "last attempt"],
    )
    def test_otherwise_the_model_is_told(self, request_: ToolRequest, error: ErrorInfo, attempt: int) -> None:
        events = [asking(), answer(None, request_), calling(request_.name), tool_failing(error, attempt=attempt)]
        if attempt > 1:
            events[-1:-1] = [calling(request_.name, attempt=attempt)]
        assert decide(given(*events)) == (CallModel("m2", 1),)

    def test_a_due_retry_is_the_next_attempt(self) -> None:
        wait = RetryScheduled(call_id="m1.t0", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        waiting = [asking(), answer(None, LOOK), calling("look_up"), tool_failing(PASSING), wait]
        assert decide(given(*waiting)) == ()
        assert decide(given(*waiting, TimerFired(timer_seq=7))) == (CallTool("m1.t0", 2),)

    def test_a_timer_of_something_else_changes_nothing(self) -> None:
        wait = RetryScheduled(call_id="m1.t0", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        waiting = [asking(), answer(None, LOOK), calling("look_up"), tool_failing(PASSING), wait]
        assert decide(given(*waiting, TimerFired(timer_seq=3))) == ()

    def test_a_timer_that_fires_twice_starts_one_attempt(self) -> None:
        wait = RetryScheduled(call_id="m1", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        fired = TimerFired(timer_seq=5)
        events: list[AnyEvent] = [asking(), failing(PASSING), wait, fired, asking(2), fired]
        assert decide(given(*events)) == ()
        wait = RetryScheduled(call_id="m1.t0", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        called = [asking(), answer(None, LOOK), calling("look_up"), tool_failing(PASSING), wait]
        fired = TimerFired(timer_seq=7)
        assert decide(given(*called, fired, calling("look_up", attempt=2), fired)) == ()

    def test_a_tool_that_ends_the_run_completes_it_with_its_result(self) -> None:
        events = [asking(), answer("bye", asked("hang_up")), calling("hang_up"), done(result="hung up")]
        assert recorded(decide(given(*events))) == [RunCompleted(output="hung up")]
        assert recorded(decide(given(*events, spec=TALKER))) == [RunCompleted(output="hung up")]


class TestRetries:
    def test_a_failure_that_may_pass_is_waited_out(self) -> None:
        assert decide(given(asking(), failing(PASSING))) == (ScheduleRetry("m1", 2, 0.0, 0.5, ErrorCode.SERVER_ERROR),)

    def test_a_failure_that_will_not_pass_fails_the_run(self) -> None:
        assert recorded(decide(given(asking(), failing(FATAL)))) == [RunFailed(error=FATAL)]

    def test_after_the_last_attempt_the_run_fails(self) -> None:
        events: list[AnyEvent] = [asking(), failing(PASSING)]
        for attempt in (2, 3, 4):
            events += [asking(attempt), failing(PASSING, attempt)]
        assert recorded(decide(given(*events))) == [RunFailed(error=PASSING)]

    def test_a_wait_ends_with_its_timer(self) -> None:
        wait = RetryScheduled(call_id="m1", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        assert decide(given(asking(), failing(PASSING), wait)) == ()
        assert decide(given(asking(), failing(PASSING), wait, TimerFired(timer_seq=5))) == (CallModel("m1", 2),)

    def test_no_pause_reaches_beyond_the_deadline(self) -> None:
        error = PASSING.model_copy(update={"retry_after_s": 100.0})
        (retry,) = decide(given(asking(), failing(error), limits=Limits(seconds=10)))
        assert isinstance(retry, ScheduleRetry)
        assert retry.least_s == retry.most_s == pytest.approx(8.0)

    def test_after_the_deadline_nothing_is_retried(self) -> None:
        (event,) = recorded(decide(given(asking(), failing(PASSING), limits=Limits(seconds=1))))
        assert event == RunLimited(limit="seconds", bound=1, used=2)

    def test_a_failure_that_will_not_pass_is_told_even_after_the_deadline(self) -> None:
        assert recorded(decide(given(asking(), failing(FATAL), limits=Limits(seconds=1)))) == [RunFailed(error=FATAL)]


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "event"),
        [
            (Limits(steps=1), RunLimited(limit="steps", bound=1, used=1)),
            (Limits(tokens=10), RunLimited(limit="tokens", bound=10, used=11)),
            (Limits(seconds=2), RunLimited(limit="seconds", bound=2, used=4)),
            (Limits(steps=1, tokens=1, seconds=1), RunLimited(limit="steps", bound=1, used=1)),
        ],
    )
    def test_a_bound_that_is_reached_ends_the_run_before_the_next_call(self, limits: Limits, event: AnyEvent) -> None:
        used = Usage(input_tokens=6, output_tokens=5)
        state = given(asking(), answer(None, LOOK, usage=used), calling("look_up"), done(), limits=limits)
        assert recorded(decide(state)) == [event]

    def test_a_bound_not_yet_reached_does_not(self) -> None:
        used = Usage(input_tokens=6, output_tokens=5)
        limits = Limits(steps=2, tokens=12, seconds=5, cost_usd=1)
        state = given(asking(), answer(None, LOOK, usage=used), calling("look_up"), done(), limits=limits)
        assert decide(state) == (CallModel("m2", 1),)

    def test_after_the_deadline_no_tool_is_called(self) -> None:
        state = given(asking(), answer(None, *TWO), limits=Limits(seconds=1))
        assert recorded(decide(state)) == [RunLimited(limit="seconds", bound=1, used=2)]

    def test_after_the_deadline_running_tools_are_waited_for(self) -> None:
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1")]
        assert decide(given(*events, done(), limits=Limits(seconds=1))) == ()

    def test_how_long_is_left_is_counted_from_the_start(self) -> None:
        assert seconds_left(given()) is None
        assert seconds_left(given(limits=Limits(seconds=10))) == 10
        assert seconds_left(given(asking(), limits=Limits(seconds=10))) == 9


class TestConversations:
    def test_an_answer_waits_for_the_next_message(self) -> None:
        state = given(asking(), answer("hi"), spec=TALKER)
        assert recorded(decide(state)) == [RunSuspended(reason="input")]

    def test_while_it_waits_nothing_happens(self) -> None:
        assert decide(given(asking(), answer("hi"), RunSuspended(reason="input"), spec=TALKER)) == ()

    def test_without_a_first_message_it_waits_for_one(self) -> None:
        assert recorded(decide(given(input=None, spec=TALKER))) == [RunSuspended(reason="input")]

    def test_a_message_wakes_it(self) -> None:
        suspended = [asking(), answer("hi"), RunSuspended(reason="input")]
        state = given(*suspended, MessageReceived(request_id="2", text="more"), spec=TALKER)
        assert decide(state) == (CallModel("m2", 1),)

    def test_a_claim_alone_does_not_wake_it(self) -> None:
        suspended = [asking(), answer("hi"), RunSuspended(reason="input")]
        assert decide(given(*suspended, RunClaimed(reason="resumed"), spec=TALKER)) == ()

    def test_its_end_completes_it_with_the_last_answer(self) -> None:
        suspended = [asking(), answer("hi"), RunSuspended(reason="input")]
        assert recorded(decide(given(*suspended, END, spec=TALKER))) == [RunCompleted(output="hi")]

    def test_its_end_lets_calls_settle(self) -> None:
        events = [asking(), answer(None, LOOK), calling("look_up"), END]
        assert decide(given(*events, spec=TALKER)) == ()
        assert recorded(decide(given(*events, done(), spec=TALKER))) == [RunCompleted(output=None)]

    def test_a_message_during_an_answer_is_answered_next(self) -> None:
        message = MessageReceived(request_id="2", text="more")
        assert decide(given(asking(), message, spec=TALKER)) == ()
        assert decide(given(asking(), message, answer("hi"), spec=TALKER)) == (CallModel("m2", 1),)


class TestCancelling:
    def test_what_is_under_way_is_waited_for(self) -> None:
        assert decide(given(asking(), CANCEL)) == ()
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1"), CANCEL]
        assert decide(given(*events)) == ()
        assert decide(given(*events, done())) == ()

    def test_then_the_run_is_cancelled(self) -> None:
        cancelled = [RunCancelled(reason="enough")]
        assert recorded(decide(given(CANCEL))) == cancelled
        assert recorded(decide(given(asking(), CANCEL, failing(PASSING)))) == cancelled
        assert recorded(decide(given(asking(), CANCEL, answer("hi")))) == cancelled
        called = [asking(), answer(None, LOOK), calling("look_up"), CANCEL, tool_failing(PASSING)]
        assert recorded(decide(given(*called))) == cancelled

    def test_a_pause_is_not_waited_for(self) -> None:
        wait = RetryScheduled(call_id="m1", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR)
        assert recorded(decide(given(asking(), failing(PASSING), wait, CANCEL))) == [RunCancelled(reason="enough")]

    def test_a_run_that_waits_for_input_is_cancelled_at_once(self) -> None:
        suspended = [asking(), answer("hi"), RunSuspended(reason="input")]
        assert recorded(decide(given(*suspended, CANCEL, spec=TALKER))) == [RunCancelled(reason="enough")]


class TestTakingOver:
    def test_a_model_call_without_outcome_failed_and_is_asked_again(self) -> None:
        (failed,) = recorded(decide(given(asking(), TAKEN)))
        assert isinstance(failed, ModelCallFailed)
        assert (failed.call_id, failed.attempt, failed.error.code) == ("m1", 1, ErrorCode.INTERRUPTED)
        assert decide(given(asking(), TAKEN, failed)) == (CallModel("m1", 2),)

    def test_what_the_lost_attempt_may_have_cost_is_a_sum_of_its_own(self) -> None:
        price = Price(input=10.0, output=100.0)
        model = SPEC.model.model_copy(update={"parameters": {"max_tokens": 50}, "price": price})
        spec = SPEC.model_copy(update={"model": model})
        first = [asking(), answer(None, LOOK), calling("look_up"), done(), asking(number=2)]
        state = given(*first, TAKEN, spec=spec)
        (failed,) = recorded(decide(state))
        assert isinstance(failed, ModelCallFailed)
        sent = tokens_sent(state)
        assert failed.maybe_usage == Usage(input_tokens=sent, output_tokens=50)
        assert failed.maybe_cost_usd == pytest.approx((10 * sent + 100 * 50) / 1e6)
        assert (failed.usage, failed.cost_usd) == (Usage(), None)
        before, after = state.spent, given(*first, TAKEN, failed, spec=spec).spent
        assert after == replace(before, maybe_tokens=sent + 50, maybe_cost_usd=failed.maybe_cost_usd)
        twice = given(*first, TAKEN, failed, asking(2, number=2), TAKEN, failed, spec=spec).spent
        assert twice == replace(after, maybe_tokens=2 * (sent + 50), maybe_cost_usd=2 * failed.maybe_cost_usd)

    def test_what_it_may_have_cost_is_by_the_price_of_the_model_that_was_asked(self) -> None:
        second = SPEC.model.model_copy(update={"price": Price(input=1_000.0, output=0.0)})
        spec = SPEC.model_copy(update={"fallbacks": (second,)})
        fell = ModelFellBack(
            call_id="m1", attempt=2, from_model="a", to_model="b", index=1, reason=ErrorCode.SERVER_ERROR
        )
        state = given(asking(), failing(PASSING), fell, asking(2), TAKEN, spec=spec)
        (failed,) = recorded(decide(state))
        assert isinstance(failed, ModelCallFailed)
        assert failed.maybe_cost_usd == pytest.approx(tokens_sent(state) / 1e3)
        assert failed.maybe_usage.output_tokens == ANSWER_TOKENS

    def test_where_no_price_is_known_only_the_tokens_are(self) -> None:
        (failed,) = recorded(decide(given(asking(), TAKEN)))
        assert isinstance(failed, ModelCallFailed)
        assert failed.maybe_usage.input_tokens > 0
        assert failed.maybe_cost_usd is None

    def test_a_model_call_that_is_interrupted_every_time_is_given_up(self) -> None:
        events: list[AnyEvent] = []
        for attempt in (1, 2, 3, 4):
            state = given(*events, asking(attempt), TAKEN)
            events += [asking(attempt), TAKEN, *recorded(decide(state))]
        (failed,) = recorded(decide(given(*events)))
        assert isinstance(failed, RunFailed)
        assert failed.error.code is ErrorCode.INTERRUPTED

    def test_each_tool_call_without_outcome_gets_one(self) -> None:
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1"), TAKEN]
        failed, uncertain = recorded(decide(given(*events)))
        assert isinstance(failed, ToolCallFailed)
        assert (failed.call_id, failed.error.code) == ("m1.t0", ErrorCode.INTERRUPTED)
        assert isinstance(uncertain, ToolCallUncertain)
        assert uncertain.call_id == "m1.t1"
        assert decide(given(*events, failed, uncertain)) == (CallTool("m1.t0", 2),)

    def test_what_was_settled_stays_settled(self) -> None:
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1"), done("m1.t1"), TAKEN]
        (failed,) = recorded(decide(given(*events)))
        assert isinstance(failed, ToolCallFailed)
        assert failed.call_id == "m1.t0"

    def test_a_call_that_had_not_begun_is_begun(self) -> None:
        assert decide(given(asking(), answer(None, LOOK), TAKEN)) == (CallTool("m1.t0", 1),)

    def test_a_run_that_was_handed_over_goes_on(self) -> None:
        handed = RunSuspended(reason="handed_over")
        assert decide(given(asking(), answer(None, LOOK), handed)) == ()
        assert decide(given(asking(), answer(None, LOOK), handed, TAKEN)) == (CallTool("m1.t0", 1),)

    def test_of_a_cancelled_run_only_the_outcomes_are_noted(self) -> None:
        events = [asking(), answer(None, *TWO), calling("look_up"), calling("pay", "m1.t1"), CANCEL, TAKEN]
        outcomes = recorded(decide(given(*events)))
        assert [event.type for event in outcomes] == ["tool_call.failed", "tool_call.uncertain"]
        assert recorded(decide(given(*events, *outcomes))) == [RunCancelled(reason="enough")]


def test_a_decision_is_the_same_however_often_it_is_made() -> None:
    state = given(asking(), answer(None, *TWO))
    assert decide(state) == decide(state) == decide(given(asking(), answer(None, *TWO)))


def test_the_clock_of_a_decision_is_that_of_the_last_record() -> None:
    chain = Chain()
    chain.claim()
    chain.start(limits=Limits(seconds=10))
    assert decide(chain.state) == (CallModel("m1", 1),)
    chain.add(TAKEN, seconds=11)
    assert recorded(decide(chain.state)) == [RunLimited(limit="seconds", bound=10, used=11)]
