"""What was remembered, as people are shown it: on the timeline, in the conversation, and as a span of its own."""

import asyncio

import pytest

from ledgent.agent import Agent, Call, ScriptedModel
from ledgent.dashboard.timeline import Timeline
from ledgent.dashboard.web import detail
from ledgent.dashboard.web.conversation import turns_of
from ledgent.dashboard.web.history import History
from ledgent.dashboard.web.panels import turn
from ledgent.processors import spans
from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus
from ledgent.processors.spans import RunSpans
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import Recorded, decode, encode


class Notes:
    """Knows of tea, and of nothing after the third look."""

    name = "notes"
    looks = 0

    def add(self, text: str, key: str) -> None:
        pass

    def search(self, query: str, limit: int) -> list[str]:
        self.looks += 1
        if self.looks > 3:
            raise ValueError("torn")
        return ["<b>Ada</b> likes tea.", "So does Bob."] if "tea" in query else []


@pytest.fixture(scope="module")
def records() -> list[Recorded]:
    log = MemoryLog()

    async def talk() -> str:
        calls = [Call("remember", text="Ada likes milk."), Call("recall", query="tea")]
        agent = Agent("clerk", ScriptedModel([calls, "a", "b", "c"]), memory=Notes(), conversational=True)
        async with agent.conversation(log=log) as chat:
            for said in ("tea?", "nothing", "tea again"):
                await chat.send(said)
            return chat.run_id

    return [decode(stored) for stored in log.records(asyncio.run(talk()))]


def spans_of(records: list[Recorded]) -> list[SpanRow]:
    known: dict[str, SpanRow] = {}
    for record in records:
        open_ones = {key: span for key, span in known.items() if span.open}
        for row in spans.project(RunSpans(record.envelope.run_id, open_ones), record):
            known[row.span_id] = row
    return list(known.values())


def test_the_timeline_says_what_was_looked_for_found_and_written(records: list[Recorded]) -> None:
    timeline = Timeline()
    lines = [line for line in map(timeline.line, records) if line.type.startswith("memory.")]
    assert [line.what for line in lines if line.type == "memory.read_started"] == [
        f"what is remembered about: {said}" for said in ("tea?", "nothing", "tea again")
    ]
    found = "2 entries are remembered | <b>Ada</b> likes tea. | So does Bob."
    read = [(line.call_id, line.what, line.tone) for line in lines if line.type == "memory.read"]
    assert read == [
        ("", found, "plain"),
        ("m1.t1", found, "plain"),
        ("", "nothing is remembered", "plain"),
        ("", "could not be read, internal: the memory raised ValueError: torn", "bad"),
    ]
    assert [line.what for line in lines if line.type == "memory.written"] == ["Ada likes milk."]


def test_the_conversation_tells_it_in_notes_that_can_be_opened(records: list[Recorded]) -> None:
    notes = [said for said in turns_of(records) if said.role == "note" and "emory" in said.text]
    assert [(note.text.partition(",")[0], note.fold, note.tone) for note in notes] == [
        ("Memory: 2 entries are remembered", "<b>Ada</b> likes tea.\nSo does Bob.", "calm"),
        ("Written to memory", "Ada likes milk.", "calm"),
        ("Memory: nothing is remembered", "", "calm"),
        ("Memory: could not be read", "", "bad"),
    ]
    shown = turn(notes[0])
    assert "<details" in shown
    assert "&lt;b&gt;Ada" in shown


def test_each_look_before_a_model_call_is_a_span(records: list[Recorded]) -> None:
    looks = [span for span in spans_of(records) if span.kind == Kind.MEMORY_READ]
    assert [(span.status, span.error_code) for span in looks] == [
        (SpanStatus.OK, ""),
        (SpanStatus.OK, ""),
        (SpanStatus.ERROR, "internal"),
    ]
    assert all(span.duration_ms is not None and not span.open for span in looks)


def test_what_was_looked_for_and_found_is_beside_its_span(records: list[Recorded]) -> None:
    history = History(records[0].envelope.run_id)
    history.extend([encode(record.envelope, record.event) for record in records])
    shown = [
        {part.title: part.text for part in detail.of_span(span, history)}
        for span in spans_of(records)
        if span.kind == Kind.MEMORY_READ
    ]
    assert (shown[0]["Looked for"], shown[0]["Remembered"]) == ("tea?", "<b>Ada</b> likes tea.\nSo does Bob.")
    assert shown[1]["Remembered"] == "Nothing."
    assert "torn" in shown[2]["Error"]
