"""What a recorded step costs, beside the bare openai SDK loop and, if asked for, LangGraph with its SQLite saver.

    python benchmarks/step_overhead.py [-o json] [--rounds 5] [--langgraph-python /path/to/venv/bin/python]

Every variant runs in fresh processes, in turn, against one local server that answers at once; medians over the
rounds. A step is one model call with the tool call it asks for; `streamed`, the same as a stream read to its end;
`parallel`, with four tool calls. Each measured ledgent run is in the log
(synchronous=FULL) and verified. Then the fold: events a second from a stored log, validated and with digests
checked, for many short runs and for one long one.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
WIDTHS = {1: 60, 32: 512}
"""Runs at once, and how many are measured."""
CASES = ("", "streamed", "parallel")
"""LangGraph runs the first only."""


def overhead(rounds: int, langgraph_python: str | None) -> dict[str, Any]:
    """Medians by variant and width, and the ratios between them."""
    contenders = {"sdk": sys.executable, "ledgent": sys.executable}
    if langgraph_python:
        contenders["langgraph"] = langgraph_python
    server = subprocess.Popen([sys.executable, HERE / "zero_latency_server.py"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    try:
        for _ in range(rounds):
            for (width, runs), case, (name, python) in product(WIDTHS.items(), CASES, contenders.items()):
                if case and name == "langgraph":
                    continue
                command = [python, str(HERE / "step_variants.py"), name, str(width), str(runs), url, case]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
                found.setdefault((name, case, width), []).append(json.loads(done.stdout.splitlines()[-1]))
    finally:
        server.terminate()
        server.wait()
    medians = {
        _named(name, case, width): {key: statistics.median(one[key] for one in several) for key in several[0]}
        for (name, case, width), several in found.items()
    }
    ratios = {}
    for case, width in product(CASES, WIDTHS):
        ours, bare = found["ledgent", case, width], found["sdk", case, width]
        for key in ("cpu_ms", "wall_ms"):
            paired = [a[key] / b[key] for a, b in zip(ours, bare, strict=True)]
            ratios[_named(f"{key} ledgent/sdk", case, width)] = statistics.median(paired)
            if langgraph_python and not case:
                theirs = found["langgraph", case, width]
                paired = [b[key] / a[key] for a, b in zip(ours, theirs, strict=True)]
                ratios[f"{key} langgraph/ledgent x{width}"] = statistics.median(paired)
    return {"medians": medians, "ratios": ratios}


def _named(name: str, case: str, width: int) -> str:
    return f"{name} {case} x{width}" if case else f"{name} x{width}"


def fold_rates() -> dict[str, float]:
    """Events a second from an SQLite log to states, for 400 runs of 50 events and one of 20,000."""
    from ledgent.producers.opening import open_log
    from ledgent.schemas.run import replay

    with TemporaryDirectory() as folder:
        log = open_log(f"sqlite:///{folder}/log.db")
        short = [_recorded(log, f"short-{number}", 12) for number in range(400)]
        long = [_recorded(log, "long", 5_000)]
        rates = {}
        gc.disable()
        for name, run_ids in {"short runs": short, "one long run": long}.items():
            best = 0.0
            for _ in range(5):
                began, events = time.perf_counter(), 0
                for run_id in run_ids:
                    events += replay(run_id, log.records(run_id)).guard.seq
                best = max(best, events / (time.perf_counter() - began))
            rates[name] = best
        gc.enable()
        log.close()
    return rates


def _recorded(log: Any, run_id: str, turns: int) -> str:
    """A run of that many tool turns, written to the log."""
    import asyncio

    from ledgent.schemas import events as say
    from ledgent.schemas.agents import AgentSpec, ModelSpec
    from ledgent.schemas.codec import GENESIS, Envelope, Stored, encode

    spec = AgentSpec(name="calculator", instructions="Be careful.", model=ModelSpec(provider="openai", name="fake"))
    told: list[Any] = [
        say.RunClaimed(reason="started"),
        say.RunStarted(request_id=run_id, agent=spec, input="Add the numbers.", limits=spec.limits),
    ]
    for turn in range(1, turns + 1):
        call_id, arguments = f"m{turn}", '{"a": 1, "b": 2}'
        asked = say.ToolRequest(call_id=f"{call_id}.t0", provider_id="call_1", name="add", arguments=arguments)
        key = f"{run_id}/{call_id}.t0"
        told += [
            say.ModelCallStarted(call_id=call_id, provider="openai", model="fake", request_digest="0" * 64),
            say.ModelCallCompleted(
                call_id=call_id,
                tool_calls=(asked,),
                usage=say.Usage(input_tokens=120, output_tokens=20),
                finish_reason="tool_calls",
                model="fake",
                duration_ms=1.5,
            ),
            say.ToolCallStarted(call_id=asked.call_id, name="add", arguments=arguments, idempotency_key=key),
            say.ToolCallCompleted(call_id=asked.call_id, result="3", duration_ms=0.1),
        ]
    previous, at, records = GENESIS, datetime.now(UTC), list[Stored]()
    for seq, event in enumerate(told, 1):
        at += timedelta(milliseconds=2)
        cause = seq - 1 or None
        envelope = Envelope(
            run_id, seq, 1, log.writer, at, cause, "0" * 32, "0" * 16, event.type, event.version, previous
        )
        records.append(encode(envelope, event))
        previous = records[-1].digest
    asyncio.run(log.append(records))
    return run_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--langgraph-python", help="an interpreter with langgraph, langchain-openai and its SQLite saver"
    )
    chosen = parser.parse_args()
    found = overhead(chosen.rounds, chosen.langgraph_python) | {"fold_events_per_s": fold_rates()}
    if chosen.output == "json":
        print(json.dumps(found, indent=1))
        return
    for name, figures in found["medians"].items():
        print(f"{name:22}", "  ".join(f"{key} {value:.3f}" for key, value in figures.items()))
    for name, value in found["ratios"].items():
        print(f"{name:36} {value:.2f}")
    for name, value in found["fold_events_per_s"].items():
        print(f"fold, {name:16} {value:,.0f} events/s")


if __name__ == "__main__":
    main()
