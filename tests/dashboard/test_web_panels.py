"""What the pages say of a run, and that nothing that is said in a run becomes markup."""

from html.parser import HTMLParser

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, ask_user
from ledgent.dashboard.cli.run_pages import spent_in_words
from ledgent.dashboard.web import detail
from ledgent.dashboard.web.conversation import turns_of
from ledgent.dashboard.web.explain import explain
from ledgent.dashboard.web.history import History
from ledgent.dashboard.web.icons import PATHS, SPAN_WORDS, STATUS_WORDS, icon_css
from ledgent.dashboard.web.json_view import lines_of
from ledgent.dashboard.web.markup import Html, join, tag, text
from ledgent.dashboard.web.panels import change_list, explanation, json_lines, notice, run_header, sections, turn
from ledgent.processors import runs
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import Kind, SpanRow
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import QuestionAnswered, RunClaimed, RunFailed, ToolCallFailed, ToolCallUncertain
from ledgent.schemas.state import Status
from tests.dashboard.test_web_layout import spans_of
from tests.processors import chain as chains
from tests.processors.chain import START, error

DANGER = "<script>alert(1)</script><img src=x onerror=alert(1)> ![p](https://x.invalid/p.png) \" ' & `code` </pre>"
TAGS = {
    "a",
    "b",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "h1",
    "h3",
    "li",
    "ol",
    "pre",
    "section",
    "span",
    "summary",
    "ul",
}


class Outline(HTMLParser):
    """The elements and the text of a piece of markup; fails on what it must not hold."""

    def __init__(self, markup: Html) -> None:
        super().__init__()
        self.text = ""
        self.classes: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"<{tag}>"
        for name, value in attrs:
            assert name in ("class", "role", "aria-hidden", "href", "target"), name
            if name == "class":
                self.classes += (value or "").split()

    def handle_data(self, data: str) -> None:
        self.text += data


def dangerous() -> chains.Chain:
    chain = chains.Chain("run-1")
    chain.start(DANGER, chains.SHOP.model_copy(update={"name": DANGER, "instructions": DANGER}), labels={"x": DANGER})
    chain.asks("m1")
    chain.answers("m1", DANGER, tools=["find", DANGER])
    chain.calls("m1.t0")
    chain.put(ToolCallFailed(call_id="m1.t0", error=error(ErrorCode.TOOL_ERROR, DANGER), duration_ms=1.0), "m1.t0", 1)
    chain.calls("m1.t1", DANGER)
    chain.returns("m1.t1", DANGER)
    chain.put(RunFailed(error=error(ErrorCode.TOOL_ERROR, DANGER)))
    return chain


def row_of(chain: chains.Chain) -> RunRow:
    row = RunRow(chain.run_id)
    for record in chain.recorded():
        row = runs.project(row, record)
    return row


def history_of(chain: chains.Chain) -> History:
    history = History(chain.run_id)
    history.extend(chain.records)
    return history


def chain_of(scenario: object) -> chains.Chain:
    chain = chains.Chain("run-1")
    scenario(chain)  # type: ignore[operator]
    return chain


# --- nothing that is said becomes markup -------------------------------------------------------------


def test_a_string_is_text_wherever_it_stands() -> None:
    made = tag("div", DANGER, tag("b", DANGER), cls=DANGER, href=DANGER)
    assert Outline(made).text == 2 * DANGER
    assert "<script" not in made


def test_only_markup_that_was_made_here_is_left_as_it_is() -> None:
    part = tag("b", "x")
    assert join([part, None, "<b>"]) == "<b>x</b>&lt;b&gt;"
    assert "&lt;b&gt;" in tag("div", part + "")  # put together by hand, it is text again
    assert "\0" not in text("a\0b")


def test_what_may_have_been_billed_twice_is_told_apart_from_what_was() -> None:
    row = row_of(chain_of(chains.with_tools))._replace(cost_usd=0.25, maybe_cost_usd=0.0012)
    shown = "$0.2500 + about $0.0012 that may have been billed twice"
    assert shown in Outline(run_header(row, START)).text
    assert "about $0.0012 more may have been billed for calls lost in a crash" in spent_in_words(row)
    once = row._replace(maybe_cost_usd=0.0)
    assert "billed" not in Outline(run_header(once, START)).text + spent_in_words(once)


