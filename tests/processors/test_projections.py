"""What records make of a run's row and of its spans."""

from datetime import timedelta

import msgspec
import pytest

from ledgent.processors import runs, spans
from ledgent.processors.blocks import Known
from ledgent.processors.clickhouse.schema import RUNS, SPANS
from ledgent.processors.runs import RunRow, preview
from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus
from ledgent.processors.spans import RunSpans
from ledgent.schemas.codec import Recorded, span_id_of
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import ModelCallCompleted, ModelCallFailed, RunCancelled, RunCompleted, RunSuspended
from ledgent.schemas.run import replay
from ledgent.schemas.values import Usage
from tests.processors.chain import (
    SCENARIOS,
    START,
    STEP,
    Chain,
    begun_early,
    conversation,
    ended_conversation,
    error,
    taken_over,
    with_retries,
    with_tools,
)

ROOT = span_id_of("r")


def row_of(records: list[Recorded]) -> RunRow:
    row = RunRow("r")
    for record in records:
        row = runs.project(row, record)
    return row


def spans_of(records: list[Recorded]) -> list[SpanRow]:
    """In the order in which they began."""
    rows: dict[str, SpanRow] = {}
    known = Known("r")
    for record in records:
        under_way = {key: span for key, span in rows.items() if span.open}
        answered = known.answered.span_id if known.answered else ""
        for span in spans.project(RunSpans("r", under_way, answered), record):
            rows[span.span_id] = span
            known.learn(span)
    return sorted(rows.values(), key=lambda span: span.started_seq)


def chain_of(scenario: object = None) -> Chain:
    chain = Chain("r")
    if callable(scenario):
        scenario(chain)
    return chain


def shape(rows: list[SpanRow]) -> list[tuple[str, str, int, str]]:
    return [(row.kind, row.name, row.attempt, row.status) for row in rows]


def test_a_run_with_tools_is_summed_up() -> None:
    chain = chain_of(with_tools)
    row = row_of(chain.recorded())
    assert row == RunRow(
        run_id="r",
        status="completed",
        agent="shop",
        model="small",
        provider="openai",
        session="s1",
        labels={"tier": "gold"},
        trace_id="a" * 32,
        started_at=START + STEP,
        updated_at=START + 11 * STEP,
        ended_at=START + 11 * STEP,
        duration_ms=100.0,
        events=12,
        steps=2,
        model_attempts=2,
        tool_calls=2,
        tool_errors=1,
        input_tokens=200,
        output_tokens=40,
        cached_tokens=20,
        reasoning_tokens=10,
        cost_usd=0.002,
        input="hello",
        output="Here you are.",
        epochs=1,
    )


def test_retries_count_as_attempts_and_the_step_only_once() -> None:
    row = row_of(chain_of(with_retries).recorded())
    assert (row.steps, row.model_attempts, row.retries) == (1, 2, 2)
    assert (row.tool_calls, row.tool_errors) == (1, 1)


def test_a_limit_names_itself() -> None:
    row = row_of(chain_of(with_retries).recorded())
    assert (row.status, row.limit_reached) == ("limited", "steps")
    assert row.error_message == "reached its limit of 1 steps: used 1"


def test_a_take_over_and_a_failure_show_in_the_row() -> None:
    row = row_of(chain_of(taken_over).recorded())
    assert (row.status, row.epochs, row.tool_errors) == ("failed", 2, 1)
    assert (row.error_code, row.error_message) == ("auth", "bad key")


def test_a_conversation_takes_its_input_from_the_first_message() -> None:
    chain = chain_of(conversation)
    rows = [row_of(chain.recorded()[: n + 1]) for n in range(len(chain.records))]
    assert [row.status for row in rows] == [
        "new", "running", "suspended", "running", "running", "suspended",
        "running", "running", "running", "running", "cancelled",
    ]  # fmt: skip
    assert [rows[2].suspended, rows[5].suspended, rows[6].suspended] == ["input", "handed_over", ""]
    assert rows[-1].input == "Do you have bells?"
    assert (rows[-1].error_code, rows[-1].error_message) == ("cancelled", "changed my mind")


@pytest.mark.parametrize("scenario", [*SCENARIOS, begun_early])
def test_the_row_agrees_with_the_folded_state(scenario: object) -> None:
    chain = chain_of(scenario)
    for n in range(1, len(chain.records) + 1):
        row = row_of(chain.recorded()[:n])
        state = replay("r", chain.records[:n]).state
        assert (row.status, row.epochs, row.started_at) == (
            state.status,
            state.epoch,
            state.started_at or START,
        )
        assert (row.suspended or None, row.limit_reached or None) == (state.suspended, state.limit)
        spent = msgspec.structs.asdict(state.spent)
        assert {name: getattr(row, name) for name in spent} == spent


