"""What a run's row and spans make of people: calls that wait to be allowed."""

import pytest

from ledgent.processors.span_rows import Kind, SpanStatus
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    CheckpointSaved,
    HistoryShared,
    QuestionAnswered,
    RunClaimed,
    RunSuspended,
)
from ledgent.schemas.run import replay
from ledgent.schemas.values import ForkedFrom, SharedMessage
from tests.processors.chain import Chain
from tests.processors.test_projections import row_of, spans_of


def waiting() -> Chain:
    chain = Chain("r").start()
    chain.asks("m1")
    chain.answers("m1", tools=("pay",))
    chain.put(ApprovalRequested(call_id="m1.t0", name="pay", arguments="{}"), "m1.t0", 1)
    chain.put(RunSuspended(reason="approval"))
    return chain


def test_a_run_that_waits_to_be_allowed_is_suspended_and_nobody_works_on_it() -> None:
    records = waiting().recorded()
    row = row_of(records)
    assert (row.status, row.suspended) == ("suspended", "approval")
    wait = spans_of(records)[-1]
    assert (wait.kind, wait.name, wait.status, wait.open) == (Kind.INPUT_WAIT, "approval", SpanStatus.WAITING, True)


def test_the_input_of_a_restored_run_is_what_was_said_first() -> None:
    said = (SharedMessage(role="assistant", text="hi"), SharedMessage(role="user", text="go"))
    origin = ForkedFrom(run_id="o", seq=3, digest="0" * 64, messages=2, model_calls=1)
    chain = Chain("r").start(None, forked_from=origin)
    chain.put(HistoryShared(messages=said))
    assert row_of(chain.recorded()).input == "go"


@pytest.mark.parametrize(
    "answer",
    [
        ApprovalGranted(request_id="yes", call_id="m1.t0"),
        ApprovalDenied(request_id="no", call_id="m1.t0", message="no"),
        QuestionAnswered(request_id="so", call_id="m1.t0", text="so"),
        CheckpointSaved(request_id="so", name="here"),
    ],
)
def test_either_answer_wakes_it(answer: AnyEvent) -> None:
    chain = waiting()
    chain.put(RunClaimed(reason="resumed"))
    chain.put(answer, "m1.t0", 1)
    records = chain.recorded()
    row = row_of(records)
    assert (row.status, row.suspended) == ("running", "")
    assert str(replay("r", chain.records).state.status) == row.status
    wait = next(span for span in spans_of(records) if span.kind == Kind.INPUT_WAIT)
    assert (wait.open, wait.status) == (False, SpanStatus.OK)
