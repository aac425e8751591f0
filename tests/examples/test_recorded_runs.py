"""`benchmarks/recorded_runs.py` on recordings made here, of both examples, on their demo records."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.airline import airline
from examples.airline.database import RECORDS as AIRLINE
from examples.customer_service.records import RunRecords
from examples.retail import retail
from examples.retail.database import RECORDS as RETAIL
from ledgent.agent import Agent, Tool, ToolContext

CHECKOUT = Path(__file__).resolve().parents[2]
CANCEL = ("cancel_reservation", {"reservation_id": "DEMO02"})
BAGS = {"reservation_id": "DEMO01", "total_baggages": 3, "nonfree_baggages": 1, "payment_id": "gift_card_2204131"}


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with records and tools of both, as recordings come with them: the demo's, but users have moved."""
    folder = tmp_path / "env"
    for agent, records in ((airline, AIRLINE), (retail, RETAIL)):
        shutil.copytree(records.demo, folder / records.trade)
        users = folder / records.trade / "users.json"
        users.write_text(users.read_text(encoding="utf-8").replace('"city": "', '"city": "New '), encoding="utf-8")
        monkeypatch.setenv(f"{records.trade.upper()}_DATA", str(folder / records.trade))
        monkeypatch.setenv(f"{records.trade.upper()}_STATE", str(tmp_path / "state"))
        tools = [tool.spec for tool in agent.tools if isinstance(tool, Tool)]
        shown = [
            {"type": "function", "function": tool.model_dump(include={"name", "description", "parameters"})}
            for tool in tools
        ]
        (folder / records.trade / "tools.json").write_text(json.dumps(shown), encoding="utf-8")
    return folder


async def recorded(
    agent: Agent, records: RunRecords, run_id: str, *calls: tuple[str, dict[str, Any]]
) -> dict[str, Any]:
    """A run that makes these calls one after the other, as a harness would have recorded it."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Serve."}, {"role": "user", "content": "Please."}]
    for index, (name, arguments) in enumerate(calls):
        tool = agent.tool(name)
        assert tool is not None
        text = json.dumps(arguments)
        result = (await tool.call(tool.parse(text), ToolContext(run_id, "c", f"{run_id}/{index}"))).text
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": text}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": result})
    messages += [{"role": "assistant", "content": "Done."}, {"role": "user", "content": "###STOP###"}]
    final = {"db_sha256_canonical_json": records.canonical_sha256(run_id)}
    return {
        "run_id": run_id,
        "env": records.trade,
        "model": "gpt-4o",
        "termination": "user_stop",
        "messages": messages,
        "replay": {"mismatches": [], "final_state": final},
    }


def written(path: Path, *runs: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    return path


def replayed(environments: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    program = CHECKOUT / "benchmarks" / "recorded_runs.py"
    command: list[str | Path] = [sys.executable, program, "--runs", *files, "--env", environments]
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_DATA", "_STATE"))}
    return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
async def test_runs_of_both_examples_in_one_file_are_run_again(environments: Path, tmp_path: Path) -> None:
    bags = ("update_reservation_baggages", BAGS)
    order = ("cancel_pending_order", {"order_id": "#W5100424", "reason": "no longer needed"})
    file = written(
        tmp_path / "runs.jsonl",
        await recorded(airline, AIRLINE, "a/1", CANCEL, bags),
        await recorded(retail, RETAIL, "r/1", order),
        await recorded(airline, AIRLINE, "a/2", CANCEL),
    )
    done = replayed(environments, file)
    assert done.stdout.splitlines()[-1] == (
        "3 runs, 4 tool calls, 4 equal, 0 different, 3 final states equal, 3 verified"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
async def test_another_result_and_another_state_are_told(environments: Path, tmp_path: Path) -> None:
    run = await recorded(airline, AIRLINE, "a/1", CANCEL)
    run["messages"][3]["content"] = "Error: no"
    other = await recorded(airline, AIRLINE, "a/2", CANCEL)
    other["replay"]["final_state"]["db_sha256_canonical_json"] = "0"
    listed = await recorded(airline, AIRLINE, "a/3", CANCEL)
    listed["messages"][3]["content"] = "Error: no"
    listed["replay"]["mismatches"] = [{"call_index": 0}]
    done = replayed(environments / "airline", written(tmp_path / "runs.jsonl", run, other, listed))
    *told, by_file, total = done.stdout.splitlines()
    assert "unexpected: a/1: call 0 differs" in told
    assert "unexpected: a/2: the final database differs" in told
    assert not any("a/3" in line for line in told)
    assert by_file == f"runs.jsonl: {total}"
    assert total == "3 runs, 3 tool calls, 1 equal, 2 different, 2 final states equal, 3 verified"
    assert done.returncode == 1
