"""What the log on Kafka adds to the contract: fencing by order alone, following, snapshots, unreadable records."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import Address, address_of, headers_of_stored, partition_of
from ledgent.schemas.codec import Stored, decode, read_envelope
from ledgent.schemas.errors import BrokenHistory, ConcurrentAppend, LogUnavailable, UnknownEventType
from ledgent.schemas.events import RunCompleted
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.snapshots import Marker, Snapshot, encode_snapshot, marker_key
from tests.contracts.log_contract import everything, start_of
from tests.schemas.chain import Chain, begun

SETTINGS = KafkaSettings(partitions=2, replication=1)
CHECKOUT = Path(__file__).parents[2]

Opened = Callable[[], KafkaLog]


@pytest.fixture
def address(kafka: str) -> Address:
    """A log's own topics on the broker."""
    address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    create(address, SETTINGS)
    return address


@pytest.fixture
def opened(address: Address) -> Iterator[Opened]:
    """Opens logs, each as another process would, and closes them."""
    logs: list[KafkaLog] = []

    def another() -> KafkaLog:
        logs.append(KafkaLog(address, SETTINGS))
        return logs[-1]

    yield another
    for log in logs:
        log.close()


@pytest.fixture
def raw(address: Address) -> Iterator[Callable[..., None]]:
    """Sends whatever bytes to a topic, without asking anybody."""
    producer = KafkaProducer(bootstrap_servers=list(address.servers))

    def send(topic: str, partition: int, value: bytes | None, **more: object) -> None:
        producer.send(topic, value, partition=partition, **more).get(30)

    yield send
    producer.close(5)


Raw = Callable[..., None]


def place(run_id: str) -> int:
    return partition_of(run_id, SETTINGS.partitions)


def send_late(raw: Raw, address: Address, stored: Stored) -> None:
    """Sends a record as a writer does that does not know of the others."""
    run_id = read_envelope(stored.body).run_id
    raw(address.topics.events, place(run_id), stored.body, key=run_id.encode(), headers=headers_of_stored(stored))


# who may write ------------------------------------------------------------------------------------------------------


async def test_late_records_of_a_zombie_are_there_for_all_to_see_and_count_for_nothing(
    opened: Opened, raw: Raw, address: Address
) -> None:
    one, two, chain = opened(), opened(), begun(writer="zombie")
    await one.append(chain.records)
    late = chain.other()
    await one.append([chain.claim("other")])
    for stored in (late.ask(), late.ask(2), late.complete()):
        send_late(raw, address, stored)
    await two.append([chain.ask()])
    for log in (one, two):
        assert list(log.records(chain.run_id)) == chain.records
        head = log.head(chain.run_id)
        assert head is not None
        assert head.guard == chain.guard
    seen = everything(one)
    assert len(seen) == len(chain.records) + 3
    assert set(late.records) < set(seen)


async def test_a_claim_that_another_one_precedes_in_the_log_has_lost(
    opened: Opened, raw: Raw, address: Address
) -> None:
    log, chain = opened(), begun()
    await log.append(chain.records)
    lost = chain.other()
    lost.claim("slower")
    # Sent without the log being told: whether it has read the faster claim by then or not, its own is refused.
    for round in range(5):
        send_late(raw, address, chain.claim(f"faster {round}"))
        with pytest.raises(ConcurrentAppend):
            await log.append(lost.records[-1:])
    assert list(log.records(chain.run_id)) == chain.records


def test_of_processes_that_claim_the_same_runs_at_once_each_run_goes_to_one(address: Address) -> None:
    runs, claimants = 30, 3
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.producers.claiming", address.url, str(runs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        for _ in range(claimants)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    won = [run_id for outcome in told for run_id in outcome["won"]]
    assert sorted(won) == sorted(f"run-{number}" for number in range(runs))
    log = KafkaLog(address, SETTINGS)
    try:
        for outcome in told:
            for run_id in outcome["won"]:
                head = log.head(run_id)
                assert head is not None
                assert (head.guard.seq, head.guard.writer) == (1, outcome["writer"])
    finally:
        log.close()


# what cannot be read ------------------------------------------------------------------------------------------------


async def test_garbage_among_the_events_stops_nobody(opened: Opened, raw: Raw, address: Address) -> None:
    log, chain = opened(), begun()
    garbage = [b"", b"\xff\x00garbage", b'{"run_id": 3}', b'{"seq":1,"event":{}}']
    for value in garbage:
        raw(address.topics.events, place(chain.run_id), value)
    await log.append(chain.records[:1])
    raw(address.topics.events, place(chain.run_id), None, key=b"a tombstone", headers=[("ce_digest", b"\xff")])
    await log.append(chain.records[1:])
    for each in (log, opened()):
        assert list(each.records(chain.run_id)) == chain.records
        seen = [stored.body for stored in everything(each)]
        assert seen == [*garbage, chain.records[0].body, b"", chain.records[1].body]


