"""The waterfall: which span stands in which row, from when to when, and on which page."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ledgent.dashboard.web.layout import Bar, as_data, is_failure, waterfall
from ledgent.processors.span_rows import SpanRow
from ledgent.processors.spans import RunSpans, project
from tests.processors import chain as chains

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def spans_of(chain: chains.Chain) -> list[SpanRow]:
    """As the sink computes them, in the order in which the store gives them."""
    known: dict[str, SpanRow] = {}
    spans = RunSpans(chain.run_id)
    for record in chain.recorded():
        for row in project(spans, record):
            known[row.span_id] = row
            answered = row.span_id if row.kind == "model_call" and row.status == "ok" else spans.answered
            spans = RunSpans(chain.run_id, {key: span for key, span in known.items() if span.open}, answered)
    return sorted(known.values(), key=lambda row: (row.started_seq, row.parent_span_id, row.span_id))


def made(scenario: object) -> list[SpanRow]:
    chain = chains.Chain("run-1", at=START)
    scenario(chain)  # type: ignore[operator]
    return spans_of(chain)


def shown(bars: tuple[Bar, ...]) -> list[str]:
    return ["  " * bar.depth + f"{bar.span.kind} {bar.span.call_id}/{bar.span.attempt}".rstrip("/0 ") for bar in bars]


def many(count: int) -> list[SpanRow]:
    chain = chains.Chain("run-1", at=START)
    chain.start()
    for number in range(1, count + 1):
        chain.asks(f"m{number}")
        chain.answers(f"m{number}", "and")
    return spans_of(chain)


def test_tools_stand_beneath_the_answer_that_asked_for_them() -> None:
    fall = waterfall(made(chains.with_tools))
    assert shown(fall.bars) == [
        "run",
        "  model_call m1/1",
        "    tool_call m1.t0/1",
        "    tool_call m1.t1/1",
        "    tool_call m1.t2",
        "  model_call m2/1",
    ]
    assert fall.bars[0].children == 2
    assert fall.bars[1].children == 3


def test_every_attempt_and_every_wait_is_a_row_of_its_own() -> None:
    assert shown(waterfall(made(chains.with_retries)).bars) == [
        "run",
        "  model_call m1/1",
        "  retry_wait m1/2",
        "  model_call m1/2",
        "    tool_call m1.t0/1",
        "    retry_wait m1.t0/2",
        "    tool_call m1.t0/2",
    ]


def test_bars_stand_by_time_and_none_outlasts_the_axis() -> None:
    fall = waterfall(made(chains.with_retries))
    for one, other in pairwise(bar for bar in fall.bars if bar.depth == 1):
        assert one.start_ms < other.start_ms
    assert fall.bars[1].start_ms == 20  # the third record, 10 ms apart
    assert all(bar.start_ms + (bar.length_ms or 0) <= fall.total_ms for bar in fall.bars)
    assert fall.began_at == START


def test_the_time_until_an_intent_was_durable_is_told_from_the_call_itself() -> None:
    call = waterfall(made(chains.with_tools)).bars[1]
    assert (call.length_ms, call.span.duration_ms, call.lead_ms) == (10.0, 9.5, 0.5)
    assert waterfall(made(chains.with_tools)).bars[0].lead_ms == 0


def test_what_has_not_ended_has_no_length_and_the_present_is_told() -> None:
    fall = waterfall(made(chains.ended_conversation))
    still = [bar.span.kind for bar in fall.bars if bar.length_ms is None]
    assert still == ["run", "model_call"]
    data = as_data(fall, START + timedelta(seconds=3), lambda bar: bar.span.kind)
    assert data["now_ms"] == 3_000
    assert as_data(waterfall(made(chains.with_tools)), START, lambda bar: "")["now_ms"] is None


def test_the_axis_covers_the_run_or_what_is_on_the_page() -> None:
    whole = waterfall(many(25))
    data = as_data(whole, START, lambda bar: "")
    assert (data["from_ms"], data["until_ms"]) == (0.0, whole.total_ms)
    page = waterfall(many(25), page=2, size=10)
    data = as_data(page, START, lambda bar: "")
    assert (data["from_ms"], data["until_ms"]) == (page.bars[1].start_ms, page.bars[-1].start_ms + 10)
    assert data["now_ms"] is None


def test_failures_are_known_as_such() -> None:
    kinds = {span.status: is_failure(span) for span in (*made(chains.with_tools), *made(chains.taken_over))}
    assert kinds == {"ok": False, "rejected": True, "uncertain": True, "error": True}


def test_a_span_without_a_known_parent_hangs_from_the_run() -> None:
    spans = made(chains.with_tools)
    lost = [span for span in spans if span.call_id != "m1"]
    assert shown(waterfall(lost).bars)[1:] == [
        "  tool_call m1.t0/1",
        "  tool_call m1.t1/1",
        "  tool_call m1.t2",
        "  model_call m2/1",
    ]


def test_a_long_run_is_paged_and_every_page_hangs_from_the_run() -> None:
    spans = many(25)
    pages = [waterfall(spans, page=page, size=10) for page in (1, 2, 3)]
    assert [(page.page, page.pages, page.spans, page.first, page.cut) for page in pages] == [
        (1, 3, 25, 1, True),
        (2, 3, 25, 11, True),
        (3, 3, 25, 21, True),
    ]
    assert [len(page.bars) for page in pages] == [11, 11, 6]
    assert {page.bars[0].span.kind for page in pages} == {"run"}
    calls = [bar.span.call_id for page in pages for bar in page.bars[1:]]
    assert calls == [f"m{number}" for number in range(1, 26)]
    assert len({page.total_ms for page in pages}) == 1
    assert not waterfall(spans).cut


def test_a_chosen_span_opens_the_page_that_it_stands_on() -> None:
    spans = many(25)
    chosen = next(span for span in spans if span.call_id == "m11")
    assert waterfall(spans, chosen=chosen.span_id, size=10).page == 2
    assert waterfall(spans, chosen="no such span", size=10).page == 1
    assert waterfall(spans, page=99, size=10).page == 3


def test_a_run_without_spans_yet_is_no_error() -> None:
    assert waterfall([]).bars == ()


def test_thirty_thousand_spans_are_laid_out_in_a_blink() -> None:
    spans = many(100)
    late = [
        span._replace(span_id=f"{number}-{span.span_id}", started_seq=span.started_seq + 1_000 * number)
        for number in range(300)
        for span in spans[1:]
    ]
    began = datetime.now(UTC)
    assert waterfall([spans[0], *late], page=1).spans == 30_000
    assert datetime.now(UTC) - began < timedelta(seconds=20)  # what grows with the square takes minutes
