"""A process's place in the group of workers: the thread that reads its partitions of `requests` and commits them.

It gives nothing out: what is read lies in the backlogs. Nobody else calls the consumer.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import AuthorizationError, KafkaError
from kafka.structs import MemberState, OffsetAndMetadata

from ledgent.producers.kafka.backlog import Backlogs, Commit
from ledgent.producers.kafka.errors import translated
from ledgent.producers.kafka.reading import consumer_of, see_join_through
from ledgent.producers.kafka.wire import Address
from ledgent.schemas.errors import LogUnavailable, UnreadableRecord
from ledgent.schemas.requests import AnyRequest, StartRun, decode_request
from ledgent.schemas.settings import KafkaSettings

logger = logging.getLogger("ledgent.kafka")

BEGINS_AT = "ledgent-events-offset"
"""The header of a StartRun that holds the end of its run's partition of `events` as of before it was submitted."""
POLL_MS = 100
ANSWER_MS = 3000
"""How long one question to the group's coordinator may keep the thread from polling."""
REQUEST_MS = 10_000
PAUSE_S = 0.5
"""After an error of the broker."""


class Timing(NamedTuple):
    """How long things may take in the group of workers, seconds."""

    session_s: float = 8.0
    """A member that the broker has not heard for so long is dead."""
    heartbeat_s: float = 1.0
    """A member learns with a heartbeat that another has died: as late as this after the broker."""
    poll_interval_s: float = 12.0
    """A member that has not polled for so long leaves the group."""
    hang_s: float = 5.0
    """A worker that has asked for nothing for so long hangs: its member stops polling."""
    commit_s: float = 0.5
    silence_s: float = 15.0
    """A run is taken from a holder that neither handed it over nor wrote a record for so long."""
    settle_s: float = 30.0
    """How long a worker's first question may wait until the group has let its member in."""


Bury = Callable[[Any, str], None]
"""Puts a message, as kafka-python gives it, into the dead letters with a reason; durable when it returns."""