def test_a_cost_that_is_not_known_is_not_passed_off_as_none() -> None:
    chain = chain_of().start()
    chain.asks("m1")
    known = row_of(chain.recorded())
    answered, failed, lost = chain.branch(), chain.branch(), chain.branch()
    answered.put(ModelCallCompleted(call_id="m1", text="hi", duration_ms=1.0), "m1", 1)
    failed.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.RATE_LIMITED)), "m1", 1)
    lost.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.INTERRUPTED)), "m1", 1)
    cut_off = chain.branch()
    cut_off.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.TIMEOUT), usage=Usage(input_tokens=3)), "m1", 1)
    assert known.cost_known
    assert not row_of(answered.recorded()).cost_known
    assert row_of(failed.recorded()).cost_known
    assert not row_of(lost.recorded()).cost_known
    assert not row_of(cut_off.recorded()).cost_known


def test_what_may_have_been_billed_twice_is_a_sum_of_its_own() -> None:
    chain = chain_of().start()
    chain.asks("m1")
    maybe = Usage(input_tokens=400, output_tokens=100)
    for attempt in (1, 2):
        lost = ModelCallFailed(
            call_id="m1",
            attempt=attempt,
            error=error(ErrorCode.INTERRUPTED),
            maybe_usage=maybe,
            maybe_cost_usd=0.0005,
        )
        chain.put(lost, "m1", attempt)
        chain.asks("m1", attempt + 1)
    chain.answers("m1", "hi", attempt=3)
    row = row_of(chain.recorded())
    assert (row.maybe_tokens, row.maybe_cost_usd) == (1_000, pytest.approx(0.001))
    assert (row.cost_usd, row.input_tokens, row.output_tokens) == (0.001, 100, 20)
    assert row.cost_known, "what is not known is told as such"


def test_a_preview_is_one_short_line() -> None:
    assert preview("a\n  b\tc") == "a b c"
    assert preview("x" * 240) == "x" * 240
    assert preview("x" * 241) == "x" * 239 + "…"
    assert len(preview("x " * 10_000)) == 240
    assert preview("x" + " " * 10_000) == "x…"


def test_parallel_tools_hang_under_the_answer_that_asked_for_them() -> None:
    rows = spans_of(chain_of(with_tools).recorded())
    assert shape(rows) == [
        ("run", "shop", 0, "ok"),
        ("model_call", "small", 1, "ok"),
        ("tool_call", "find", 1, "ok"),
        ("tool_call", "pay", 1, "ok"),
        ("tool_call", "fnd", 0, "rejected"),
        ("model_call", "small", 1, "ok"),
    ]
    first_answer = span_id_of("r", "m1", 1)
    assert [row.span_id for row in rows[:3]] == [ROOT, first_answer, span_id_of("r", "m1.t0", 1)]
    assert [row.parent_span_id for row in rows] == ["", ROOT, *[first_answer] * 3, ROOT]


def test_tools_that_begin_early_hang_under_the_attempt_that_asked_for_them() -> None:
    rows = spans_of(chain_of(begun_early).recorded())
    assert shape(rows) == [
        ("run", "shop", 0, "running"),
        ("model_call", "small", 1, "error"),
        ("tool_call", "find", 1, "error"),
        ("tool_call", "fnd", 0, "rejected"),
        ("tool_call", "find", 2, "ok"),
        ("model_call", "small", 2, "ok"),
        ("tool_call", "pay", 1, "ok"),
        ("model_call", "small", 1, "running"),
    ]
    cut, whole = span_id_of("r", "m1", 1), span_id_of("r", "m1", 2)
    assert [row.parent_span_id for row in rows] == ["", ROOT, cut, cut, cut, ROOT, whole, ROOT]
    model, tool = rows[5], rows[6]
    assert model.started_seq < tool.started_seq < tool.ended_seq < model.ended_seq


def test_a_span_has_the_times_and_figures_of_its_attempt() -> None:
    _, model_call, find, *_, rejected, _ = spans_of(chain_of(with_tools).recorded())
    assert (model_call.started_at, model_call.ended_at) == (START + 2 * STEP, START + 3 * STEP)
    assert (model_call.started_seq, model_call.ended_seq, model_call.call_id) == (3, 4, "m1")
    assert model_call.duration_ms == 9.5, "as measured, not as recorded"
    assert (model_call.input_tokens, model_call.output_tokens, model_call.cost_usd) == (100, 20, 0.001)
    assert find.cost_usd is None
    assert (rejected.started_at, rejected.duration_ms) == (rejected.ended_at, 0.0)
    assert (rejected.error_code, rejected.error_message) == ("unknown_tool", "No tool fnd.")


