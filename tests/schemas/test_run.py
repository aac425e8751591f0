"""How a run's events fold into its state: deterministic, total, and closed to anything that does not belong."""

import json
from typing import Any

import pytest

from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import Stored, decode, digest_of, read_envelope
from ledgent.schemas.errors import BrokenHistory, ErrorCode, ErrorInfo, UnknownEventType, UnreadableRecord
from ledgent.schemas.events import (
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    RetryScheduled,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
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
from ledgent.schemas.run import evolve, replay
from ledgent.schemas.state import Assistant, Phase, RunState, Status, ToolResult, User
from ledgent.schemas.state_json import as_json
from ledgent.schemas.values import Usage
from tests.schemas.chain import SPEC, Chain, asked, begun

PASSING = ErrorInfo(code=ErrorCode.SERVER_ERROR, message="500", retryable=True)


def busy() -> Chain:
    """A run with a call to each of two tools under way."""
    chain = begun()
    chain.ask()
    chain.add(
        ModelCallCompleted(
            call_id="m1",
            text="let me see",
            tool_calls=(asked("look_up"), asked("pay", "m1.t1")),
            usage=Usage(input_tokens=5, output_tokens=2, cached_tokens=1, reasoning_tokens=1),
            cost_usd=0.5,
            duration_ms=1,
        )
    )
    for call_id, name in (("m1.t0", "look_up"), ("m1.t1", "pay")):
        chain.add(ToolCallStarted(call_id=call_id, name=name, arguments="{}", idempotency_key="k"))
    return chain


def long_run() -> Chain:
    """A run with every kind of event in it."""
    chain = busy()
    chain.add(ToolCallFailed(call_id="m1.t0", error=PASSING))
    wait = chain.add(RetryScheduled(call_id="m1.t0", attempt=2, delay_s=1, code=ErrorCode.SERVER_ERROR))
    chain.add(MessageReceived(request_id="2", text="hurry"))
    chain.add(TimerFired(timer_seq=read_envelope(wait.body).seq))
    chain.add(ToolCallStarted(call_id="m1.t0", attempt=2, name="look_up", arguments="{}", idempotency_key="k"))
    chain.add(ToolCallCompleted(call_id="m1.t0", attempt=2, result="found", duration_ms=1))
    chain.claim("host/2")
    chain.add(ToolCallUncertain(call_id="m1.t1", message="who knows"))
    chain.ask(2)
    chain.add(ModelCallFailed(call_id="m2", error=PASSING))
    chain.ask(2, attempt=2)
    chain.add(ModelCallCompleted(call_id="m2", tool_calls=(asked("nobody", "m2.t0"),), duration_ms=1))
    chain.add(ToolCallRejected(call_id="m2.t0", name="nobody", reason="unknown_tool", message="no such tool"))
    chain.ask(3)
    chain.add(ModelCallCompleted(call_id="m3", text="done", duration_ms=1))
    chain.suspend()
    chain.add(RunEndRequested(request_id="3"))
    chain.complete()
    return chain


class TestFolding:
    def test_a_run_folded_twice_gives_equal_states(self) -> None:
        chain = long_run()
        one, two = replay(chain.run_id, chain.records), replay(chain.run_id, chain.records)
        assert one == two
        assert json.dumps(as_json(one.state)) == json.dumps(as_json(two.state))

    def test_record_by_record_gives_the_state_of_the_whole(self) -> None:
        chain = long_run()
        state = RunState(chain.run_id)
        for count, stored in enumerate(chain.records, 1):
            state = evolve(state, decode(stored))
            assert state == replay(chain.run_id, chain.records[:count]).state
        assert state.status is Status.COMPLETED

    def test_earlier_states_stay_as_they_were(self) -> None:
        chain = long_run()
        states = [RunState(chain.run_id)]
        for stored in chain.records:
            states.append(evolve(states[-1], decode(stored)))
        again = [replay(chain.run_id, chain.records[:count]).state for count in range(len(chain.records) + 1)]
        assert states == again

    def test_a_fork_of_a_state_does_not_reach_back(self) -> None:
        chain = busy()
        before = chain.state
        left = evolve(before, decode(chain.next(MessageReceived(request_id="2", text="left"))))
        right = evolve(before, decode(chain.next(MessageReceived(request_id="3", text="right"))))
        assert (left.inbox, right.inbox, before.inbox) == ((User("left"),), (User("right"),), ())
        assert list(left.applied)[-1] == "2"
        assert list(right.applied)[-1] == "3"

    def test_the_messages_are_what_was_said_in_order(self) -> None:
        state = long_run().state
        assert [type(message) for message in state.messages] == [
            User,
            Assistant,
            ToolResult,
            ToolResult,
            User,
            Assistant,
            ToolResult,
            Assistant,
        ]
        texts = [message.text for message in state.messages]
        assert texts == ["hello", "let me see", "found", "who knows", "hurry", None, "no such tool", "done"]

    def test_what_was_used_up_is_counted(self) -> None:
        spent = long_run().state.spent
        assert (spent.steps, spent.tool_calls, spent.retries) == (3, 2, 1)
        assert (spent.input_tokens, spent.output_tokens, spent.tokens) == (5, 2, 7)
        assert (spent.cached_tokens, spent.reasoning_tokens, spent.cost_usd) == (1, 1, 0.5)

    def test_the_clock_of_a_state_is_its_last_record(self) -> None:
        chain = begun()
        assert chain.state.now == read_envelope(chain.records[-1].body).at
        assert chain.state.started_at == read_envelope(chain.records[1].body).at

    def test_the_requests_that_took_effect_are_remembered(self) -> None:
        assert list(long_run().state.applied) == ["request-1", "2", "3"]


class TestStatus:
    def test_it_is_new_then_running_then_suspended_then_ended(self) -> None:
        chain = Chain()
        seen = [chain.state.status]
        for step in (chain.claim, chain.start, chain.suspend, chain.complete):
            step()
            seen.append(chain.state.status)
        assert seen == [Status.NEW, Status.NEW, Status.RUNNING, Status.SUSPENDED, Status.COMPLETED]

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (RunFailed(error=PASSING), Status.FAILED),
            (RunCancelled(reason="x"), Status.CANCELLED),
            (RunLimited(limit="steps", bound=1, used=1), Status.LIMITED),
        ],
    )
    def test_each_end_has_its_own(self, end: Any, status: Status) -> None:
        chain = begun()
        chain.add(end)
        assert chain.state.status is status
        assert chain.state.ended
        assert chain.guard.ended

    @pytest.mark.parametrize(
        "event",
        [
            MessageReceived(request_id="2", text="x"),
            RunEndRequested(request_id="2"),
            RunCancelRequested(request_id="2"),
        ],
    )
    def test_whatever_the_user_says_wakes_a_run(self, event: Any) -> None:
        chain = begun()
        chain.suspend()
        chain.add(event)
        assert (chain.state.status, chain.state.suspended) == (Status.RUNNING, None)

    def test_a_claim_wakes_a_run_that_was_handed_over_and_no_other(self) -> None:
        chain = begun()
        chain.add(RunSuspended(reason="handed_over"))
        chain.claim()
        assert chain.state.status is Status.RUNNING
        chain.suspend()
        chain.claim()
        assert (chain.state.status, chain.state.suspended) == (Status.SUSPENDED, "input")

    def test_a_claim_loses_sight_of_what_was_running(self) -> None:
        chain = begun()
        chain.ask()
        chain.claim()
        call = chain.state.model_call
        assert call is not None
        assert call.phase is Phase.LOST
        chain = busy()
        chain.add(ToolCallCompleted(call_id="m1.t0", result="found", duration_ms=1))
        chain.claim()
        phases = {call_id: call.phase for call_id, call in chain.state.tool_calls.items()}
        assert phases == {"m1.t0": Phase.SETTLED, "m1.t1": Phase.LOST}


