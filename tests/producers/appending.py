"""A process that appends runs to a log as fast as it can, telling on its standard output what was acknowledged.

python -m tests.producers.appending PATH NAME RUNS [FILE_SIZE_LIMIT]
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.errors import LedgentError
from ledgent.schemas.events import RunSuspended
from tests.schemas.chain import Chain, begun

RECORDS = 5


def run_named(name: str, number: int) -> Chain:
    """A run of five records, the same for everybody who asks."""
    chain = begun(f"{name}-{number}", writer=name)
    for _ in range(RECORDS - 2):
        chain.add(RunSuspended(reason="input"))
    return chain


async def append(log: SqliteLog, name: str, number: int) -> None:
    for stored in run_named(name, number).records:
        await log.append([stored])
    print(json.dumps({"acknowledged": f"{name}-{number}"}), flush=True)


async def main(path: str, name: str, runs: int, limit: int) -> None:
    log = SqliteLog(Path(path))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        for first in range(0, runs, 8):
            await asyncio.gather(*(append(log, name, first + n) for n in range(8)))
        print(json.dumps({"done": True}), flush=True)
    except LedgentError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
    log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0))
