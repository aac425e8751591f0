"""Runs recorded by real models, run again here: their answers from a local server, the tools and everything else
ledgent's own.

    python benchmarks/recorded_runs.py --runs FILE... --env DIR [--stream] [--concurrency 32] [--log URL] [-o json]

FILE: JSON Lines (or .gz), one recorded run a line, with its messages in the chat-completions form, and with the name
of its environment: `airline` is run by examples/airline. DIR: the start database, tool schemas and policy of that
environment, or a folder that holds such a folder for each. The server refuses any request whose messages or tools
differ from the recording. Every tool result and the final database are compared with the recorded ones; after all
runs the log is opened anew and every run verified and folded again. Exit code 1 on any difference that the file does
not list itself.
"""

import argparse
import asyncio
import gzip
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recorded_server import RecordedAnswers, excused_calls
from examples.customer_service.records import RunRecords
from ledgent.agent import Agent, Limits, OpenAIModel
from ledgent.agent.verify import verify
from ledgent.producers.opening import open_log
from ledgent.schemas.ports import Log
from ledgent.schemas.run import replay
from ledgent.schemas.state import RunState, ToolResult
from ledgent.schemas.state_json import as_json

CHAT_ROLES = ("system", "user", "assistant", "tool")


class Compared(NamedTuple):
    """One run beside its recording."""

    name: str
    run_id: str
    calls: int
    different: list[int]
    """Indexes of the tool calls whose results differ."""
    unexpected: list[str]
    state_equal: bool | None
    """None: the recording gives no final state."""
    state: dict[str, Any]


def read_runs(path: Path) -> Iterator[dict[str, Any]]:
    """The recorded runs of a file that hold messages, less the notes that a harness put between them."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for run in map(json.loads, lines):
            messages = [message for message in run["messages"] if message["role"] in CHAT_ROLES]
            if messages:  # without one it failed before it began
                yield {**run, "messages": messages}


def agent_for(environment: str, run: dict[str, Any], base_url: str, stream: bool) -> Agent:
    """The environment's agent, asking the recorded model with the recorded instructions."""
    base: Agent = getattr(importlib.import_module(f"examples.{environment}"), environment)
    system = run["messages"][0]["content"] if run["messages"][0]["role"] == "system" else ""
    answers = sum(message["role"] == "assistant" for message in run["messages"])
    cut_short = run["termination"] not in ("user_stop", "transfer_to_human")
    return base.but(
        model=OpenAIModel(run["model"], base_url=base_url, api_key="recorded", stream=stream),
        instructions=system,
        limits=Limits(steps=answers) if cut_short else Limits(steps=1_000),
    )


def user_turns(run: dict[str, Any]) -> list[str]:
    """What the recorded user said, without a last word that nobody answered and that ended the conversation."""
    messages = run["messages"]
    turns = [message["content"] for message in messages if message["role"] == "user"]
    if messages[-1]["role"] == "user" and run["termination"] == "user_stop":
        turns.pop()
    return turns


async def run_again(agent: Agent, run: dict[str, Any], log: Log) -> RunState:
    """The run's state at its end."""
    async with agent.conversation(log=log, labels={"recording": run["run_id"]}) as chat:
        for turn in user_turns(run):
            await chat.send(turn)
            if chat.state.ended:
                break
    return chat.state


def compared(run: dict[str, Any], state: RunState, refusal: str | None, records: RunRecords) -> Compared:
    """The run's tool results and final database beside the recorded ones."""
    recorded = [message["content"] for message in run["messages"] if message["role"] == "tool"]
    ours = [message.text for message in state.messages if isinstance(message, ToolResult)]
    different = [index for index, (a, b) in enumerate(zip(ours, recorded, strict=False)) if a != b]
    unexpected = [f"call {index} differs" for index in different if index not in excused_calls(run)]
    if len(ours) != len(recorded):
        unexpected.append(f"{len(ours)} tool calls were made, {len(recorded)} recorded")
    if refusal:
        unexpected.append(f"the server refused a request: {refusal}")
    if not state.ended:
        unexpected.append("the run has not ended")
    final = run.get("replay", {}).get("final_state")
    equal = None if final is None else records.canonical_sha256(state.run_id) == final["db_sha256_canonical_json"]
    if equal is False:
        unexpected.append("the final database differs")
    return Compared(run["run_id"], state.run_id, len(recorded), different, unexpected, equal, as_json(state))


