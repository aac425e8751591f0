"""Worker processes on a real broker: killed, stopped, sent away, joined by others, cut off; every run ends once."""

import asyncio
import gc
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledgent.processors.sink import Sink
from ledgent.processors.store import open_store
from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.wire import address_of, partition_of
from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.settings import KafkaSettings
from tests.kafka.broker import Broker
from tests.processors.faust_process import Cluster, caught_up, working
from tests.processors.tables import entries_of, windows_of
from tests.simulation.kafka_fleet import PATIENCE_S, Fleet, until
from tests.simulation.kafka_workers import Plan

# kafka-python leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

BRISK = Timing(session_s=6.0, heartbeat_s=0.5, silence_s=5.0)
"""For tests in which it does not matter how long a dead worker's runs stand."""

TAKE_UP_S = 30.0
"""How long a dead worker's run may stand."""
SECONDS = 10.0
"""How long a run may stand that was handed over."""


@pytest.fixture(scope="module", autouse=True)
def _sockets() -> Iterator[None]:
    """Collects them before they are another module's."""
    yield
    gc.collect()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def fleet(kafka: str, tmp_path: Path, stack: ExitStack) -> Fleet:
    return Fleet(address_of(f"kafka://{kafka}/faults-{uuid.uuid4()}"), tmp_path, stack)


async def test_of_two_workers_one_is_killed_and_all_their_runs_end_once(fleet: Fleet) -> None:
    killed, other = fleet.start(Plan(), Plan())
    await fleet.joined(2)
    await fleet.submit(200)
    await fleet.effects_by(killed.pid, 150)
    await fleet.effects_by(other.pid, 1)
    killed.end()
    killed_at = datetime.now(UTC)
    folded = fleet.folded()
    folded.read_on()
    orphans = folded.held_by(killed.writer)
    assert orphans
    folded = await fleet.all_ended()
    fleet.check(folded)
    for run_id in orphans:
        assert folded.claims(run_id) == [(killed.writer, "started"), (other.writer, "taken_over")]
    assert any(folded.uncertain(run_id) for run_id in orphans), "no call was under way that may happen only once"
    assert folded.longest_take_up_s(orphans, killed_at) <= TAKE_UP_S
    assert folded.longest_standing_s(fleet.submitted) <= TAKE_UP_S


async def test_a_worker_that_wakes_after_its_runs_moved_on_is_fenced_and_goes_on_with_others(
    fleet: Fleet, tmp_path: Path
) -> None:
    asleep, other = fleet.start(Plan(stop_at=100, timing=BRISK), Plan(timing=BRISK))
    await fleet.joined(2)
    await fleet.submit(40)
    await until(lambda: asleep.stopped, "the worker did not stop itself")
    folded = fleet.folded()
    folded.read_on()
    moved = folded.held_by(asleep.writer)
    assert moved
    folded = await fleet.all_ended()
    assert not folded.fenced
    for run_id in moved:
        assert folded.claims(run_id) == [(asleep.writer, "started"), (other.writer, "taken_over")]

    asleep.signal(signal.SIGCONT)

    asked, took_more = len(fleet.submitted), False
    deadline = time.monotonic() + PATIENCE_S
    while not took_more:
        assert time.monotonic() < deadline, "the woken worker takes no runs"
        await fleet.submit(6)
        folded = await fleet.all_ended()
        took_more = any(folded.claims(each.run_id)[0][0] == asleep.writer for each in fleet.submitted[asked:])
    fleet.check(folded)
    late = [record for record in folded.fenced if record.run_id in moved]
    assert late, "the woken worker's records did not come to the log"
    assert {record.envelope.writer for record in late} == {asleep.writer}
    for record in late:
        assert record.digest not in {stored.digest for stored in fleet.log.records(record.run_id)}
    cluster = Cluster("", fleet.address, KafkaSettings().partitions)
    with working(cluster, tmp_path) as processors:
        await asyncio.to_thread(caught_up, cluster, processors)
    runs, windows = cluster.tables()
    assert {run_id: (entry.seq, entry.digest) for run_id, entry in entries_of(runs).items()} == {
        run_id: (guard.seq, guard.digest) for run_id, guard in folded.guards.items()
    }
    skipped = [window.errors for window in windows_of(windows).values() if window.kind == "record"]
    assert sum(errors.get(Verdict.FENCED, 0) for errors in skipped) == len(folded.fenced)
    assert windows_of(windows) == windows_of(cluster.recomputed()[1])
    with open_store(f"chdb:///{tmp_path}/store") as store:
        Sink(fleet.log, store).catch_up()
        rows = store.query("SELECT run_id, verdict, count() AS records FROM events FINAL GROUP BY run_id, verdict")
        assert {(row["run_id"], row["verdict"]): row["records"] for row in rows} == {
            (run_id, verdict): count
            for run_id, verdicts in folded.verdicts.items()
            for verdict, count in verdicts.items()
        }
        rows = store.query("SELECT run_id, events, fenced FROM runs FINAL")
        assert {row["run_id"]: (row["events"], row["fenced"]) for row in rows} == {
            run_id: (verdicts[Verdict.ACCEPTED], verdicts[Verdict.FENCED])
            for run_id, verdicts in folded.verdicts.items()
        }


