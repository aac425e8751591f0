"""Recorded runs of other people's agents, their tool calls made again on a fresh shop for each run."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.retail import database, retail
from ledgent.agent import Tool, ToolContext, ToolError
from ledgent.agent.tools.function import InvalidArguments


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


async def answer(run_id: str, index: int, name: str, arguments: str) -> str | None:
    """What the model is told; None for a call that never reaches a tool."""
    tool = retail.tool(name)
    if tool is None:
        return None
    context = ToolContext(run_id, f"t{index}", f"{run_id}/t{index}")
    try:
        return await tool.call(tool.parse(arguments), context)
    except InvalidArguments:
        return None
    except ToolError as refusal:
        return str(refusal)


async def make_again(path: Path) -> Counter[str]:
    """Counts of calls and states; exactly the calls that the file lists as mismatches come out otherwise."""
    seen: Counter[str] = Counter()
    for run in recorded_runs(path):
        run_id = run["run_id"]
        listed = {mismatch["call_index"] for mismatch in run["replay"]["mismatches"]}
        for index, (tool, arguments, recorded) in enumerate(recorded_calls(run)):
            seen["calls"] += 1
            equal = await answer(run_id, index, tool, arguments) == recorded
            seen["equal" if equal else "different"] += 1
            assert equal != (index in listed), f"call {index} of {run_id}: {tool}({arguments})"
        if final := run["replay"].get("final_state"):
            seen["states"] += 1
            assert database.canonical_sha256(run_id) == final["db_sha256_canonical_json"], run_id
    return seen


@pytest.fixture(autouse=True)
def shop(recorded_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIL_DATA", str(recorded_data / "tau" / "env" / "retail"))
    monkeypatch.setenv("RETAIL_STATE", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "calls", "equal", "states"),
    [
        ("retail_gpt-4o", 494, 494, 59),
        ("retail_gpt-4.1", 472, 459, 52),
        ("retail_advised", 460, 402, 51),
    ],
)
async def test_recorded_calls_give_what_they_gave_then(
    recorded_data: Path, name: str, calls: int, equal: int, states: int
) -> None:
    seen = await make_again(recorded_data / "tau" / "dev" / "replay" / f"{name}.jsonl")
    assert (seen["calls"], seen["equal"], seen["states"]) == (calls, equal, states)


@pytest.mark.slow
async def test_only_what_the_files_list_differs_in_the_whole_corpus(recorded_data: Path) -> None:
    seen: Counter[str] = Counter()
    for file in sorted((recorded_data / "tau" / "dev" / "corpus").glob("retail_*.jsonl.gz")):
        seen += await make_again(file)
    assert seen["equal"] > seen["different"] > 0
    assert seen["states"] > 0


def test_the_model_is_shown_the_recorded_tools_in_the_recorded_order(recorded_data: Path) -> None:
    tools = json.loads((recorded_data / "tau" / "env" / "retail" / "tools.json").read_text(encoding="utf-8"))
    shown = [
        {"type": "function", "function": tool.spec.model_dump(include={"name", "description", "parameters"})}
        for tool in retail.tools
        if isinstance(tool, Tool)
    ]
    assert shown == tools
