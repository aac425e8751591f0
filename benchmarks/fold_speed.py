"""What folding and verifying runs cost, beside JSON parsing alone of the same bytes. On one core.

    python benchmarks/fold_speed.py [--events 1000000] [--rounds 9] [-o json]

Ratios only: in each round the same records are parsed with `json.loads`, folded and verified in turns, in one process;
the median of the rounds counts. `fold`: every record's digest, place and writer checked, its payload validated, the
state folded. `verify`: that, and each decision and each request made again. Then a log of `--events` events is written
to SQLite and folded run after run; what folds it may not take
more memory at its end than after its first tenth.
Exit code 1 where the fold costs more than 4 times `json.loads`, or memory grows.
"""

import argparse
import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import GENESIS, Stored, decode, encode
from ledgent.schemas.ports import Log
from ledgent.schemas.run import replay

RUNS, TURNS = 40, 12
"""Measured in each round: about 50 events a run."""
MOST_TIMES = 4.0
"""That a fold may cost what `json.loads` does."""
MOST_GROWTH_KIB = 16 * 1024
"""Of the process, from the first tenth of the log to its end."""
AT_ONCE = 200
"""Runs written together."""


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: One number.
        b: The other.
    """
    return a + b


async def recorded(log: Log, runs: int) -> list[str]:
    """Runs of an agent that calls a tool in each turn but its last."""
    turns = [Call("add", a=turn, b=2) for turn in range(TURNS)]
    agent = Agent("calculator", ScriptedModel([*turns, "Done."]), "Be careful.", [add])
    return [(await agent.run("Add the numbers.", log=log)).run_id for _ in range(runs)]


def ratios(rounds: int) -> dict[str, float]:
    """What fold and verification cost, in times of `json.loads`."""
    log = MemoryLog()
    run_ids = asyncio.run(recorded(log, RUNS))
    runs = {run_id: list(log.records(run_id)) for run_id in run_ids}

    def parse() -> None:
        for records in runs.values():
            for stored in records:
                json.loads(stored.body)

    def fold() -> None:
        for run_id, records in runs.items():
            replay(run_id, records)

    def verified() -> None:
        for run_id in run_ids:
            assert verify(log, run_id).ok

    found: dict[str, list[float]] = {"fold": [], "verify": []}
    gc.disable()
    for _ in range(rounds):
        # Parsed before and after, so that a machine that slows down meanwhile tilts nothing.
        before, folding, verifying, after = map(took, (parse, fold, verified, parse))
        found["fold"].append(2 * folding / (before + after))
        found["verify"].append(2 * verifying / (before + after))
    gc.enable()
    return {f"{name} / json.loads": statistics.median(values) for name, values in found.items()}


def took(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def copies(records: list[Stored], count: int) -> Iterator[list[Stored]]:
    """The run again and again, each under another id in a chain of its own."""
    read = [decode(stored) for stored in records]
    for number in range(count):
        run_id, previous, made = f"run-{number:09d}", GENESIS, list[Stored]()
        for record in read:
            place = {name: getattr(record.envelope, name) for name in record.envelope.__struct_fields__}
            made.append(encode(type(record.envelope)(**place | {"run_id": run_id, "previous": previous}), record.event))
            previous = made[-1].digest
        yield made


async def fill(log: Log, runs: Iterator[list[Stored]]) -> None:
    while batch := list(islice(runs, AT_ONCE)):
        await asyncio.gather(*map(log.append, batch))


def memory_over(events: int) -> dict[str, int]:
    """What a process of its own that folds a log of that many events tells."""
    source = MemoryLog()
    (run_id,) = asyncio.run(recorded(source, 1))
    records = list(source.records(run_id))
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/log.db"
        log = open_log(url)
        asyncio.run(fill(log, copies(records, max(events // len(records), 10))))
        log.close()
        done = subprocess.run([sys.executable, __file__, "--fold", url], capture_output=True, text=True, check=True)
    told: dict[str, int] = json.loads(done.stdout)
    return told


def fold_log(url: str) -> dict[str, int]:
    """How many events the log has, and how much this process grew after the first tenth of them."""
    log = open_log(url)
    run_ids = list(log.run_ids())
    folded, early = 0, 0
    for number, run_id in enumerate(run_ids, 1):
        folded += replay(run_id, log.records(run_id)).guard.seq
        if number == len(run_ids) // 10:
            early = peak_kib()
    log.close()
    return {"events": folded, "grown_kib": peak_kib() - early}


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--fold", metavar="LOG", help="only fold this log, and tell what memory that took")
    chosen = parser.parse_args()
    if chosen.fold:
        print(json.dumps(fold_log(chosen.fold)))
        return
    found: dict[str, Any] = {**ratios(chosen.rounds), **memory_over(chosen.events)}
    if chosen.output == "json":
        print(json.dumps(found, indent=1))
    else:
        for name in ("fold / json.loads", "verify / json.loads"):
            print(f"{name:22} {found[name]:.2f}")
        print(f"memory over {found['events']:,} events: {found['grown_kib']:,} KiB more")
    sys.exit(1 if found["fold / json.loads"] > MOST_TIMES or found["grown_kib"] > MOST_GROWTH_KIB else 0)


if __name__ == "__main__":
    main()
