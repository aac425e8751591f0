"""Recorded runs of other people's agents, their tool calls made again on fresh records for each run."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.airline import airline
from examples.airline.database import RECORDS as AIRLINE
from examples.customer_service.records import RunRecords
from examples.retail import retail
from examples.retail.database import RECORDS as RETAIL
from ledgent.agent import Agent, Tool, ToolContext, ToolError
from ledgent.agent.tools.function import InvalidArguments

BOTH = pytest.mark.parametrize(("agent", "records"), [(airline, AIRLINE), (retail, RETAIL)], ids=["airline", "retail"])


def recorded_runs(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def recorded_calls(run: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Tool, arguments as sent, and recorded answer. By order, never by call id: a run may use an id twice."""
    messages = run["messages"]
    answers = (message["content"] for message in messages if message["role"] == "tool")
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"], call["function"]["arguments"], next(answers)


async def answer(agent: Agent, run_id: str, index: int, name: str, arguments: str) -> str | None:
    """What the model is told; None for a call that never reaches a tool."""
    tool = agent.tool(name)
    if tool is None:
        return None
    context = ToolContext(run_id, f"t{index}", f"{run_id}/t{index}")
    try:
        return (await tool.call(tool.parse(arguments), context)).text
    except InvalidArguments:
        return None
    except ToolError as refusal:
        return str(refusal)


async def make_again(agent: Agent, records: RunRecords, path: Path) -> Counter[str]:
    """Counts of calls and states; exactly the calls that the file lists as mismatches come out otherwise."""
    seen: Counter[str] = Counter()
    for run in recorded_runs(path):
        run_id = run["run_id"]
        listed = {mismatch["call_index"] for mismatch in run["replay"]["mismatches"]}
        for index, (tool, arguments, recorded) in enumerate(recorded_calls(run)):
            seen["calls"] += 1
            equal = await answer(agent, run_id, index, tool, arguments) == recorded
            seen["equal" if equal else "different"] += 1
            assert equal != (index in listed), f"call {index} of {run_id}: {tool}({arguments})"
        if final := run["replay"].get("final_state"):
            seen["states"] += 1
            assert records.canonical_sha256(run_id) == final["db_sha256_canonical_json"], run_id
    return seen


@pytest.fixture(autouse=True)
def environments(recorded_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the recordings' environments."""
    folder = recorded_data / "tau" / "env"
    for trade in ("airline", "retail"):
        monkeypatch.setenv(f"{trade.upper()}_DATA", str(folder / trade))
        monkeypatch.setenv(f"{trade.upper()}_STATE", str(tmp_path))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "records", "name", "calls", "equal", "states"),
    [
        (airline, AIRLINE, "airline_gpt-4o", 709, 709, 100),
        (retail, RETAIL, "retail_gpt-4o", 494, 494, 59),
        (retail, RETAIL, "retail_gpt-4.1", 472, 459, 52),
        (retail, RETAIL, "retail_advised", 460, 402, 51),
    ],
)
async def test_recorded_calls_give_what_they_gave_then(
    recorded_data: Path, agent: Agent, records: RunRecords, name: str, calls: int, equal: int, states: int
) -> None:
    seen = await make_again(agent, records, recorded_data / "tau" / "dev" / "replay" / f"{name}.jsonl")
    assert (seen["calls"], seen["equal"], seen["states"]) == (calls, equal, states)


@pytest.mark.slow
async def test_only_what_the_files_list_differs_in_the_whole_corpus(recorded_data: Path) -> None:
    seen: Counter[str] = Counter()
    for file in sorted((recorded_data / "tau" / "dev" / "corpus").glob("retail_*.jsonl.gz")):
        seen += await make_again(retail, RETAIL, file)
    assert seen["equal"] > seen["different"] > 0
    assert seen["states"] > 0


@BOTH
def test_the_model_is_shown_the_recorded_tools_in_the_recorded_order(
    environments: Path, agent: Agent, records: RunRecords
) -> None:
    tools = json.loads((environments / records.trade / "tools.json").read_text(encoding="utf-8"))
    shown = [
        {"type": "function", "function": tool.spec.model_dump(include={"name", "description", "parameters"})}
        for tool in agent.tools
        if isinstance(tool, Tool)
    ]
    assert shown == tools


@BOTH
async def test_each_tool_has_the_effect_that_was_observed(
    environments: Path, agent: Agent, records: RunRecords
) -> None:
    text = (environments / records.trade / "observed_behaviour.json").read_text(encoding="utf-8")
    effects, observed = json.loads(text)["tools_by_effect"], json.loads(text)["observed"]
    examples = 0
    for name, seen in observed.items():
        tool, example = agent.tool(name), seen["example"]
        assert tool is not None
        assert tool.spec.ends_run == (name in effects["ends_run"]), name
        if example:
            given = await answer(agent, name, 0, name, example["arguments"])
            assert given is not None
            assert given.startswith(example["output_start"])
            assert form(given) in seen["answers"], name
            assert bool(records.read(name).changed) == (name in effects["writes"]), name
            examples += 1
    assert examples > 10


def form(given: str) -> str:
    """As the description of behaviour names it."""
    return {"": "empty string", "{": "JSON object", "[": "JSON array"}.get(given[:1], "plain text")