async def run_file(path: Path, options: argparse.Namespace, log: Log, state: Path) -> list[Compared]:
    """All runs of a file, several at once."""
    runs = list(read_runs(path))
    found = []
    for environment in dict.fromkeys(run["env"] for run in runs):
        of_this = [run for run in runs if run["env"] == environment]
        found += await run_environment(environment, of_this, options, log, state / environment)
    return found


async def run_environment(
    environment: str, runs: list[dict[str, Any]], options: argparse.Namespace, log: Log, state: Path
) -> list[Compared]:
    """Runs that were recorded in one environment, several at once. `state`: the folder for their databases."""
    folder = options.env / environment if (options.env / environment).is_dir() else options.env
    os.environ[f"{environment.upper()}_DATA"] = str(folder)
    os.environ[f"{environment.upper()}_STATE"] = str(state)
    tools = json.loads((folder / "tools.json").read_text(encoding="utf-8"))
    records: RunRecords = importlib.import_module(f"examples.{environment}.database").RECORDS
    server = RecordedAnswers(runs, tools)
    address = await server.start()
    places = asyncio.Semaphore(options.concurrency)

    async def one(number: int) -> Compared:
        async with places:
            agent = agent_for(environment, runs[number], f"{address}/{number}/v1", options.stream)
            try:
                end = await run_again(agent, runs[number], log)
            finally:
                await agent.live_model.aclose()
            found = compared(runs[number], end, server.refusals.get(number), records)
            records.forget(end.run_id)
            return found

    try:
        return await asyncio.gather(*[one(number) for number in range(len(runs))])
    finally:
        await server.stop()


def verified(log: Log, found: Compared) -> bool:
    """Whether the log, opened anew, verifies the run and folds to the state it had."""
    state = replay(found.run_id, log.records(found.run_id)).state
    return verify(log, found.run_id).ok and as_json(state) == found.state


def totals(found: list[Compared], good: int) -> dict[str, int]:
    return {
        "runs": len(found),
        "tool_calls": sum(one.calls for one in found),
        "equal": sum(one.calls - len(one.different) for one in found),
        "different": sum(len(one.different) for one in found),
        "unexpected": sum(len(one.unexpected) for one in found),
        "final_states_given": sum(one.state_equal is not None for one in found),
        "final_states_equal": sum(one.state_equal is True for one in found),
        "verified": good,
    }


def sentence(total: dict[str, int]) -> str:
    return (
        f"{total['runs']} runs, {total['tool_calls']} tool calls, {total['equal']} equal, "
        f"{total['different']} different, {total['final_states_equal']} final states equal, "
        f"{total['verified']} verified"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--env", type=Path, required=True)
    parser.add_argument("--stream", action="store_true", help="ask for streamed answers")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--log", help="a log's URL; default: a new SQLite log that is deleted at the end")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        url = options.log or f"sqlite:///{folder}/log.db"
        by_file: dict[str, list[Compared]] = {}
        for path in options.runs:
            log = open_log(url)
            by_file[path.name] = asyncio.run(run_file(path, options, log, Path(folder)))
            log.close()
        log = open_log(url)
        good = {name: sum(verified(log, one) for one in found) for name, found in by_file.items()}
        log.close()
    report(by_file, good, options.output)


def report(by_file: dict[str, list[Compared]], good: dict[str, int], output: str) -> None:
    files = {name: totals(found, good[name]) for name, found in by_file.items()}
    everything = totals([one for found in by_file.values() for one in found], sum(good.values()))
    problems = [f"{one.name}: {line}" for found in by_file.values() for one in found for line in one.unexpected]
    if output == "json":
        print(json.dumps({"files": files, "total": everything, "unexpected": problems}, indent=1))
    else:
        for line in problems:
            print("unexpected:", line)
        for name, total in files.items():
            print(f"{name}: {sentence(total)}")
        print(sentence(everything))
    sys.exit(1 if problems or everything["verified"] != everything["runs"] else 0)


if __name__ == "__main__":
    main()
