"""Sink processes that share a log on Kafka: killed, stopped or frozen, the store's rows are what the log says."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaProducer

from ledgent.processors.clickhouse import schema
from ledgent.processors.rebuild import check
from ledgent.processors.shared_sink import group_of
from ledgent.processors.store import Store, open_store
from ledgent.producers.identity import new_run_id
from ledgent.producers.kafka.dead_letters import DeadLetter, read_letter
from ledgent.producers.kafka.group_feed import members_of
from ledgent.producers.kafka.reading import Readers
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import Address, address_of, client_options, headers_of_stored, partition_of, stored_of
from ledgent.schemas.codec import Stored, read_envelope
from ledgent.schemas.settings import KafkaSettings
from tests.kafka.broker import Broker
from tests.processors.chain import ListFeed, mixed, runs
from tests.processors.relay import Relay
from tests.processors.served import server_url

CHECKOUT = Path(__file__).resolve().parents[2]
SETTINGS = KafkaSettings(partitions=4)
PATIENCE_S = 60.0


@pytest.fixture
def address(kafka: str) -> Address:
    return created(kafka)


def created(server: str) -> Address:
    address = address_of(f"kafka://{server}/sink-{new_run_id()}")
    create(address, SETTINGS)
    return address


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('shared')}/store") as store:
        yield store


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    yield opened
    schema.drop(opened)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sink(
    stack: ExitStack, address: Address, store: Store, *strike: object, port: int | None = None
) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "tests.processors.sinking",
        address.url,
        server_url(store, port=port),
        *map(str, strike),
    ]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def write(address: Address, records: list[Stored]) -> None:
    """Appends them as a log does; what is no record goes to partition 0."""
    producer = KafkaProducer(**client_options(address, SETTINGS), acks="all", enable_idempotence=True)
    sent = []
    for stored in records:
        if stored.body.startswith(b"{"):
            key, headers = read_envelope(stored.body).run_id, headers_of_stored(stored)
            partition = partition_of(key, SETTINGS.partitions)
        else:
            key, headers, partition = "nobody", [("strange", b"\x00\xff")], 0
        topic = address.topics.events
        sent.append(producer.send(topic, stored.body, key.encode(), headers, partition))
    for future in sent:
        future.get(PATIENCE_S)
    producer.close()


def messages(address: Address, topic: str, partitions: int) -> list[list[object]]:
    readers = Readers(address, SETTINGS)
    found = readers.after(topic, dict.fromkeys(range(partitions), 0), 1_000_000, 0.0)
    readers.close()
    return [[message for message in found if message.partition == partition] for partition in range(partitions)]


def log_of(address: Address) -> ListFeed:
    everything = messages(address, address.topics.events, SETTINGS.partitions)
    return ListFeed(*([stored_of(message.value, message.headers) for message in part] for part in everything))


def letters(address: Address) -> list[DeadLetter]:
    (found,) = messages(address, address.topics.dead_letters, 1)
    return [read_letter(message.key, message.value, message.headers) for message in found]


def until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def rows_in(store: Store) -> int:
    if not store.query("EXISTS TABLE events")[0]["result"]:
        return 0
    return int(store.query("SELECT count() AS rows FROM events FINAL")[0]["rows"])


def check_all_stored(address: Address, store: Store, count: int) -> None:
    until(lambda: rows_in(store) >= count, "the rows do not come")
    found = check(log_of(address), store)
    assert (found.records, found.behind, found.differences) == (count, 0, ())


def test_a_sink_killed_twenty_times_in_mid_batch_leaves_the_rows_that_the_log_says(
    address: Address, store: Store, processes: ExitStack
) -> None:
    random_ = random.Random(20)
    log = mixed(runs(60), 1, duplicates=0.05, zombies=True)
    log.insert(300, Stored(b"no record", "0" * 64))
    parts = [log[n * len(log) // 20 : (n + 1) * len(log) // 20] for n in range(20)]
    for part in parts:
        write(address, part)
        process = sink(processes, address, store, "SIGKILL", random_.randint(1, 3), random_.choice(("before", "done")))
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    sink(processes, address, store)
    check_all_stored(address, store, len(log))
    put_aside = letters(address)
    assert {letter.reason for letter in put_aside} == {put_aside[0].reason}
    assert put_aside[0].value == b"no record"
    assert put_aside[0].key == b"nobody"
    assert put_aside[0].headers == [("strange", b"\x00\xff")]


def test_two_sinks_share_the_partitions_and_one_goes_on_alone(
    address: Address, store: Store, processes: ExitStack
) -> None:
    log = mixed(runs(60), 2, duplicates=0.05)
    write(address, log[:300])
    first, _second = sink(processes, address, store), sink(processes, address, store)
    until(lambda: members_of(address, SETTINGS, group_of(address, store)) == 2, "they are not two")
    check_all_stored(address, store, 300)
    write(address, log[300:400])
    check_all_stored(address, store, 400)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE_S) == 0
    write(address, log[400:])
    check_all_stored(address, store, len(log))
    assert members_of(address, SETTINGS, group_of(address, store)) == 1


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_sink_that_wakes_up_after_another_took_over_does_no_harm(
    address: Address, store: Store, processes: ExitStack, at: int
) -> None:
    log = mixed(runs(40), 3, duplicates=0.05, zombies=True)
    write(address, log[:200])
    frozen = sink(processes, address, store, "SIGSTOP", at, "before")
    until(lambda: (Path("/proc") / str(frozen.pid) / "stat").read_text().split()[2] == "T", "it does not freeze")
    write(address, log[200:300])
    sink(processes, address, store)
    check_all_stored(address, store, 300)
    frozen.send_signal(signal.SIGCONT)
    until(lambda: members_of(address, SETTINGS, group_of(address, store)) == 2, "it does not come back")
    write(address, log[300:])
    check_all_stored(address, store, len(log))


def test_a_sink_waits_for_a_store_that_is_down_and_loses_nothing(
    address: Address, store: Store, processes: ExitStack
) -> None:
    log = mixed(runs(40), 4)
    owner = store.owner
    assert owner is not None
    with Relay(owner.host, owner.port) as relay:
        process = sink(processes, address, store, port=relay.port)
        write(address, log[:100])
        check_all_stored(address, store, 100)
        relay.cut()
        write(address, log[100:])
        until(lambda: relay.refused > 5, "it does not try again")
        assert rows_in(store) == 100
        relay.down = False
        check_all_stored(address, store, len(log))
        assert process.poll() is None


def test_a_sink_goes_on_once_a_broker_that_was_killed_is_back(
    own_kafka: Broker, store: Store, processes: ExitStack
) -> None:
    address = created(own_kafka.address())
    log = mixed(runs(40), 5)
    process = sink(processes, address, store)
    write(address, log[:100])
    check_all_stored(address, store, 100)
    own_kafka.kill()
    own_kafka.start()
    write(address, log[100:])
    check_all_stored(address, store, len(log))
    assert process.poll() is None