def test_no_page_lets_a_models_words_through() -> None:
    chain = dangerous()
    row, spans, history = row_of(chain), spans_of(chain), history_of(chain)
    pieces = [run_header(row, START), explanation(explain(row, spans), row.status)]
    pieces += [turn(said) for said in turns_of(history.records)]
    pieces += [sections(detail.of_span(span, history)) for span in spans]
    step = history.step(8)
    assert step is not None
    pieces += [
        json_lines(lines_of(step.state, step.changed)),
        change_list(step.changed),
        notice(DANGER, DANGER, [DANGER]),
    ]
    said = [Outline(piece).text for piece in pieces]
    assert sum("<script>alert(1)</script>" in part for part in said) > 10


# --- how a run ended ---------------------------------------------------------------------------------


def told(row: RunRow, spans: list[SpanRow] | None = None) -> str:
    return Outline(explanation(explain(row, spans or []), row.status)).text


def test_every_way_to_fail_says_what_to_do() -> None:
    for code in ErrorCode:
        if code is not ErrorCode.CANCELLED:
            assert explain(RunRow("r", status="failed", error_code=code)).next_step, code


def test_a_failure_tells_its_code_its_message_and_the_command_that_mends_it() -> None:
    chain = chain_of(chains.taken_over)
    said = told(row_of(chain), spans_of(chain))
    assert "Failed after 80 ms: auth." in said
    assert "bad key" in said
    assert "export OPENAI_API_KEY=" in said
    assert "Tool call m1.t0: interrupted: It may have happened." in said


def test_a_limit_tells_which_and_how_to_raise_it() -> None:
    chain = chain_of(chains.with_retries)
    said = told(row_of(chain), spans_of(chain))
    assert "reached its limit of 1 model calls: used 1" in said
    assert "Limits(steps=...)" in said
    assert "rate_limited" in said


def test_a_cancelled_run_tells_the_reason() -> None:
    assert "changed my mind" in told(row_of(chain_of(chains.conversation)))


def test_a_waiting_run_tells_how_to_go_on() -> None:
    row = RunRow("0193-abcdefgh", status=str(Status.SUSPENDED), suspended="input")
    assert 'ledgent run send abcdefgh "..."' in told(row)
    assert "ledgent worker" in told(row._replace(suspended="handed_over"))


def test_a_run_at_work_tells_what_is_under_way() -> None:
    chain = chain_of(chains.ended_conversation)
    assert "Under way: small (m2)." in told(row_of(chain), spans_of(chain))


def test_damaged_and_left_out_records_are_told() -> None:
    said = told(RunRow("run-1", status="completed", broken=1, fenced=2))
    assert "ledgent run verify run-1" in said
    assert "2 records by a writer that did not hold the run" in said


def test_of_many_causes_the_last_ones_are_told_and_the_others_counted() -> None:
    row = row_of(chain_of(chains.taken_over))
    bad = [
        SpanRow("run-1", f"s{n}", kind=str(Kind.TOOL_CALL), call_id=f"m{n}.t0", status="error", error_message="no")
        for n in range(9)
    ]
    found = explain(row, bad)
    assert (len(found.led_to_it), found.led_to_it_more) == (6, 3)
    assert "… and 3 before that" in told(row, bad)


# --- what there is to read ---------------------------------------------------------------------------


def test_the_talk_has_every_message_call_and_failure() -> None:
    turns = turns_of(history_of(chain_of(chains.with_tools)).records)
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "assistant", "note"]
    assert [(use.request.name, use.state) for use in turns[2].tools] == [
        ("find", "ok"),
        ("pay", "ok"),
        ("fnd", "rejected"),
    ]
    assert turns[-1].text == "The run completed"
    retried = turns_of(history_of(chain_of(chains.with_retries)).records)
    assert [turn.tone for turn in retried if turn.role == "note"][:2] == ["bad", "odd"]


def test_the_talk_has_calls_that_began_before_their_answer_was_whole() -> None:
    turns = turns_of(history_of(chain_of(chains.begun_early)).records)
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "note", "assistant", "assistant"]
    found = [[(use.request.call_id, use.state, use.answer) for use in turn.tools] for turn in turns]
    assert found[2] == [("m1.t0", "ok", "found"), ("m1.t1", "rejected", "No tool fnd.")]
    assert found[4:] == [[("m1.t2", "ok", "paid")], [("m2.t0", "waiting", None)]]


def test_a_tool_call_without_outcome_is_uncertain() -> None:
    turns = turns_of(history_of(chain_of(chains.taken_over)).records)
    assert [use.state for turn in turns for use in turn.tools] == ["uncertain"]