class TestWhatDoesNotBelong:
    def test_a_gap_is_named(self) -> None:
        chain = long_run()
        replayed = replay(chain.run_id, chain.records[:4] + chain.records[5:])
        assert replayed.guard.seq == 4
        assert replayed.skipped == len(chain.records) - 5

    def test_records_that_do_not_begin_at_the_first_are_an_error_and_no_empty_run(self) -> None:
        chain = begun()
        with pytest.raises(BrokenHistory, match="do not begin at seq 1"):
            replay(chain.run_id, chain.records[1:])

    def test_no_records_are_a_new_run(self) -> None:
        assert replay("run-1", []) == (RunState("run-1"), Guard(), 0)

    def test_a_record_of_another_run_is_named(self) -> None:
        chain = begun()
        with pytest.raises(BrokenHistory, match=r"run run-1: record 1: it names another run, 0197") as found:
            replay("run-1", chain.records)
        assert (found.value.run_id, found.value.seq) == ("run-1", 1)

    def test_a_changed_record_is_named(self) -> None:
        chain = long_run()
        changed = chain.records[3]
        chain.records[3] = changed._replace(body=changed.body.replace(b"let me see", b"let me sea"))
        with pytest.raises(BrokenHistory, match="record 4: its digest does not match"):
            replay(chain.run_id, chain.records)

    def test_duplicates_and_fenced_records_are_skipped_and_counted(self) -> None:
        chain = begun(writer="zombie")
        late = chain.other()
        chain.claim("other")
        chain.complete()
        noise = [chain.records[2], late.complete(), chain.next(RunClaimed(reason="taken_over"))]
        replayed = replay(chain.run_id, [*chain.records, *noise])
        assert replayed.skipped == 3
        assert replayed.state == chain.state

    def test_a_record_that_fits_the_chain_but_not_the_run_is_named(self) -> None:
        chain = begun()
        chain.add(ToolCallCompleted(call_id="m9.t9", result="x", duration_ms=1))
        with pytest.raises(BrokenHistory, match="record 3: it does not follow from the records before it"):
            _ = chain.state

    def test_an_unknown_event_type_stops_the_fold(self) -> None:
        chain = begun()
        stored = chain.next(RunSuspended(reason="input"))
        body = stored.body.replace(b"run.suspended", b"run.dreaming!")
        with pytest.raises(UnknownEventType):
            replay(chain.run_id, [*chain.records, Stored(body, digest_of(chain.guard.digest, body))])

    def test_corrupt_bytes_stop_the_fold(self) -> None:
        chain = begun()
        with pytest.raises(UnreadableRecord):
            replay(chain.run_id, [*chain.records, Stored(b"{", "f" * 64)])


class TestAsJson:
    def test_messages_are_in_the_form_of_chat_completions(self) -> None:
        messages = as_json(busy().state)["messages"]
        assert messages == [
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "content": "let me see",
                "tool_calls": [
                    {
                        "id": f"provider-{call_id}",
                        "type": "function",
                        "function": {"name": name, "arguments": "{}"},
                    }
                    for call_id, name in (("m1.t0", "look_up"), ("m1.t1", "pay"))
                ],
            },
        ]

    def test_every_state_of_a_run_can_be_written(self) -> None:
        chain = long_run()
        for count in range(len(chain.records) + 1):
            state = replay(chain.run_id, chain.records[:count]).state
            assert json.loads(json.dumps(as_json(state)))["seq"] == count

    def test_calls_under_way_are_shown(self) -> None:
        shown = as_json(busy().state)["tool_calls"]
        assert [(call["call_id"], call["phase"], call["attempt"]) for call in shown] == [
            ("m1.t0", "running", 1),
            ("m1.t1", "running", 1),
        ]
        assert as_json(begun().state)["agent"] == SPEC.name
