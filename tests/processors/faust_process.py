"""A log on a broker and a process that runs its processors, as tests drive them."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ledgent.processors.folding import Batch
from ledgent.producers.kafka import topics as kafka_topics
from ledgent.producers.kafka.dead_letters import DeadLetter, read_letter
from ledgent.producers.kafka.wire import Address, address_of, headers_of_stored, partition_of, stored_of
from ledgent.schemas.codec import GENESIS, Stored, digest_of, read_envelope
from ledgent.schemas.ports import Positioned
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.snapshots import Marker, decode_snapshot
from ledgent.schemas.system_events import AnySystemEvent, decode_system
from tests.kafka.broker import free_ports
from tests.processors.tables import Rows

PARTITIONS = 3
PATIENCE_S = 120.0
RUN = "from ledgent.processors.faust_app import run; from ledgent.schemas.settings import Settings; run(Settings())"


class Cluster:
    """A log on a broker, as tests write and read it."""

    def __init__(self, server: str, there: Address | None = None, partitions: int = PARTITIONS) -> None:
        """A log of its own, or one that is `there`."""
        self.partitions = partitions
        self.address: Address = there or address_of(f"kafka://{server}/test-{uuid.uuid4().hex[:12]}")
        if there is None:
            kafka_topics.create(self.address, KafkaSettings(partitions=partitions))

    def append(self, *records: Stored) -> None:
        """Writes records, or bytes that are none, each where its run belongs."""
        # Closed each time: a client of a broker that is away leaves sockets open.
        producer = KafkaProducer(bootstrap_servers=list(self.address.servers), acks="all")
        sent = []
        for stored in records:
            try:
                run_id, headers = read_envelope(stored.body).run_id, headers_of_stored(stored)
            except Exception:  # noqa: BLE001  # garbage, as it should be
                run_id, headers = "garbage", []
            number = partition_of(run_id, self.partitions)
            sent.append(producer.send(self.address.topics.events, stored.body, run_id.encode(), headers, number))
        for each in sent:
            each.get(30)
        producer.close()

    def messages(self, topic: str) -> list[Any]:
        """All there is on a topic, partition by partition."""
        consumer = KafkaConsumer(
            bootstrap_servers=list(self.address.servers), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
            consumer.assign(places)
            ends = consumer.end_offsets(places)
            found: list[Any] = []
            deadline = time.monotonic() + PATIENCE_S
            while any(consumer.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, "the topic could not be read to its end"
                for some in consumer.poll(500).values():
                    found += some
            return sorted(found, key=lambda message: (message.partition, message.offset))
        finally:
            consumer.close()

    def tables(self) -> tuple[Rows, Rows]:
        """What the processors have made of it: by key, what has folded most."""
        topics = self.address.topics
        both: list[Rows] = []
        for topic in (topics.run_state, topics.metrics):
            rows: Rows = {}
            for message in self.messages(topic):
                before = rows.get(message.key)
                if before is None or progress(message.value) >= progress(before):
                    rows[message.key] = message.value
            both.append(rows)
        return both[0], both[1]

    def recomputed(self) -> tuple[Rows, Rows]:
        """The tables from offset zero, each partition in one batch."""
        table: Rows = {}
        windows: Rows = {}
        messages = self.messages(self.address.topics.events)
        for number in range(self.partitions):
            batch = Batch(number, {}, {})
            for message in messages:
                if message.partition == number:
                    stored = stored_of(message.value, message.headers)
                    batch.add(
                        Positioned(number, message.offset, stored),
                        datetime.fromtimestamp(message.timestamp / 1000, UTC),
                    )
            table |= batch.run_records() | (batch.marker_record() if batch.folded_to >= 0 else {})
            windows |= batch.window_records()
        return table, windows

    def system(self) -> list[AnySystemEvent]:
        """What was said; each writer's chain is whole."""
        heads: dict[str, tuple[int, str]] = {}
        said = []
        for message in self.messages(self.address.topics.system):
            record = decode_system(stored_of(message.value, message.headers))
            seq, digest = heads.get(record.envelope.run_id, (0, GENESIS))
            assert (record.envelope.seq, record.envelope.previous) == (seq + 1, digest)
            assert record.digest == digest_of(digest, message.value)
            assert message.key == f"system:{record.envelope.writer}".encode()
            heads[record.envelope.run_id] = record.envelope.seq, record.digest
            said.append(record.event)
        return said

    def letters(self) -> list[DeadLetter]:
        topic = self.address.topics.dead_letters
        return [read_letter(message.key, message.value, message.headers) for message in self.messages(topic)]


def progress(value: bytes) -> int:
    return int(json.loads(value)["folded_to"])


class Worker:
    """A process that runs the processors."""

    def __init__(self, cluster: Cluster, log: Path, command: list[str], **settings: str) -> None:
        self.port = free_ports(1)[0]
        self._log = log
        env = {
            **os.environ,
            "LEDGENT_LOG": cluster.address.url,
            "LEDGENT_PROCESSORS_PORT": str(self.port),
            "PYTHONWARNINGS": "ignore",
            **settings,
        }
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, *command], env=env, stdout=out, stderr=out, cwd=log.parent)

    def said(self) -> str:
        return self._log.read_text()

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and answer; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def fine(self) -> bool:
        assert self.process.poll() is None, self.said()[-3000:]
        status, health = self.health()
        return status == 200 and health["lag"] == 0 and len(health["partitions"]) == PARTITIONS

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


@contextmanager
def working(
    cluster: Cluster, folder: Path, command: tuple[str, ...] = ("-c", RUN), **settings: str
) -> Iterator[Worker]:
    worker = Worker(cluster, folder / "processors.log", list(command), **settings)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()


def wait_for(what: Callable[[], bool], why: str, worker: Worker | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(f"{why}\n{worker.said()[-3000:] if worker else ''}")
        time.sleep(0.1)


def caught_up(cluster: Cluster, worker: Worker) -> None:
    """Waits until every partition's marker stands at its last record."""
    ends = {message.partition: message.offset for message in cluster.messages(cluster.address.topics.events)}

    def done() -> bool:
        assert worker.process.poll() is None, worker.said()[-3000:]
        marked: dict[int, int] = {}
        for message in cluster.messages(cluster.address.topics.run_state):
            state = decode_snapshot(message.key, message.value)
            if isinstance(state, Marker):
                marked[message.partition] = state.folded_to
        return marked == ends

    wait_for(done, "the processors did not catch up", worker)
