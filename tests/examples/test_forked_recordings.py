"""Recorded runs forked and compared: the figures of parent and child are those of the recording and of the raw log."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from examples.retail import retail
from examples.retail.database import RECORDS
from ledgent.agent import Agent, Call, Reply, ScriptedModel
from ledgent.agent.verify import verify
from ledgent.dashboard.diff import Side, compare, side_of
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import decode
from ledgent.schemas.values import Usage
from tests.examples.test_recordings import recorded_runs

RUNS = 12


@pytest.fixture(autouse=True)
def _environment(recorded_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIL_DATA", str(recorded_data / "tau" / "env" / "retail"))
    monkeypatch.setenv("RETAIL_STATE", str(tmp_path))


def turns_of(run: dict[str, Any]) -> list[Reply]:
    """The recorded answers, each with figures of its own."""
    answers = [message for message in run["messages"] if message["role"] == "assistant"]
    return [
        Reply(
            answer["content"],
            [
                Call.raw(call["function"]["name"], call["function"]["arguments"])
                for call in answer.get("tool_calls") or ()
            ],
            usage=Usage(input_tokens=1_000 + number, output_tokens=10 * number + 1),
            cost_usd=number / 1_024,
        )
        for number, answer in enumerate(answers, 1)
    ]


def clerk(turns: list[Reply], name: str) -> Agent:
    return retail.but(model=ScriptedModel(turns, name=name), instructions="Serve.")


async def recorded_again(log: MemoryLog, run: dict[str, Any]) -> str:
    users = [message["content"] for message in run["messages"] if message["role"] == "user"]
    async with clerk(turns_of(run), "recorded").conversation(log=log) as chat:
        for said in users[:-1]:
            if not chat.state.ended:
                await chat.send(said)
    return chat.run_id


def raw(log: MemoryLog, run_id: str) -> list[dict[str, Any]]:
    return [json.loads(stored.body) for stored in log.records(run_id)]


def figures_in(log: MemoryLog, run_id: str) -> Counter[str]:
    """The run's figures from the bytes in the log."""
    found: Counter[str] = Counter()
    for body in raw(log, run_id):
        event, type = body["event"], body["type"]
        found[type] += 1
        if type == "model_call.completed":
            found["in"] += event["usage"]["input_tokens"]
            found["out"] += event["usage"]["output_tokens"]
            found["cost"] += event["cost_usd"]
    return found


def holds(side: Side, log: MemoryLog) -> None:
    expected = figures_in(log, side.run_id)
    assert (side.total.input_tokens, side.total.output_tokens) == (expected["in"], expected["out"])
    assert side.total.cost_usd == expected["cost"]
    assert side.model_calls == expected["model_call.completed"]
    assert side.tool_calls == expected["tool_call.started"]
    assert side.reused == expected["tool_call.reused"]
    assert sum(step.figures.attempts for step in side.steps if step.role == "tool") == expected["tool_call.started"]


def side(log: MemoryLog, run_id: str) -> Side:
    return side_of(run_id, map(decode, log.records(run_id)))


@pytest.mark.slow
async def test_forks_of_recorded_runs_have_the_figures_of_the_recording(recorded_data: Path) -> None:
    path = recorded_data / "tau" / "dev" / "replay" / "retail_gpt-4o.jsonl"
    reused = parted = 0
    for run, _ in zip(recorded_runs(path), range(RUNS), strict=False):
        log, turns = MemoryLog(), turns_of(run)
        first = next(place for place, turn in enumerate(turns) if turn.calls)
        last = next((place for place in range(first, len(turns)) if not turns[place].calls), None)
        if last is None:
            continue
        parent = await recorded_again(log, run)
        before, changed = list(log.records(parent)), RECORDS.read(parent).changed
        at = next(
            body["seq"]
            for body in raw(log, parent)
            if body["type"] == "model_call.started" and body["event"]["call_id"] == f"m{first + 1}"
        )

        child = (await clerk(turns, "other").fork(parent, at=at, log=log)).run_id
        there, here = side(log, parent), side(log, child)
        holds(there, log)
        holds(here, log)
        asked = turns[first : last + 1]
        assert here.total.cost_usd == sum(range(first + 1, last + 2)) / 1_024
        assert here.total.input_tokens == sum(1_000 + number for number in range(first + 1, last + 2))
        assert (here.model_calls, here.tool_calls) == (len(asked), 0)
        assert here.reused == sum(len(turn.calls) for turn in asked)
        compared = compare(there, here)
        same = [row for row in compared.rows if row.mark == "same"]
        assert compared.parts_at == len(same) == len(here.steps) - 1, "the child says what the parent said, and waits"
        assert [name for name, _, _ in compared.settings] == ["model.name"]

        other = [*turns[: first + 1], Reply("I have to stop here.", usage=Usage(input_tokens=1), cost_usd=0.5)]
        stopped = (await clerk(other, "other").fork(parent, at=at, log=log)).run_id
        compared = compare(there, side(log, stopped))
        holds(compared.second, log)
        assert compared.parts_at is not None
        row = compared.rows[compared.parts_at]
        assert (row.mark, row.second.text if row.second else "") == ("changed", "I have to stop here.")
        assert compared.second.total.cost_usd == (first + 1) / 1_024 + 0.5

        for run_id in (parent, child, stopped):
            assert verify(log, run_id).ok
        assert (list(log.records(parent)), RECORDS.read(parent).changed) == (before, changed)
        assert not RECORDS.read(child).changed, "no tool was called"
        reused, parted = reused + here.reused, parted + 1
    assert parted >= 10
    assert reused > 20
