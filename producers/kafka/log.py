"""The log on Kafka: written and read by any number of processes at once. No agent, no metric, no rule of its own.

Kafka refuses nothing: whoever appends has what was sent read back and judged as every reader judges it, by
`schemas/acceptance.py`. An append that returns is therefore on all in-sync brokers and accepted.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ledgent.producers.identity import new_writer
from ledgent.producers.kafka.dead_letters import DeadLetters
from ledgent.producers.kafka.index import Index
from ledgent.producers.kafka.member import BEGINS_AT, Timing
from ledgent.producers.kafka.reading import ANSWER_S, PATIENCE_S, Readers, closed
from ledgent.producers.kafka.requests import Intake
from ledgent.producers.kafka.runs import Known
from ledgent.producers.kafka.sending import Message, Sender
from ledgent.producers.kafka.starts import Starts
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import SOURCE, Address, Headers, headers_of, stored_of
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Stored, read_envelope, span_id_of, trace_id_of, whole_characters
from ledgent.schemas.errors import (
    BrokenHistory,
    ConcurrentAppend,
    LogUnavailable,
    RequestRefused,
    UnreadableRecord,
)
from ledgent.schemas.ports import Head, Positioned
from ledgent.schemas.requests import AnyRequest, StartRun, encode_request
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.system_events import AnySystemEvent

T = TypeVar("T")

THREADS = 8


class KafkaLog:
    """`open_log("kafka://host:9092")`. Safe to use from several threads and event loops."""

    def __init__(
        self,
        address: Address,
        settings: KafkaSettings,
        *,
        patience_s: float = PATIENCE_S,
        answer_s: float = ANSWER_S,
        timing: Timing | None = None,
    ) -> None:
        """Raises LogUnavailable, also where the topics are not as they have to be."""
        self.url = address.url
        self.writer = new_writer()
        self._address = address
        self._settings = settings
        self._topics = address.topics
        self._readers = Readers(address, settings, answer_s=answer_s, patience_s=patience_s)
        try:
            partitions = _checked(self._readers, address)
        except LogUnavailable:
            self._readers.close()
            raise
        self.index = Index(address, settings, partitions, self._readers)
        self._sender = Sender(address, settings, patience_s=patience_s)
        self._starts = Starts(self._readers, address, partitions)
        self._intake = Intake(address, settings, self.writer, self.index, self._readers, self._bury, timing)
        self._system: SystemWriter | None = None
        self._opening_system = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS, "ledgent-kafka")
        """For questions to brokers, so that those which are away keep no other work of the process from its threads."""

    # writing --------------------------------------------------------------------------------------------------------

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        if accept is not None and not isinstance(accept, StartRun):
            await self._threaded(self._check_open, accept)
        if accept is not None:
            await self._intake.attend()  # no request is written: what the run is told comes to this process
        if records:
            await _to_its_end(self._append(records, new=isinstance(accept, StartRun)))
        self._intake.finish(finish)

    async def _append(self, records: Sequence[Stored], new: bool) -> None:
        batch = [(read_envelope(stored.body), stored) for stored in records]
        run_id = batch[0][0].run_id
        partition = self.index.partition_of(run_id)
        if not self.index.follows(partition):
            await self._threaded(self.index.catch_up, run_id, new)
        try:
            admission = self.index.admit(run_id, batch)
        except ConcurrentAppend:  # by what has been read so far; what is in the log now decides
            known = await self._threaded(self._caught_up, run_id, batch[0][0].seq)
            admission = self.index.admit(run_id, batch, known.get)
        if admission is None:
            return
        try:
            await self._sender.deliver(
                lambda: [
                    self._message(partition, envelope, stored)
                    for envelope, stored in admission.records
                    if envelope.seq > admission.confirmed
                ],
                admission.accepted,
            )
        finally:
            self.index.forget(admission)
        accepted = admission.accepted.result()
        if accepted is None:
            raise closed()
        if not accepted:
            raise ConcurrentAppend(
                f"run {run_id}: another writer's record came before record {admission.records[0][0].seq}"
            )

    def _caught_up(self, run_id: str, first: int) -> dict[int, str]:
        """The digests that the run has from `first` on, after all that is in the log now has been judged."""
        self.index.catch_up(run_id)
        return {read_envelope(stored.body).seq: stored.digest for stored in self.records(run_id, first - 1)}

    async def _threaded(self, call: Callable[..., T], *about: Any) -> T:
        if self._closed:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *about)

    def _message(self, partition: int, envelope: Envelope, stored: Stored) -> Message:
        key = envelope.run_id.encode()
        return Message(self._topics.events, partition, key, stored.body, headers_of(envelope, stored.digest))

    async def submit(self, request: AnyRequest) -> None:
        body = encode_request(request)
        partition = self.index.partition_of(request.run_id)
        headers = _headers(request)
        if isinstance(request, StartRun):
            offset = await self._threaded(self.index.end_offset, partition)
            headers.append((BEGINS_AT, str(offset).encode()))
        else:
            await self._threaded(self._check_open, request)
        message = Message(self._topics.requests, partition, request.run_id.encode(), body, headers)
        await self._sender.deliver(lambda: [message])

    def _check_open(self, request: AnyRequest) -> None:
        head = self.head(request.run_id)
        if head is None and request.run_id not in self._starts.run_ids():
            raise RequestRefused(f"no run {request.run_id!r} in this log")
        if head is not None and head.guard.ended:
            raise RequestRefused(f"run {request.run_id} has ended")

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        return await self._intake.take(agents, limit, timeout_s)

    async def release(self, request_ids: Sequence[str]) -> None:
        self._intake.release(request_ids)

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        self._intake.finish(request_ids)

    def lost(self) -> frozenset[str]:
        return self._intake.lost()

    def _bury(self, record: Any, reason: str) -> None:
        """Puts a request that cannot be read into the dead letters. Only the intake's one thread calls this."""
        place = (record.topic, record.partition, record.offset)
        DeadLetters(self._system_writer()).put(reason, place, record.key, record.value, record.headers)

    async def announce(self, event: AnySystemEvent) -> None:
        await self._threaded(lambda: self._system_writer().write(event))

    def _system_writer(self) -> SystemWriter:
        with self._opening_system:
            if self._system is None:
                self._system = SystemWriter(self._address, self._settings, self.writer)
            return self._system

    # reading --------------------------------------------------------------------------------------------------------

    def run_ids(self, since: str | None = None) -> Iterator[str]:
        self.index.catch_up_all()
        known = {*self.index.run_ids(), *self._starts.run_ids()}
        return iter(sorted(run_id for run_id in known if run_id >= (since or "")))

    def records(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        run_id = whole_characters(run_id)
        self.index.catch_up(run_id)
        known = self.index.head(run_id)
        return self._accepted(run_id, known, after) if known and known.guard.seq > after else iter(())

    def _accepted(self, run_id: str, known: Known, after: int) -> Iterator[Stored]:
        guard, partition = Guard(), self.index.partition_of(run_id)
        for first, last in known.ranges:
            for record in self._readers.stretch(self._topics.events, partition, first, last):
                stored = stored_of(record.value, record.headers)
                try:
                    envelope = read_envelope(stored.body)
                except UnreadableRecord:
                    continue
                if envelope.run_id == run_id and judge(guard, envelope, stored) is Verdict.ACCEPTED:
                    guard = advance(envelope, stored.digest)
                    if envelope.seq > after:
                        yield stored
        if guard.seq < known.guard.seq:
            raise BrokenHistory(run_id, guard.seq + 1, f"it is gone from {self._topics.events}, later ones are there")

    def head(self, run_id: str) -> Head | None:
        run_id = whole_characters(run_id)
        self.index.catch_up(run_id)
        known = self.index.head(run_id)
        return Head(run_id, known.guard, known.suspended) if known else None

    def misplaced(self, run_id: str) -> list[tuple[int, str]]:
        return []

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        next_ones = {partition: positions.get(partition, -1) + 1 for partition in range(self.index.partitions)}
        records = self._readers.after(self._topics.events, next_ones, limit, timeout_s)
        return [Positioned(each.partition, each.offset, stored_of(each.value, each.headers)) for each in records]

    def announced(self, after: int | None, limit: int) -> list[Positioned]:
        topic = self._topics.system
        if after is None:
            after = self._readers.ends(topic, [0], self._readers.answer_s)[0] - 1 - limit
        records = self._readers.after(topic, {0: max(0, after + 1)}, limit, 0.0)
        return [Positioned(0, each.offset, stored_of(each.value, each.headers)) for each in records]

    def ends(self) -> dict[int, int]:
        ends = self._readers.ends(self._topics.events, range(self.index.partitions), self._readers.answer_s)
        return {partition: end - 1 for partition, end in ends.items()}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._intake.close()
        if self._system is not None:
            self._system.close()
        self._readers.close()
        self.index.close()
        self._sender.close()
        self._threads.shutdown()


async def _to_its_end(append: Coroutine[Any, Any, None]) -> None:
    """Awaits an append, and once it is cancelled, its end all the same.

    What has been sent cannot be taken back, and the run's next records, those that hand it over, are built on it.
    """
    task = asyncio.ensure_future(append)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, and no longer of interest
        raise


def _headers(request: AnyRequest) -> Headers:
    """A request's CloudEvents attributes and trace context."""
    run_id = request.run_id
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": request.request_id,
        "ce_source": SOURCE,
        "ce_type": f"ledgent.request.{request.type}",
        "ce_subject": run_id,
        "ce_partitionkey": run_id,
        "content-type": "application/json",
        "traceparent": f"00-{trace_id_of(run_id)}-{span_id_of(run_id)}-01",
    }
    return [(name, value.encode()) for name, value in attributes.items()]


def _checked(readers: Readers, address: Address) -> int:
    """How many partitions the log has. Raises LogUnavailable where its topics are missing or do not fit together."""
    where, events = ",".join(address.servers), address.topics.events
    counts = {name: readers.partitions(name) for name in (events, address.topics.requests, address.topics.run_state)}
    for name, count in counts.items():
        if not count:
            raise LogUnavailable(f"the brokers at {where} have no topic {name}; `ledgent topics create` makes it")
        if count != counts[events]:
            raise LogUnavailable(
                f"topic {name} has {count} partitions, but {events} has {counts[events]}: they must be equal; "
                "`ledgent topics check` says how to mend it"
            )
    return counts[events]
