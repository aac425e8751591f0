"""A real worker process is killed in the middle of its runs; another goes on and repeats nothing completed."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ledgent.agent.worker import Worker
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.events import RunClaimed, ToolCallCompleted, ToolCallStarted, ToolCallUncertain
from ledgent.schemas.state import Status, ToolResult
from tests.agent.recorded import check_run, events_of, state_of
from tests.simulation.working import open_log, shop

CHECKOUT = Path(__file__).resolve().parents[2]
RUNS = 3


def effects_in(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def killed_in_the_middle(log: SqliteLog, folder: Path, when: int) -> list[str]:
    """The runs of a process that was killed once so many effects had happened."""
    effects = folder / "effects.txt"
    run_ids = [await start_run(log, "shop", "go") for _ in range(RUNS)]
    command = [sys.executable, "-m", "tests.simulation.working", str(log.path), str(effects)]
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT)
    deadline = time.monotonic() + 30
    while len(effects_in(effects)) < when:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    return run_ids


@pytest.mark.slow
@pytest.mark.parametrize("when", [1, RUNS, 2 * RUNS + 1, 4 * RUNS])
async def test_a_killed_worker_is_followed_by_another_that_repeats_nothing(tmp_path: Path, when: int) -> None:
    log = open_log(tmp_path / "log.db")
    run_ids = await killed_in_the_middle(log, tmp_path, when)
    before = {run_id: events_of(log, run_id, ToolCallCompleted) for run_id in run_ids}
    working = asyncio.create_task(Worker(log, {"shop": shop(tmp_path / "effects.txt")}).work())
    deadline = time.monotonic() + 30
    while not all(state_of(log, run_id).ended for run_id in run_ids):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait([working])

    effects = effects_in(tmp_path / "effects.txt")
    keys = Counter(key for _, key, _ in effects)
    assert len({pid for _, _, pid in effects}) == 2 or when == 4 * RUNS
    for run_id in run_ids:
        check_run(log, run_id)
        state = state_of(log, run_id)
        assert (state.status, state.output) == (Status.COMPLETED, "done")
        for completed in before[run_id]:
            assert keys[f"{run_id}/{completed.call_id}"] == 1, "a completed call was repeated"
        for what, key, _ in effects:
            if what == "pay":
                assert keys[key] == 1, "an effect that is not idempotent was repeated"
        uncertain = events_of(log, run_id, ToolCallUncertain)
        claims = [event.reason for event in events_of(log, run_id, RunClaimed)]
        assert claims in (["started"], ["started", "taken_over"])
        assert len(uncertain) <= 1
        told = [message.text for message in state.messages if isinstance(message, ToolResult)]
        assert len(told) == 4
        assert sum("unknown" in text for text in told) == len(uncertain)
        assert all(event.attempt <= 2 for event in events_of(log, run_id, ToolCallStarted))
    log.close()


@pytest.mark.slow
async def test_nobody_takes_a_run_from_a_process_that_lives(tmp_path: Path) -> None:
    log, other = open_log(tmp_path / "log.db"), open_log(tmp_path / "log.db")
    agent = shop(tmp_path / "effects.txt")
    run_id = await start_run(log, "shop", "go")
    workers = [asyncio.create_task(Worker(each, {"shop": agent}).work()) for each in (log, other)]
    deadline = time.monotonic() + 30
    while not (log.head(run_id) and state_of(log, run_id).ended):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)
    assert len(events_of(log, run_id, RunClaimed)) == 1
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    check_run(log, run_id)
    log.close()
    other.close()
