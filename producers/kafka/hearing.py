"""Requests for runs that this process holds though their partitions of `requests` are not its own. Commits nothing.

A run that was begun by a call (`Agent.run`), not by a request, stays with its process; what it is told lies in a
partition that any worker may have. So the process reads all of them, from before its first such run on.
"""

import logging
import threading
import time
from collections.abc import Callable, Container
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from ledgent.producers.kafka.reading import Readers, consumer_of
from ledgent.producers.kafka.watching import Watch
from ledgent.producers.kafka.wire import Address
from ledgent.schemas.errors import LogUnavailable, UnreadableRecord
from ledgent.schemas.requests import AnyRequest, StartRun, decode_request
from ledgent.schemas.settings import KafkaSettings

logger = logging.getLogger("ledgent.kafka")

POLL_MS = 200
PAUSE_S = 0.5
JOIN_S = 5.0


class Heard(NamedTuple):
    """A request that was read beside the group."""

    partition: int
    request: AnyRequest
    heard_s: float


class Hearing:
    """Begins with the first run that is claimed without a request."""

    def __init__(self, address: Address, settings: KafkaSettings, readers: Readers, keep_s: float) -> None:
        self._address = address
        self._settings = settings
        self._readers = readers
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._heard: list[Heard] = []
        self._given: dict[str, Heard] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def begin(self) -> None:
        """From when this returns on, nothing that is submitted is missed. Raises LogUnavailable."""
        with self._lock:
            if self._thread is not None:
                return
            topic = self._address.topics.requests
            ends = self._readers.ends(topic, range(self._readers.partitions(topic)))
            self._thread = threading.Thread(target=self._hear, args=(ends,), name="ledgent-kafka-hearing", daemon=True)
            self._thread.start()

    @property
    def begun(self) -> bool:
        return self._thread is not None

    def take(self, holds: Callable[[str], bool], elsewhere: Container[int], limit: int) -> list[AnyRequest]:
        """Requests for runs that this process holds, but for those of partitions that it reads `elsewhere`.

        The others are kept for a while: the log may be about to say that this process holds their runs.
        """
        with self._lock:
            now = time.monotonic()
            found, left = list[AnyRequest](), list[Heard]()
            for heard in self._heard:
                if len(found) < limit and heard.partition not in elsewhere and holds(heard.request.run_id):
                    found.append(heard.request)
                    self._given[heard.request.request_id] = heard
                elif now - heard.heard_s < self._keep_s:
                    left.append(heard)
            self._heard = left
            return found

    def release(self, request_id: str) -> None:
        with self._lock:
            if heard := self._given.pop(request_id, None):
                self._heard.append(heard._replace(heard_s=time.monotonic()))

    def finish(self, request_id: str) -> None:
        with self._lock:
            self._given.pop(request_id, None)

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _hear(self, positions: dict[int, int]) -> None:
        consumer: KafkaConsumer | None = None
        watch = Watch(self._readers, self._address.topics.requests)
        while not self._closing.is_set():
            try:
                if consumer is None:
                    consumer = self._at(positions)
                    watch.begin()
                for place, records in watch.heard(consumer, consumer.poll(POLL_MS), positions.copy).items():
                    positions[place.partition] = records[-1].offset + 1
                    self._take_in(place.partition, [record.value or b"" for record in records])
            except (KafkaError, LogUnavailable) as error:
                logger.warning("requests for this process's runs cannot be read at the moment: %s", error)
                if consumer is not None:
                    consumer.close(timeout_ms=0)
                consumer = None
                self._closing.wait(PAUSE_S)
        if consumer is not None:
            consumer.close(timeout_ms=0)

    def _at(self, positions: dict[int, int]) -> KafkaConsumer:
        consumer = consumer_of(self._address, self._settings)
        places = {TopicPartition(self._address.topics.requests, number): at for number, at in positions.items()}
        consumer.assign(list(places))
        for place, position in places.items():
            consumer.seek(place, position)
        return consumer

    def _take_in(self, partition: int, bodies: list[bytes]) -> None:
        now = time.monotonic()
        for body in bodies:
            try:
                request = decode_request(body)
            except UnreadableRecord:
                continue  # a matter of the worker that has the partition
            if not isinstance(request, StartRun):
                with self._lock:
                    self._heard.append(Heard(partition, request, now))
