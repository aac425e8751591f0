"""Where the runs stand on Kafka: one thread reads the followed partitions of `events`. Writes nothing."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from ledgent.producers.kafka.reading import Readers, closed, consumer_of, silent
from ledgent.producers.kafka.runs import Admission, Followed, Known, known_of, tell
from ledgent.producers.kafka.watching import Watch
from ledgent.producers.kafka.wire import Address, partition_of
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge, nothing_known
from ledgent.schemas.codec import Envelope, Stored
from ledgent.schemas.errors import ConcurrentAppend, UnreadableRecord
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.snapshots import Marker, decode_snapshot

logger = logging.getLogger("ledgent.kafka")

POLL_MS = 50
MOST_AT_ONCE = 500
"""Records between two looks at what else is asked of the thread."""
PAUSE_S = 1.0
"""After an error of the broker."""


class Index:
    """What is accepted in the partitions that somebody here needs. Safe to use from several threads."""

    def __init__(
        self,
        address: Address,
        settings: KafkaSettings,
        partitions: int,
        readers: Readers,
    ) -> None:
        self.partitions = partitions
        self._address = address
        self._settings = settings
        self._readers = readers
        self._changed = threading.Condition()
        """Guards everything below; told when a partition has been read on."""
        self._followed: dict[int, Followed] = {}
        self._rebuilt: dict[int, Followed] = {}
        """Partitions that are read again from further back; what is in `_followed` holds until they have caught up."""
        self._moved: set[int] = set()
        """Partitions that the consumer does not read yet, or not from the right place."""
        self._admissions: dict[str, list[Admission]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    # asking ---------------------------------------------------------------------------------------------------------

    def partition_of(self, run_id: str) -> int:
        return partition_of(run_id, self.partitions)

    def head(self, run_id: str) -> Known | None:
        """The run, as far as its partition has been read; None where it is unknown, or its partition not followed."""
        followed = self._followed.get(self.partition_of(run_id))
        return followed.runs.get(run_id) if followed else None

    def run_ids(self) -> list[str]:
        """All known runs."""
        with self._changed:
            return [run_id for followed in self._followed.values() for run_id in followed.runs]

    def end_offset(self, partition: int) -> int:
        """The offset that the partition's next record will have. Raises LogUnavailable."""
        return self._readers.ends(self._address.topics.events, [partition])[partition]

    def follow(self, partition: int, from_offset: int | None = None) -> None:
        """Has the partition read: whole, or only for the runs that began at `from_offset` or later.

        Does nothing where that much is read already; `reach` says when `head` can be relied on. Raises LogUnavailable.
        """
        with self._changed:
            if self._reads(partition, from_offset or 0):
                return
        begun = Followed(from_offset, from_offset) if from_offset else self._from_snapshots(partition)
        with self._changed:
            if self._reads(partition, begun.start):
                return
            if served := self._followed.get(partition):
                begun.position = min(begun.position, served.position)
                for run_id in self._admissions:  # what they wait for is to be read, not to be found in a snapshot
                    if self.partition_of(run_id) == partition:
                        begun.put(run_id, served.runs.get(run_id))
            self._rebuilt[partition] = begun
            self._swap(partition)
            self._moved.add(partition)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._read, name="ledgent-kafka-index", daemon=True)
                self._thread.start()

    def reach(self, partition: int, offset: int) -> None:
        """Waits until all records before this offset of a followed partition are judged.

        Raises LogUnavailable when nothing has been read for some time.
        """
        with self._changed:
            while not self._stands_at(partition, offset):
                stood = self._newest(partition)

                def moved(stood: Followed = stood, position: int = stood.position) -> bool:
                    return self._closed or self._newest(partition) is not stood or stood.position != position

                if not self._changed.wait_for(moved, self._readers.patience_s):
                    raise silent(self._address, self._readers.patience_s)
                if self._closed:
                    raise closed()

    def catch_up(self, run_id: str, new: bool = False) -> None:
        """Makes `head` tell of a run all that is in the log now. `new`: it begins after this call, if at all.

        Waits for a broker that is started again. Raises LogUnavailable.
        """
        partition = self.partition_of(run_id)
        end = self.end_offset(partition)
        if not self.follows(partition):
            self.follow(partition, end if new else None)
        self.reach(partition, end)
        if not new and self.head(run_id) is None:
            self.follow(partition)
            self.reach(partition, end)

    def catch_up_all(self) -> None:
        """As `catch_up`, for all runs there are."""
        ends = self._readers.ends(self._address.topics.events, range(self.partitions))
        for partition in ends:
            self.follow(partition)
        for partition, end in ends.items():
            self.reach(partition, end)

    def follows(self, partition: int) -> bool:
        return partition in self._followed

    # admitting ------------------------------------------------------------------------------------------------------

    def admit(
        self,
        run_id: str,
        records: Sequence[tuple[Envelope, Stored]],
        known: Callable[[int], str | None] = nothing_known,
    ) -> Admission | None:
        """The records that are to be sent, now waited for; None where the log has them all.

        Raises ConcurrentAppend when they would not be accepted.
        """
        with self._changed:
            run = self.head(run_id)
            guard, fresh = run.guard if run else Guard(), list[tuple[Envelope, Stored]]()
            for envelope, stored in records:
                verdict = judge(guard, envelope, stored, known)
                if verdict is Verdict.ACCEPTED and envelope.run_id == run_id:
                    guard = advance(envelope, stored.digest)
                    fresh.append((envelope, stored))
                elif verdict is not Verdict.DUPLICATE:
                    raise ConcurrentAppend(
                        f"run {run_id}: record {envelope.seq} was refused: the run stands at {guard.seq}"
                    )
            if not fresh:
                return None
            admission = Admission(run_id, fresh)
            self._admissions.setdefault(run_id, []).append(admission)
            return admission

    def forget(self, admission: Admission) -> None:
        """Nobody waits for it any more."""
        with self._changed:
            waiting = self._admissions[admission.run_id]
            waiting.remove(admission)
            if not waiting:
                del self._admissions[admission.run_id]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            tell([(admission, None) for waiting in self._admissions.values() for admission in waiting])
        if self._thread is not None:
            self._thread.join()

    # the thread -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        consumer: KafkaConsumer | None = None
        watch = Watch(self._readers, self._address.topics.events)
        while not self._closed:
            try:
                if consumer is None:
                    consumer = consumer_of(self._address, self._settings)
                    watch.begin()
                    with self._changed:
                        self._moved = set(self._followed)
                self._point(consumer)
                batches = consumer.poll(POLL_MS, max_records=MOST_AT_ONCE)
                batches = watch.heard(consumer, batches, self._positions)
            except Exception as error:  # noqa: BLE001  # whatever it was, the runs of this process wait for this thread
                logger.warning("reading %s failed, and is tried again: %s", self._address.topics.events, error)
                if consumer is not None:
                    consumer.close(timeout_ms=0)
                consumer = None
                with self._changed:
                    self._changed.wait(PAUSE_S)
            else:
                self._take_in(batches)
        if consumer is not None:
            consumer.close(timeout_ms=0)

    def _point(self, consumer: KafkaConsumer) -> None:
        """Has the consumer read what is followed, from where it is to go on."""
        with self._changed:
            moved, self._moved = self._moved, set()
            places = {partition: TopicPartition(self._address.topics.events, partition) for partition in self._followed}
            positions = {places[partition]: self._newest(partition).position for partition in moved}
        if positions:
            consumer.assign(list(places.values()))
            for place, position in positions.items():
                consumer.seek(place, position)

    def _positions(self) -> dict[int, int]:
        """The offset that is to be judged next, by partition."""
        with self._changed:
            return {partition: self._newest(partition).position for partition in self._followed}

    def _take_in(self, batches: dict[TopicPartition, list[Any]]) -> None:
        if not batches:
            return
        told = list[tuple[Admission, bool]]()
        with self._changed:
            for place, records in batches.items():
                if place.partition in self._moved:
                    continue  # read before it was to go on elsewhere
                followed = self._newest(place.partition)
                for record in records:
                    told += self._judged(followed, record)
                self._swap(place.partition)
            self._changed.notify_all()
        tell(told)

    def _judged(self, followed: Followed, record: Any) -> list[tuple[Admission, bool]]:
        """Takes in one record; the admissions that it settles, and how."""
        accepted = followed.take_in(record)
        if accepted is None:
            return []
        run_id, guard = accepted
        verdicts = [(admission, admission.verdict(guard)) for admission in self._admissions.get(run_id, ())]
        return [(admission, final) for admission, final in verdicts if final is not None]

    def _stands_at(self, partition: int, offset: int) -> bool:
        return partition not in self._rebuilt and self._followed[partition].position >= offset

    def _newest(self, partition: int) -> Followed:
        return self._rebuilt.get(partition) or self._followed[partition]

    def _swap(self, partition: int) -> None:
        """What is read again takes the place of what was there, once it knows as much."""
        rebuilt, followed = self._rebuilt.get(partition), self._followed.get(partition)
        if rebuilt and (followed is None or rebuilt.position >= followed.position):
            self._followed[partition] = self._rebuilt.pop(partition)
            self._changed.notify_all()

    def _reads(self, partition: int, start: int) -> bool:
        return self.follows(partition) and self._newest(partition).start <= start

    def _from_snapshots(self, partition: int) -> Followed:
        """The partition as its snapshots have it, to be read on from there; from its start where it has none."""
        topic = self._address.topics.run_state
        end = self._readers.ends(topic, [partition])[partition]
        found, begun = Followed(0, 0), Followed(0, 0)
        for record in self._readers.stretch(topic, partition, 0, end - 1):
            try:
                snapshot = decode_snapshot(record.key or b"", record.value or b"")
            except UnreadableRecord as error:
                logger.warning("a snapshot in %s is skipped: %s", topic, error)
                continue
            if isinstance(snapshot, Marker):
                begun = found
                begun.position = snapshot.folded_to + 1
            else:
                found.put(snapshot.run_id, known_of(snapshot))
        return begun  # without a marker nobody knows which runs are missing
