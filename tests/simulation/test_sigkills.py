"""Real worker processes are killed again and again, at random moments, under many runs: what is promised holds."""

import asyncio
import gc
import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.wire import address_of
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    ModelCallStarted,
    RunClaimed,
    ToolCallCompleted,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, records_of, state_of
from tests.simulation.kafka_fleet import Fleet, until
from tests.simulation.kafka_workers import Plan
from tests.simulation.nursery import Nursery
from tests.simulation.working import open_log

AT_ONCE = 32
"""Runs under way."""
PATIENCE_S = 60.0

# kafka-python leaves the sockets of failed connections to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """Collects them before they are another test's."""
    yield
    gc.collect()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def ended(log: SqliteLog, run_id: str) -> bool:
    head = log.head(run_id)
    return head is not None and head.guard.ended


async def test_a_hundred_kills_under_32_runs_on_sqlite_repeat_and_lose_nothing(tmp_path: Path) -> None:
    dice, kills, processes = random.Random(), 100, 3
    effects = tmp_path / "effects.txt"
    effects.touch()
    log = open_log(tmp_path / "log.db")
    run_ids, under_way = list[str](), list[str]()
    with Nursery("tests.simulation.working", str(log.path), str(effects)) as nursery:
        living = [nursery.start() for _ in range(processes)]
        for _ in range(kills):
            under_way = [run_id for run_id in under_way if not ended(log, run_id)]
            fresh = [await start_run(log, "shop", "go") for _ in range(AT_ONCE - len(under_way))]
            under_way += fresh
            run_ids += fresh
            await asyncio.sleep(dice.uniform(0.02, 0.35))
            kill(living.pop(dice.randrange(processes)))
            living.append(nursery.start())
        deadline = time.monotonic() + PATIENCE_S
        while not all(ended(log, run_id) for run_id in run_ids):
            assert time.monotonic() < deadline, "runs stand still"
            await asyncio.sleep(0.1)

    happened = Counter(tuple(line.split()[:2]) for line in effects.read_text().splitlines())
    taken_over = sum(check_shop_run(log, run_id, happened) for run_id in run_ids)
    log.close()
    assert len(run_ids) >= AT_ONCE
    assert taken_over >= AT_ONCE, "hardly a kill has met a run at work"


def check_shop_run(log: SqliteLog, run_id: str, happened: Counter[tuple[str, ...]]) -> int:
    """What must hold of one run; how often it was taken over."""
    check_run(log, run_id)
    assert (state_of(log, run_id).status, state_of(log, run_id).output) == (Status.COMPLETED, "done")
    events = [record.event for record in records_of(log, run_id)]
    assert [event.type in TERMINAL_TYPES for event in events].count(True) == 1
    over, uncertain, attempts = set[str](), set[str](), Counter[str]()
    names = dict[str, str]()
    for event in events:
        if isinstance(event, ModelCallStarted | ToolCallStarted):
            assert event.call_id not in over, "a call that was over was made again"
            attempts[event.call_id] += 1
            if isinstance(event, ToolCallStarted):
                names[event.call_id] = event.name
        elif isinstance(event, ToolCallCompleted | ToolCallUncertain):
            over.add(event.call_id)
            if isinstance(event, ToolCallUncertain):
                uncertain.add(event.call_id)
    assert len(names) == 4
    for call_id, name in names.items():
        times = happened[name, f"{run_id}/{call_id}"]
        if name == "pay":
            assert attempts[call_id] == 1, "an effect that is not idempotent was tried again"
            assert times == 1 or (times == 0 and call_id in uncertain), f"{name} happened {times} times"
        else:
            assert 1 <= times <= attempts[call_id], f"{name} happened {times} times in {attempts[call_id]} attempts"
    return sum(isinstance(event, RunClaimed) and event.reason == "taken_over" for event in events)


async def test_thirty_kills_on_a_real_broker_repeat_and_lose_nothing(kafka: str, tmp_path: Path) -> None:
    dice, rounds, killed, processes = random.Random(), 3, 10, 11
    plan = Plan(concurrency=16, model_s=0.3, tool_s=0.3, timing=Timing(session_s=6.0, heartbeat_s=0.5, silence_s=5.0))
    with ExitStack() as stack:
        fleet = Fleet(address_of(f"kafka://{kafka}/kills-{uuid.uuid4()}"), tmp_path, stack)
        arguments = (fleet.address.url, str(fleet.effects_file), json.dumps(plan._asdict()))
        nursery = stack.enter_context(Nursery("tests.simulation.kafka_workers", *arguments))
        living = [nursery.start() for _ in range(processes)]
        folded = fleet.folded()
        for _ in range(rounds):
            folded.read_on()
            under_way = [each for each in fleet.submitted if not folded.guards[each.run_id].ended]
            await fleet.submit(AT_ONCE - len(under_way))
            enough = len(fleet.effects()) + AT_ONCE
            await until(lambda enough=enough: len(fleet.effects()) >= enough, "the workers stand still")
            for _ in range(killed):
                await asyncio.sleep(dice.uniform(0.0, 0.3))
                kill(living.pop(dice.randrange(len(living))))
            living += [nursery.start() for _ in range(killed)]
        folded = await fleet.all_ended()
        fleet.check(folded)
        claims = [folded.claims(each.run_id) for each in fleet.submitted]
        assert sum(len(each) - 1 for each in claims) >= AT_ONCE, "hardly a kill has met a run at work"
