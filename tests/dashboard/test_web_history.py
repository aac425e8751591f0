"""A run's records, read as they come in and stepped through."""

import orjson
import pytest

from ledgent.dashboard.web.history import SNAPSHOT_EVERY, History
from ledgent.dashboard.web.json_view import LIST_ITEMS, lines_of, pretty_text
from ledgent.schemas.codec import Stored, export_line
from ledgent.schemas.run import replay
from ledgent.schemas.state_json import as_json
from tests.processors import chain as chains


def chain_of(scenario: object) -> chains.Chain:
    chain = chains.Chain("run-1")
    scenario(chain)  # type: ignore[operator]
    return chain


def read(stored: list[Stored]) -> History:
    history = History("run-1")
    history.extend(stored)
    return history


def long_chain() -> chains.Chain:
    chain = chains.Chain("run-1")
    chain.start()
    for number in range(1, SNAPSHOT_EVERY):
        chain.asks(f"m{number}")
        chain.answers(f"m{number}", f"answer {number}", tools=["find"])
        chain.calls(f"m{number}.t0")
        chain.returns(f"m{number}.t0")
    return chain


@pytest.mark.parametrize("scenario", chains.SCENARIOS)
def test_the_state_after_each_record_is_what_a_replay_yields(scenario: object) -> None:
    stored = chain_of(scenario).records
    history = read(stored)
    for seq in range(len(stored) + 1):
        assert as_json(history.state_after(seq)) == as_json(replay("run-1", stored[:seq]).state)
    assert as_json(history.state) == as_json(history.state_after(len(stored)))


def test_a_long_run_is_stepped_from_the_state_kept_last() -> None:
    stored = long_chain().records
    history = read(stored)
    for seq in (1, SNAPSHOT_EVERY - 1, SNAPSHOT_EVERY, SNAPSHOT_EVERY + 1, 3 * SNAPSHOT_EVERY, len(stored)):
        assert as_json(history.state_after(seq)) == as_json(replay("run-1", stored[:seq]).state)


def test_records_that_come_later_go_on_where_it_stood() -> None:
    stored = long_chain().records
    history = read(stored[:100])
    history.extend(stored[100:])
    whole = read(stored)
    assert history.lines == whole.lines
    assert as_json(history.state) == as_json(whole.state)
    assert b"".join(map(export_line, history.stored)) == b"".join(map(export_line, stored))


def test_a_step_says_what_the_record_changed() -> None:
    step = read(chain_of(chains.with_tools).records).step(4)
    assert step is not None
    assert step.line.type == "model_call.completed"
    changed = dict(step.changed)
    assert changed["seq"] == {"before": 3, "after": 4}
    assert changed["spent.input_tokens"] == {"before": 0, "after": 100}
    assert [message["role"] for message in changed["messages"]["added"]] == ["assistant"]


def test_there_is_no_step_before_the_first_record_or_after_the_last() -> None:
    history = read(chain_of(chains.with_tools).records)
    assert history.step(0) is None
    assert history.step(len(history.records) + 1) is None
    assert history.record(1) is not None


def test_a_record_that_cannot_be_read_ends_what_can_be_stepped_through() -> None:
    stored = list(chain_of(chains.with_tools).records)
    body = stored[4].body.replace(b'"tool_call.started"', b'"tool_call.dreamt"')
    stored[4] = Stored(body, stored[4].digest)
    history = read(stored)
    assert len(history.records) == 4
    assert "tool_call.dreamt" in str(history.unread)
    assert history.stored == stored
    history.extend(stored[:1])
    assert len(history.records) == 4


def test_json_is_the_same_in_lines() -> None:
    value = {"a": [1, {"b": None}], "empty": {}, "none": [], "text": 'with "quotes"\nand lines'}
    assert orjson.loads("".join(line.text for line in lines_of(value))) == value


def test_what_changed_is_marked_and_nothing_else() -> None:
    value = {"seq": 4, "call": {"phase": "failed", "id": "m1"}, "messages": ["one", "two"]}
    changed = [("call.phase", {"before": "running", "after": "failed"}), ("messages", {"added": ["two"]})]
    marked = [line.text for line in lines_of(value, changed) if line.changed]
    assert marked == ['"phase": "failed",', '"two"']


def test_a_value_that_came_whole_is_marked_whole() -> None:
    changed = [("call", {"before": None, "after": {"id": "m1"}})]
    assert [line.changed for line in lines_of({"call": {"id": "m1"}}, changed)] == [False, True, True, True, False]


def test_a_long_list_shows_its_end_and_says_so() -> None:
    lines = [line.text for line in lines_of({"messages": list(range(100))})]
    assert "… the first 80 of 100 are not shown" in lines
    assert lines[3 : 3 + LIST_ITEMS] == [f"{number}," for number in range(80, 99)] + ["99"]


def test_text_that_is_no_json_stays_as_it_is() -> None:
    assert pretty_text("{not JSON") == "{not JSON"
    assert pretty_text('{"a":1}') == '{\n  "a": 1\n}'