class Member:
    """Made with the first question for requests; leaves the group when it is closed."""

    def __init__(
        self,
        address: Address,
        settings: KafkaSettings,
        timing: Timing,
        backlogs: Backlogs,
        bury: Bury,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called, from a thread, when there is something to look at."""
        self.failed: LogUnavailable | None = None
        """Why it has ended, if it was not closed."""
        self.polled_s = 0.0
        """When it last was a member for certain, on the monotonic clock."""
        self.answered = 0
        self._address = address
        self._settings = settings
        self._timing = timing
        self._backlogs = backlogs
        self._bury = bury
        self._changed = changed
        self._topic = address.topics.requests
        self._asked = 0
        self._ends: tuple[int, dict[int, int]] | None = None
        self._commit_due_s = 0.0
        self._assignor = CooperativeStickyAssignor()
        self._awake = threading.Condition()
        self._touched_s = time.monotonic()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="ledgent-kafka-requests", daemon=True)
        self._thread.start()

    # for others -----------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Says that this process's worker is alive."""
        with self._awake:
            self._touched_s = time.monotonic()
            self._awake.notify()

    def ask(self) -> int:
        """Asks to read on to the end; once `answered` is no less than this, all that was there now has been read."""
        with self._awake:
            self._asked += 1
            return self._asked

    def close(self) -> None:
        """Commits, and leaves the group: its partitions are somebody else's at once."""
        with self._awake:
            self._closing = True
            self._awake.notify()
        self._thread.join(2 * ANSWER_MS / 1000)

    # the thread -----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            consumer = self._joining()
        except (LogUnavailable, KafkaError) as error:
            self._fail(error)
            return
        try:
            while not self._closing:
                self._sleep_while_nobody_asks()
                try:
                    self._go_round(consumer)
                except AuthorizationError as error:
                    self._fail(error)
                    return
                except (KafkaError, LogUnavailable) as error:  # the client finds its way back
                    logger.warning("requests cannot be read at the moment: %s", error)
                    time.sleep(PAUSE_S)
        except Exception as defect:
            logger.exception("reading requests has stopped")
            self._fail(LogUnavailable(f"reading requests has stopped ({defect!r}); start the worker again"))
        finally:
            self._leave(consumer)

    def _fail(self, error: LogUnavailable | KafkaError) -> None:
        if isinstance(error, KafkaError):
            error = translated(error, self._address, self._settings)
        self.failed = error
        self._changed()

    def _joining(self) -> KafkaConsumer:
        consumer = consumer_of(
            self._address,
            self._settings,
            group_id=f"{self._address.prefix}.workers",
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=int(self._timing.session_s * 1000),
            heartbeat_interval_ms=int(self._timing.heartbeat_s * 1000),
            max_poll_interval_ms=int(self._timing.poll_interval_s * 1000),
            request_timeout_ms=REQUEST_MS,
        )
        consumer.partitions_for_topic(self._topic)  # a leader that does not know them yet would assign none
        consumer.subscribe([self._topic], listener=_Changes(self, consumer))
        return consumer

    def _sleep_while_nobody_asks(self) -> None:
        """A worker whose event loop hangs must not keep its partitions."""
        with self._awake:
            while not self._closing and time.monotonic() - self._touched_s > self._timing.hang_s:
                self._awake.wait()

    def _go_round(self, consumer: KafkaConsumer) -> None:
        batch = consumer.poll(POLL_MS)
        see_join_through(consumer)
        self.polled_s = time.monotonic()
        for place, records in batch.items():
            self._take_in(consumer, place, records)
        full, paused = self._backlogs.full(), {place.partition for place in consumer.paused()}
        consumer.pause(*self._places(full - paused))
        consumer.resume(*self._places(paused - full))
        if time.monotonic() >= self._commit_due_s:
            self._commit_due_s = time.monotonic() + self._timing.commit_s
            self._commit(consumer)
        if self._answer(consumer) or batch:
            self._changed()

    def _take_in(self, consumer: KafkaConsumer, place: TopicPartition, records: list[Any]) -> None:
        partition = place.partition
        try:
            if partition not in self._backlogs.of:
                committed = consumer.committed(place, metadata=True, timeout_ms=ANSWER_MS)
                begin = (committed.offset, committed.metadata or "") if committed else (records[0].offset, "")
                self._backlogs.begin(partition, begin)
            for record in records:
                request = self._decoded(record)
                begins_at = _begins_at(record.headers) if isinstance(request, StartRun) else None
                self._backlogs.put(partition, record.offset, request, begins_at, time.monotonic())
        except (KafkaError, LogUnavailable) as error:
            logger.warning("requests of partition %d cannot be taken in at the moment: %s", partition, error)
            begun = self._backlogs.of.get(partition)
            consumer.seek(place, begun.position if begun else records[0].offset)
            time.sleep(PAUSE_S)

    def _decoded(self, record: Any) -> AnyRequest | None:
        try:
            return decode_request(record.value or b"")
        except UnreadableRecord as error:
            logger.warning("%s [%d] at offset %d: %s", record.topic, record.partition, record.offset, error)
            self._bury(record, str(error))
            return None

    def _answer(self, consumer: KafkaConsumer) -> bool:
        """Whether a question has been answered: there was no more to be read than has been read."""
        asked = self._asked
        if asked == self.answered or consumer.group_metadata().state is not MemberState.STABLE:
            return False
        assigned = consumer.assignment()
        if self._ends is None or self._ends[1].keys() != {place.partition for place in assigned}:
            found = consumer.end_offsets(list(assigned), timeout_ms=ANSWER_MS) if assigned else {}
            self._ends = asked, {place.partition: end for place, end in found.items()}
        paused = {place.partition for place in consumer.paused()}
        for place in assigned:
            backlog = self._backlogs.of.get(place.partition)
            read_to = backlog.position if backlog else consumer.position(place, ANSWER_MS)
            if place.partition not in paused and (read_to is None or read_to < self._ends[1][place.partition]):
                return False
        self.answered, self._ends = self._ends[0], None
        return True

    def _commit(self, consumer: KafkaConsumer) -> None:
        if commits := self._backlogs.commits():
            consumer.commit(self._offsets(commits), timeout_ms=ANSWER_MS)
            self._backlogs.committed(commits)

    def _places(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in partitions]

    def _offsets(self, commits: dict[int, Commit]) -> dict[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(self._topic, number): OffsetAndMetadata(*commit, -1) for number, commit in commits.items()
        }

    def _leave(self, consumer: KafkaConsumer) -> None:
        try:
            self._commit(consumer)
        except KafkaError as error:
            logger.info("the last requests' end was not committed: %s", error)
        try:
            consumer.close(autocommit=False, timeout_ms=ANSWER_MS)
        except KafkaError as error:
            logger.info("the group of workers was not told of the leave: %s", error)

    # the client's thread, while the member's waits in `poll` or `close` ---------------------------------------------

    async def revoked(self, consumer: KafkaConsumer, partitions: set[int]) -> None:
        """Whoever gets these next begins where this process ends."""
        try:
            if commits := self._backlogs.commits(partitions):
                await consumer.commit_async(self._offsets(commits), callback=lambda *_: None)
        except KafkaError as error:
            logger.info("the end of lost partitions was not committed: %s", error)
        finally:
            self._backlogs.lose(partitions)
            self._changed()

    def evicted(self, partitions: set[int]) -> None:
        """The group has gone on without this member."""
        self._assignor.member_assignment = None  # else it would claim to own them when it joins again
        self._backlogs.lose(partitions)
        self._changed()


class _Changes(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a member of the partitions that it has lost."""

    def __init__(self, member: Member, consumer: KafkaConsumer) -> None:
        self._member = member
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        pass  # their backlogs are made when their first records are read

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._member.revoked(self._consumer, {place.partition for place in revoked})

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._member.evicted({place.partition for place in lost})


def _begins_at(headers: Iterable[tuple[str, bytes | None]]) -> int | None:
    value = next((value for name, value in headers if name == BEGINS_AT), None)
    return int(value) if value is not None and value.isdigit() else None