async def test_a_record_of_a_newer_version_is_kept_and_stops_whoever_has_to_understand_it(opened: Opened) -> None:
    log, chain = opened(), begun()
    await log.append(chain.records)
    newer = chain.next(RunCompleted(), type="run.dreamt", version=1)
    await log.append([newer])
    for each in (log, opened()):
        *_, last = each.records(chain.run_id)
        assert last == newer
        head = each.head(chain.run_id)
        assert head is not None
        assert head.guard.seq == 3
    with pytest.raises(UnknownEventType, match=r"run\.dreamt"):
        decode(last)


async def test_one_read_gives_all_that_is_there_from_every_partition(opened: Opened) -> None:
    log, chains = opened(), [Chain(f"run-{number}") for number in range(40)]
    assert {place(chain.run_id) for chain in chains} == {0, 1}
    for chain in chains:
        chain.claim()
        chain.start("x" * 100_000)  # so much that a broker gives a partition in several pieces
    await asyncio.gather(*(log.append(chain.records) for chain in chains))
    assert sorted(everything(opened())) == sorted(stored for chain in chains for stored in chain.records)


# following ----------------------------------------------------------------------------------------------------------


NEW = [next(name for n in range(99) if place(name := f"new-{n}") == partition) for partition in range(2)]
"""New runs, one in each partition."""


async def test_a_log_that_has_followed_only_new_runs_finds_an_old_one_when_asked(opened: Opened) -> None:
    old, other = begun("old"), begun("other")
    await opened().append(old.records)
    await opened().append(other.records)
    log = opened()
    new = [begun(name, writer=log.writer) for name in NEW]
    for chain in new:
        await log.append(chain.records, accept=start_of(chain))
    assert list(log.records("old")) == old.records
    assert list(log.run_ids()) == sorted([*NEW, "old", "other"])
    await log.append([old.claim(log.writer), old.complete()])
    for chain in (*new, old, other):
        assert list(log.records(chain.run_id)) == chain.records


async def test_a_log_that_has_followed_only_new_runs_adds_to_an_old_one(opened: Opened) -> None:
    old = begun("old")
    await opened().append(old.records)
    log = opened()
    for name in NEW:
        chain = begun(name)
        await log.append(chain.records, accept=start_of(chain))
    await log.append([old.claim(log.writer)])
    with pytest.raises(ConcurrentAppend):
        await log.append(begun("old", writer="too late").records)
    assert list(log.records("old")) == old.records


async def test_appends_go_on_while_their_partition_is_read_again_from_its_start(opened: Opened) -> None:
    one, chains = opened(), [begun(f"old-{number}") for number in range(200)]
    await asyncio.gather(*(one.append(chain.records) for chain in chains))
    log, new = opened(), begun("new")
    await log.append(new.records, accept=start_of(new))
    again = asyncio.create_task(asyncio.to_thread(lambda: list(log.run_ids())))
    for number in range(50):
        await log.append([new.ask(number)])
    assert len(await again) == 201
    assert list(log.records("new")) == new.records


# snapshots ----------------------------------------------------------------------------------------------------------


def snapshot_of(chain: Chain, ranges: tuple[tuple[int, int], ...], agent: str = "of the snapshot") -> bytes:
    guard = chain.guard
    return encode_snapshot(
        Snapshot(
            run_id=chain.run_id,
            epoch=guard.epoch,
            writer=guard.writer,
            seq=guard.seq,
            digest=guard.digest,
            ended=guard.ended,
            suspended="",
            agent=agent,
            ranges=ranges,
            folded_to=ranges[-1][1],
        )
    )


async def test_a_partition_is_read_on_from_its_snapshots(opened: Opened, raw: Raw, address: Address) -> None:
    chain, partition = begun(), place(begun().run_id)
    await opened().append(chain.records)
    states = address.topics.run_state
    raw(states, partition, b"garbage", key=b"some run")
    raw(states, partition, snapshot_of(chain, ((0, 1),)), key=chain.run_id.encode())
    raw(states, partition, encode_snapshot(Marker(folded_to=1)), key=marker_key(partition))
    await opened().append([chain.ask()])
    log = opened()
    head = log.head(chain.run_id)
    assert head is not None
    assert head.guard == chain.guard
    known = log.index.head(chain.run_id)
    assert known is not None
    assert known.agent == "of the snapshot"  # the records before the marker, which say another, were not read
    assert list(log.records(chain.run_id)) == chain.records
    await log.append([chain.complete()])
    assert list(log.records(chain.run_id)) == chain.records