def test_every_attempt_and_every_wait_is_a_row_beside_the_others() -> None:
    rows = spans_of(chain_of(with_retries).recorded())
    assert shape(rows) == [
        ("run", "shop", 0, "limited"),
        ("model_call", "small", 1, "error"),
        ("retry_wait", "rate_limited", 2, "ok"),
        ("model_call", "small", 2, "ok"),
        ("tool_call", "find", 1, "error"),
        ("retry_wait", "timeout", 2, "ok"),
        ("tool_call", "find", 2, "ok"),
    ]
    answer = span_id_of("r", "m1", 2)
    assert [row.parent_span_id for row in rows] == ["", ROOT, ROOT, ROOT, answer, answer, answer]
    assert rows[2].duration_ms == 10.0


def test_a_call_with_no_known_outcome_is_uncertain() -> None:
    rows = spans_of(chain_of(taken_over).recorded())
    assert shape(rows)[2] == ("tool_call", "pay", 1, "uncertain")
    assert rows[2].error_message == "It may have happened."
    assert shape(rows)[-1] == ("model_call", "small", 1, "error")
    assert rows[0].error_message == "bad key"


def test_a_wait_for_input_and_one_for_the_next_worker_are_rows() -> None:
    chain = chain_of(conversation)
    assert shape(spans_of(chain.recorded()[:3])) == [
        ("run", "shop", 0, "waiting"),
        ("input_wait", "input", 0, "waiting"),
    ]
    rows = spans_of(chain.recorded())
    assert shape(rows) == [
        ("run", "shop", 0, "cancelled"),
        ("input_wait", "input", 0, "ok"),
        ("model_call", "small", 1, "error"),
        ("handover_wait", "handed_over", 0, "ok"),
        ("retry_wait", "interrupted", 2, "cancelled"),
    ]
    assert all(row.parent_span_id == ROOT for row in rows[1:])


def test_what_is_under_way_is_open() -> None:
    rows = spans_of(chain_of(ended_conversation).recorded())
    assert shape(rows)[-1] == ("model_call", "small", 1, "running")
    assert rows[-1].open
    assert (rows[-1].ended_at, rows[-1].duration_ms, rows[-1].ended_seq) == (None, None, 0)
    assert shape(rows)[0] == ("run", "shop", 0, "running")
    assert shape(rows)[2] == ("input_wait", "input", 0, "ok")


def test_nothing_stays_open_once_the_run_has_ended() -> None:
    chain = chain_of().start()
    chain.asks("m1")
    chain.answers("m1", tools=("find", "pay"))
    chain.calls("m1.t0")
    chain.calls("m1.t1", "pay")
    chain.put(RunCancelled())
    rows = spans_of(chain.recorded())
    assert [row.status for row in rows] == ["cancelled", "ok", "cancelled", "cancelled"]
    assert not any(row.open for row in rows)


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    chain = chain_of().start()
    chain.put(RunSuspended(reason="input"))
    chain.at -= timedelta(minutes=5)
    chain.put(RunCompleted())
    assert row_of(chain.recorded()).duration_ms == 0.0
    assert [row.duration_ms for row in spans_of(chain.recorded())] == [0.0, 0.0]


def test_a_failed_call_shows_in_its_span_what_it_used() -> None:
    chain = chain_of().start()
    chain.asks("m1")
    used = Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)
    chain.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.TIMEOUT), usage=used, cost_usd=0.5), "m1", 1)
    span = spans_of(chain.recorded())[-1]
    assert (span.input_tokens, span.output_tokens, span.cached_tokens, span.reasoning_tokens) == (7, 3, 2, 1)
    assert (span.cost_usd, span.status, span.error_code, span.error_message) == (0.5, "error", "timeout", "no luck")


def test_an_outcome_whose_start_could_not_be_read_still_has_a_span() -> None:
    chain = chain_of().start()
    chain.asks("m1")
    chain.answers("m1", "hi")
    records = [record for record in chain.recorded() if record.seq != 3]
    last = spans_of(records)[-1]
    assert (last.kind, last.call_id, last.attempt, last.status) == (Kind.MODEL_CALL, "m1", 1, SpanStatus.OK)
    assert last.parent_span_id == ROOT


def test_rows_have_the_fields_of_their_tables_in_their_order() -> None:
    assert RunRow._fields == RUNS.names
    assert SpanRow._fields == SPANS.names
