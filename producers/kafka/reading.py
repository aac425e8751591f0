"""Reading Kafka's topics without a group: ends, stretches, everything after some positions. Judges no record."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from kafka.structs import MemberState

from ledgent.producers.kafka.errors import check_reachable, translated
from ledgent.producers.kafka.wire import Address, client_options
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.settings import KafkaSettings

ANSWER_S = 10.0
"""How long a broker may take to answer before it counts as away."""
PATIENCE_S = 120.0
"""How long appends, and questions about a run, wait for a broker to come back."""
FETCH_WAIT_MS = 100
"""How long the broker holds back an empty answer, and with it a partition that is newly followed."""
LOOK_S = 1.0
"""How soon a read that waits for a broker sees that the log has been closed."""
CONSUMER: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": int(ANSWER_S * 1000),
    "reconnect_backoff_max_ms": 1000,
    "fetch_max_wait_ms": FETCH_WAIT_MS,
    "metrics_enabled": False,
}
"""How every topic is read."""


def consumer_of(address: Address, settings: KafkaSettings, **more: Any) -> KafkaConsumer:
    """A consumer that commits nothing, reads from the start where no offset is given. Raises LogUnavailable."""
    try:
        return KafkaConsumer(**client_options(address, settings), **{**CONSUMER, **more})
    except KafkaError as error:
        raise translated(error, address, settings) from error


def see_join_through(consumer: KafkaConsumer) -> None:
    """To be called after each poll of a group's member: has the next one go on with a join that this was too short for.

    kafka-python 3.0.12 may forget it: a leader takes its join for done once it has assigned the partitions, before it
    has got its own. The group then waits for it, throws it out, and it never comes back.
    """
    if consumer.group_metadata().state is MemberState.REBALANCING:
        consumer._coordinator.request_rejoin()


def silent(address: Address, seconds: float) -> LogUnavailable:
    """No broker has answered for so long."""
    return LogUnavailable(
        f"no Kafka broker at {','.join(address.servers)} has answered for {seconds:g} s; "
        "start it again: `ledgent doctor` says what is wrong with it"
    )


def closed() -> LogUnavailable:
    return LogUnavailable("the log has been closed")


class Readers:
    """Consumers for the reads of any thread: each has one to itself, and leaves it for the next."""

    def __init__(
        self,
        address: Address,
        settings: KafkaSettings,
        *,
        answer_s: float = ANSWER_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Raises LogUnavailable."""
        check_reachable(address, settings)
        self._address = address
        self._settings = settings
        self.answer_s = answer_s
        self.patience_s = patience_s
        self._lock = threading.Lock()
        self._idle: list[tuple[dict[int, int], KafkaConsumer]] = []
        """With the positions that the last read of a whole topic came to, for the next one to go on from."""
        self._closed = False
        self._making = threading.Lock()
        self._asking: KafkaConsumer | None = consumer_of(address, settings)
        """For questions alone, which several threads may put at once: each is one call into its I/O thread."""

    def partitions(self, topic: str) -> int:
        """How many the topic has; 0 where there is none."""
        with self._answering():
            return len(self._asked().partitions_for_topic(topic) or ())

    def ends(self, topic: str, partitions: Sequence[int], timeout_s: float | None = None) -> dict[int, int]:
        """The offset that each partition's next record will have; patient unless told otherwise."""
        places = [TopicPartition(topic, partition) for partition in partitions]
        deadline = time.monotonic() + (self.patience_s if timeout_s is None else timeout_s)
        with self._answering():
            while True:
                most_s = min(self.answer_s, max(deadline - time.monotonic(), 0))
                asked = None
                try:
                    asked = self._asked(most_s)
                    found = asked.end_offsets(places, timeout_ms=int(most_s * 1000))
                    return {place.partition: offset for place, offset in found.items()}
                except (KafkaTimeoutError, KafkaConnectionError, RuntimeError) as error:  # the last: it was dismissed
                    self._dismiss(asked)
                    if self._closed:
                        raise closed() from error
                    if time.monotonic() >= deadline:
                        raise silent(self._address, self.patience_s if timeout_s is None else timeout_s) from error

    def stretch(self, topic: str, partition: int, first: int, last: int) -> Iterator[Any]:
        """The partition's records from `first` to `last`, as kafka-python gives them; what is gone is left out."""
        place = TopicPartition(topic, partition)
        _, consumer = self._taken({})
        try:
            consumer.assign([place])
            consumer.seek(place, first)
            while first <= last:
                for record in self._expected(consumer, 500, self.patience_s)[place]:
                    first = record.offset + 1
                    if record.offset <= last:
                        yield record
        finally:
            self._left({}, consumer)

    def after(self, topic: str, positions: Mapping[int, int], limit: int, timeout_s: float) -> list[Any]:
        """Up to `limit` of the records from these offsets on, as many as are there now; waits only where none is."""
        ends = self.ends(topic, list(positions), self.answer_s)
        behind = {partition for partition, end in ends.items() if positions[partition] < end}
        at, consumer = self._taken(positions)
        found = list[Any]()
        try:
            places = [TopicPartition(topic, partition) for partition in positions]
            consumer.assign(places)
            for place in places:
                if at.get(place.partition) != positions[place.partition]:
                    consumer.seek(place, positions[place.partition])
            at = {}
            reached = dict(positions)
            while len(found) < limit and (behind or not found):
                most = limit - len(found)
                batch = (
                    self._expected(consumer, most, self.answer_s) if behind else self._polled(consumer, most, timeout_s)
                )
                if not batch:
                    break
                for place, records in batch.items():
                    found += records
                    reached[place.partition] = records[-1].offset + 1
                    if reached[place.partition] >= ends[place.partition]:
                        behind.discard(place.partition)
            at = reached
            return found
        finally:
            self._left(at, consumer)

    def close(self) -> None:
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for _, consumer in idle:
            consumer.close(timeout_ms=0)
        self._dismiss(self._asking)

    def _asked(self, most_s: float = ANSWER_S) -> KafkaConsumer:
        with self._making:
            if self._closed:
                raise closed()
            if self._asking is None:
                options = {**client_options(self._address, self._settings), **CONSUMER}
                self._asking = KafkaConsumer(**{**options, "bootstrap_timeout_ms": int(most_s * 1000)})
            return self._asking

    def _dismiss(self, consumer: KafkaConsumer | None) -> None:
        """A client that has not answered may have lost its way for good: the next question goes to a new one."""
        with self._making:
            if consumer is None or self._asking != consumer:
                return
            self._asking = None
            consumer.close(timeout_ms=0)

    def _expected(self, consumer: KafkaConsumer, most: int, timeout_s: float) -> dict[TopicPartition, list[Any]]:
        """The next records, where there are some. Raises LogUnavailable when none comes."""
        deadline = time.monotonic() + timeout_s
        while not (batch := self._polled(consumer, most, min(timeout_s, LOOK_S))):
            if self._closed:
                raise closed()
            if time.monotonic() >= deadline:
                raise silent(self._address, timeout_s)
        return batch

    def _polled(self, consumer: KafkaConsumer, most: int, timeout_s: float) -> dict[TopicPartition, list[Any]]:
        with self._answering():
            batch: dict[TopicPartition, list[Any]] = consumer.poll(int(timeout_s * 1000), max_records=most)
        return batch

    def _taken(self, positions: Mapping[int, int]) -> tuple[dict[int, int], KafkaConsumer]:
        """An idle consumer, at best the one that stands at these positions; a new one if all are at work."""
        with self._lock:
            if self._closed:
                raise closed()
            for number, (at, _) in enumerate(self._idle):
                if at == positions:
                    return self._idle.pop(number)
            if self._idle:
                return {}, self._idle.pop(0)[1]
        return {}, consumer_of(self._address, self._settings)

    def _left(self, at: dict[int, int], consumer: KafkaConsumer) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append((at, consumer))
                return
        consumer.close(timeout_ms=0)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Around each question to a broker."""
        try:
            yield
        except (KafkaError, RuntimeError) as error:
            if self._closed:  # then kafka-python raises what it likes
                raise closed() from error
            if isinstance(error, KafkaError):
                raise translated(error, self._address, self._settings) from error
            raise
