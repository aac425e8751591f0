"""A run that outgrew its window, as people are shown it: summaries are no answers, and what was left out is told."""

import asyncio
from collections import Counter

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.dashboard.timeline import Timeline
from ledgent.dashboard.web.conversation import turns_of
from ledgent.dashboard.web.panels import turn
from ledgent.processors import runs, spans
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import Kind, SpanRow
from ledgent.processors.spans import RunSpans
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import Recorded, decode
from ledgent.schemas.state import Spent


@tool
async def look(n: int) -> str:
    """Looks."""
    return "there is much to see " * 10


@pytest.fixture(scope="module")
def run() -> tuple[Spent, list[Recorded]]:
    log = MemoryLog()
    model = ScriptedModel(
        [*[Call("look", n=n) for n in range(12)], "done"],
        context_window=500,
        summaries=["<b>First</b> notes", "", "Third notes"],
    )
    result = asyncio.run(Agent("clerk", model, tools=[look]).run("look around", log=log))
    assert result.output == "done"
    return result.spent, [decode(stored) for stored in log.records(result.run_id)]


def test_the_row_counts_its_tokens_and_cost_and_neither_a_step_nor_an_output(run: tuple[Spent, list[Recorded]]) -> None:
    spent, records = run
    row, outputs = RunRow(records[0].envelope.run_id), set[str]()
    for record in records:
        row = runs.project(row, record)
        outputs.add(row.output)
    assert (row.steps, row.input_tokens, row.output_tokens) == (spent.steps, spent.input_tokens, spent.output_tokens)
    assert row.model_attempts > row.steps
    assert outputs == {"", "done"}


def test_its_spans_say_what_they_are_for(run: tuple[Spent, list[Recorded]]) -> None:
    spent, records = run
    known: dict[str, SpanRow] = {}
    for record in records:
        open_ones = {key: span for key, span in known.items() if span.open}
        for row in spans.project(RunSpans(record.envelope.run_id, open_ones), record):
            known[row.span_id] = row
    calls = [span for span in known.values() if span.kind == Kind.MODEL_CALL]
    found = Counter((span.purpose, span.call_id[0]) for span in calls)
    assert found["summary", "s"] >= 2
    assert found.keys() == {("summary", "s"), ("answer", "m")}
    assert sum(span.input_tokens for span in calls) == spent.input_tokens
    assert not any(span.open for span in known.values())


def test_the_conversation_tells_it_in_a_note_that_can_be_opened(run: tuple[Spent, list[Recorded]]) -> None:
    _, records = run
    turns = turns_of(records)
    assert "notes" not in str([said.text for said in turns])
    notes = [said for said in turns if said.role == "note" and "to the model" in said.text.lower()]
    assert {"<b>First</b> notes", ""} <= {said.fold for said in notes}
    shown = turn(notes[0])
    assert "<details" in shown
    assert "&lt;b&gt;First" in shown


def test_the_timeline_has_a_line_for_each(run: tuple[Spent, list[Recorded]]) -> None:
    _, records = run
    timeline = Timeline()
    lines = [timeline.line(record) for record in records]
    said = {line.type: line.what for line in lines if line.type.startswith("context.")}
    assert said.keys() == {"context.summarized", "context.trimmed"}
    assert "are summed up, about" in said["context.summarized"]
    assert "are no longer sent, about" in said["context.trimmed"]
    assert any("for a summary of the messages before" in line.what for line in lines)