async def test_a_broker_that_is_started_again_twice_loses_doubles_and_holds_up_nothing(
    own_kafka: Broker, tmp_path: Path, stack: ExitStack
) -> None:
    fleet = Fleet(address_of(f"kafka://{own_kafka.address()}/faults"), tmp_path, stack)
    fleet.start(Plan(), Plan())
    await fleet.joined(2)
    done = asyncio.Event()

    async def submit_on() -> None:
        while not done.is_set():
            await fleet.submit(2)
            await asyncio.sleep(0.2)

    submitting = asyncio.create_task(submit_on())
    for _ in range(2):
        enough = len(fleet.effects()) + 60
        await until(lambda enough=enough: len(fleet.effects()) >= enough, "the workers stand still")
        asked = len(fleet.submitted)
        await asyncio.to_thread(own_kafka.stop)
        await asyncio.to_thread(own_kafka.start)
        await until(lambda asked=asked: len(fleet.submitted) > asked + 5, "nothing can be submitted")
    done.set()
    await submitting
    folded = await fleet.all_ended()
    fleet.check(folded)


async def test_a_worker_that_is_told_to_stop_hands_its_runs_to_another_within_seconds(fleet: Fleet) -> None:
    leaving, other = fleet.start(Plan(tool_s=0.5), Plan(tool_s=0.5))
    await fleet.joined(2)
    await fleet.submit(60)
    await fleet.effects_by(leaving.pid, 40)
    leaving.signal(signal.SIGTERM)
    assert await asyncio.to_thread(leaving.process.wait, 30) == 0
    folded = await fleet.all_ended()
    fleet.check(folded)
    handed_over = [each for each in fleet.submitted if len(folded.claims(each.run_id)) > 1]
    assert handed_over
    for run_id, _ in handed_over:
        assert folded.claims(run_id) == [(leaving.writer, "started"), (other.writer, "resumed")]
        assert folded.wait_s(run_id) <= SECONDS
    assert not folded.fenced


async def test_a_worker_that_joins_gets_the_runs_of_its_partitions_and_no_others(fleet: Fleet) -> None:
    plan = Plan(model_s=0.5, tool_s=0.8)
    at_work = fleet.start(plan, plan)
    await fleet.joined(2)
    await fleet.submit(60)
    for worker in at_work:
        await fleet.effects_by(worker.pid, 1)
    before = fleet.shares()
    (joining,) = fleet.start(plan)
    await fleet.joined(3)
    after = fleet.shares()
    (share,) = [partitions for partitions in after if all(partitions - had for had in before)]
    folded = await fleet.all_ended()
    fleet.check(folded)
    moved = 0
    for run_id, _ in fleet.submitted:
        later = folded.claims(run_id)[1:]
        if partition_of(run_id, KafkaSettings().partitions) in share:
            assert later in ([], [(joining.writer, "resumed")])
            moved += len(later)
        else:
            assert later == []
    assert moved
    assert not folded.fenced
