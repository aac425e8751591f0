"""A process that claims runs which others claim at the same time, and tells which it got.

python -m tests.producers.claiming URL RUNS
"""

import asyncio
import json
import sys

from ledgent.producers.opening import open_log
from ledgent.schemas.errors import ConcurrentAppend
from ledgent.schemas.ports import Log
from tests.schemas.chain import Chain


async def won(log: Log, run_id: str) -> bool:
    try:
        await log.append([Chain(run_id, log.writer).claim()])
    except ConcurrentAppend:
        return False
    return True


async def main(url: str, runs: int) -> None:
    log = open_log(url)
    list(log.run_ids())  # so that all are ready to send at once
    print("ready", flush=True)
    sys.stdin.readline()
    run_ids = [f"run-{number}" for number in range(runs)]
    outcomes = await asyncio.gather(*(won(log, run_id) for run_id in run_ids))
    got = [run_id for run_id, outcome in zip(run_ids, outcomes, strict=True) if outcome]
    print(json.dumps({"writer": log.writer, "won": got}), flush=True)
    log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