async def test_a_snapshot_ahead_of_its_partitions_marker_is_not_folded_twice(
    opened: Opened, raw: Raw, address: Address
) -> None:
    chain, partition = begun(), place(begun().run_id)
    early = chain.next(RunCompleted())
    for stored in (chain.records[0], early, chain.records[1]):  # sent before its place was free: fenced
        send_late(raw, address, stored)
    states = address.topics.run_state
    raw(states, partition, encode_snapshot(Marker(folded_to=0)), key=marker_key(partition))
    raw(states, partition, snapshot_of(chain, ((0, 2),)), key=chain.run_id.encode())
    log = opened()
    assert list(log.records(chain.run_id)) == chain.records
    known = log.index.head(chain.run_id)
    assert known is not None
    assert (known.guard, known.ranges, known.agent) == (chain.guard, ((0, 2),), "of the snapshot")


async def test_what_an_append_waits_for_is_read_though_a_snapshot_is_ahead_of_it(
    opened: Opened, raw: Raw, address: Address
) -> None:
    log, chain, partition = opened(), begun(NEW[0]), place(NEW[0])
    raw(address.topics.events, partition, b"something older")
    await log.append(chain.records, accept=start_of(chain))
    stored = chain.ask()
    admission = log.index.admit(chain.run_id, [(read_envelope(stored.body), stored)])
    assert admission is not None
    states = address.topics.run_state
    raw(states, partition, snapshot_of(chain, ((1, 3),)), key=chain.run_id.encode())
    raw(states, partition, encode_snapshot(Marker(folded_to=3)), key=marker_key(partition))
    await asyncio.to_thread(log.run_ids)  # has the partition read again, from its snapshots on
    send_late(raw, address, stored)
    async with asyncio.timeout(30):
        assert await admission.accepted
    log.index.forget(admission)
    assert list(log.records(chain.run_id)) == chain.records


async def test_snapshots_without_a_marker_are_not_relied_on(opened: Opened, raw: Raw, address: Address) -> None:
    chain, partition = begun(), place(begun().run_id)
    await opened().append(chain.records)
    raw(address.topics.run_state, partition, snapshot_of(chain, ((0, 1),)), key=chain.run_id.encode())
    log = opened()
    assert list(log.records(chain.run_id)) == chain.records
    known = log.index.head(chain.run_id)
    assert known is not None
    assert known.agent == "clerk"


async def test_a_run_whose_first_records_are_gone_is_no_shorter_run_but_an_error(
    opened: Opened, raw: Raw, address: Address
) -> None:
    chain, partition = begun(), place(begun().run_id)
    await opened().append(chain.records)
    states = address.topics.run_state
    raw(states, partition, snapshot_of(chain, ((1, 1),)), key=chain.run_id.encode())
    raw(states, partition, encode_snapshot(Marker(folded_to=1)), key=marker_key(partition))
    with pytest.raises(BrokenHistory, match="record 1"):
        list(opened().records(chain.run_id))


# opening and closing ------------------------------------------------------------------------------------------------


async def test_a_closed_log_says_so(opened: Opened) -> None:
    log, chain = opened(), begun()
    await log.append(chain.records)
    log.close()
    log.close()
    for ask in (lambda: log.head(chain.run_id), lambda: log.read({}, 1), log.ends):
        with pytest.raises(LogUnavailable, match="closed"):
            ask()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append([chain.ask()])


@pytest.mark.parametrize("missing", ["events", "requests", "run_state"])
def test_a_log_whose_topics_are_missing_says_which_and_what_makes_them(kafka: str, missing: str) -> None:
    address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    create(address, SETTINGS)
    topics = address.topics._replace(**{missing: f"{address.prefix}.elsewhere"})
    with pytest.raises(LogUnavailable, match=r"no topic .*elsewhere; `ledgent topics create`"):
        KafkaLog(address._replace(topics=topics), SETTINGS)


def test_a_log_whose_topics_do_not_fit_together_is_not_opened(kafka: str) -> None:
    address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    other = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    create(address, SETTINGS)
    create(other, KafkaSettings(partitions=3, replication=1))
    for name in ("requests", "run_state"):
        mixed = address.topics._replace(**{name: getattr(other.topics, name)})
        with pytest.raises(LogUnavailable, match=r"has 3 partitions, but .* has 2"):
            KafkaLog(address._replace(topics=mixed), SETTINGS)