def test_the_talk_shows_what_a_person_is_asked_of_such_a_call_and_says() -> None:
    chain = chains.Chain("run-1")
    chain.start()
    chain.asks("m1")
    chain.answers("m1", tools=("pay",))
    chain.calls("m1.t0", "pay")
    chain.put(RunClaimed(reason="taken_over"))
    chain.put(ToolCallUncertain(call_id="m1.t0", message="Did it?", then="ask_person"), "m1.t0", 1)
    asked = turns_of(history_of(chain).records)
    assert [use.state for turn in asked for use in turn.tools] == ["uncertain"]
    assert (asked[-1].role, asked[-1].text) == ("note", "Did it?")
    chain.put(QuestionAnswered(request_id="q1", call_id="m1.t0", text="receipt 17", by="Ada"))
    said = turns_of(history_of(chain).records)
    assert [(use.state, use.answer) for turn in said for use in turn.tools] == [("ok", "receipt 17")]
    assert (said[-1].text, said[-1].facts) == ("receipt 17", ("Ada",))


def test_the_talk_begins_with_what_is_shared_and_then_what_is_new() -> None:
    agent = Agent(
        "asker",
        ScriptedModel([[Call("ask_user", question="Where?", choices=["Rome"]), Call("fly")], "Fine.", "Sure."]),
        tools=[ask_user],
    )
    log = MemoryLog()
    parent = agent.answer_sync(agent.run_sync("go", log=log).run_id, "Rome", by="Ada", log=log).run_id
    turns = turns_of([decode(stored) for stored in log.records(parent)])
    said = [(turn.role, turn.text) for turn in turns if turn.role != "assistant"]
    assert said == [
        ("user", "go"),
        ("note", "It asks the user: Where?"),
        ("user", "Rome"),
        ("note", "The run completed"),
    ]
    end = next(turn.seq for turn in turns if turn.text == "The run completed")
    child = agent.restore_sync(parent, at=end, input="Really?", log=log).run_id
    turns = turns_of([decode(stored) for stored in log.records(child)])
    assert [(turn.role, turn.text) for turn in turns[:-1]] == [
        ("user", "go"),
        ("assistant", ""),
        ("assistant", "Fine."),
        ("user", "Really?"),
        ("assistant", "Sure."),
    ]
    assert [(use.request.name, use.state, use.answer) for use in turns[1].tools] == [
        ("ask_user", "ok", "Rome"),
        ("fly", "ok", "There is no tool named 'fly'. The tools are: ask_user."),
    ]


def section(found: list[detail.Section], title: str) -> detail.Section:
    return next(part for part in found if part.title == title)


def test_a_model_call_shows_what_was_sent_and_what_came_back() -> None:
    chain = chain_of(chains.with_tools)
    spans, history = spans_of(chain), history_of(chain)
    last = next(span for span in spans if span.call_id == "m2")
    found = detail.of_span(last, history)
    assert section(found, "Answer").text == "Here you are."
    roles = [who for who, _ in section(found, "Messages sent").said]
    assert roles == ["system", "user", "assistant", "tool, to p0", "tool, to p1", "tool, to p2"]
    assert dict(section(found, "Log position").facts)["Records"] == "10 to 11"


def test_a_rejected_call_still_shows_its_arguments() -> None:
    chain = chain_of(chains.with_tools)
    rejected = next(span for span in spans_of(chain) if span.status == "rejected")
    found = detail.of_span(rejected, history_of(chain))
    assert section(found, "Error").text == "No tool fnd."
    assert section(found, "Arguments").text == '{\n  "n": 1\n}'


def test_so_does_one_that_was_rejected_before_the_answer_was_whole() -> None:
    chain = chain_of(chains.begun_early)
    rejected = next(span for span in spans_of(chain) if span.status == "rejected")
    found = detail.of_span(rejected, history_of(chain))
    assert section(found, "Arguments").text == '{\n  "n": 1\n}'


@pytest.mark.parametrize("scenario", chains.SCENARIOS)
def test_every_span_has_something_to_read(scenario: object) -> None:
    chain = chain_of(scenario)
    history = history_of(chain)
    for span in spans_of(chain):
        titles = [part.title for part in detail.of_span(span, history)]
        assert titles[-2:] == ["Figures", "Log position"]
        if span.kind in (Kind.RUN, Kind.MODEL_CALL, Kind.TOOL_CALL, Kind.RETRY_WAIT):
            assert len(titles) > 2, span.kind


def test_every_state_and_kind_has_a_word_and_a_picture() -> None:
    assert STATUS_WORDS.keys() == {str(status) for status in Status}
    assert SPAN_WORDS.keys() == {str(kind) for kind in Kind}
    assert STATUS_WORDS.keys() | SPAN_WORDS.keys() <= PATHS.keys()
    assert icon_css().count("data:image/svg+xml,") == len(PATHS)
