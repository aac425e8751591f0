"""Keeps the processors' tables up with the log, whatever hosts them: order, durability, alerts, health. No Faust.

For each batch of a partition come first alerts and dead letters, then all entries, and once the broker has them the
partition's marker. It alone says what need not be folded again; after a crash entries may be ahead of it, and know what
they have taken in.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from ledgent.processors.folding import Batch, entry_in, marker_in
from ledgent.processors.metrics import outlived
from ledgent.processors.progress import Progress
from ledgent.processors.run_states import RunEntry, decode_entry, encode_entry
from ledgent.processors.stalled import Stalled, alert_on
from ledgent.producers.kafka.dead_letters import DeadLetters
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import stored_of
from ledgent.schemas.errors import UnknownEventType, Unreachable
from ledgent.schemas.ports import Positioned
from ledgent.schemas.settings import ProcessorSettings
from ledgent.schemas.system_events import AlertRaised, AlertResolved

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Between attempts to write to a broker that is away; doubled each time."""

_log = logging.getLogger(__name__)


class PassedOver(Exception):
    """Records were not handed out, and later ones were: what is not folded yet has to be read again."""


class Message(NamedTuple):
    """A record of `events` as Kafka hands it out."""

    partition: int
    offset: int
    at: datetime
    """By the broker."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Table(Protocol):
    """A table whose changes are kept on a topic."""

    @property
    def entries(self) -> MutableMapping[bytes, bytes]:
        """What is in it, by key."""
        ...

    async def write(self, partition: int, records: dict[bytes, bytes]) -> None:
        """Durable when it returns, and in `entries`. Raises LogUnavailable, after which it may be given once more."""
        ...


class Keeper:
    """What one process does to the tables of the partitions that it is given."""

    def __init__(
        self, topic: str, runs: Table, windows: Table, system: Callable[[], SystemWriter], settings: ProcessorSettings
    ) -> None:
        """`topic`: that of the records; `system`: opens the writer of system events, when it is first needed."""
        self._topic = topic
        self._runs = runs
        self._windows = windows
        self._open_system = system
        self._opened: SystemWriter | None = None
        self._settings = settings
        self._stalled = Stalled(settings.stalled_s)
        self._progress = Progress(time.monotonic(), settings.stuck_s)
        self.partitions: frozenset[int] = frozenset()
        self._begun: set[int] = set()
        """Those of them that have been folded since they were taken over."""
        self._one_by_one = asyncio.Lock()
        """Batches and the look at stalled runs change the same entries."""

    def took_over(self, partitions: frozenset[int]) -> None:
        """These partitions are this process's from now on, and their tables have been read back."""
        now = time.monotonic()
        self.partitions = partitions
        self._begun.clear()
        self._progress.assigned({number: marker_in(self._runs.entries, number) for number in partitions}, now)
        self._stalled = Stalled(self._settings.stalled_s)
        for entry in self._runs_there():
            if entry.partition in partitions:
                self._stalled.saw(entry, now)

    def _runs_there(self) -> Iterator[RunEntry]:
        for key, value in self._runs.entries.items():
            if not key.startswith(b"partition:"):
                yield decode_entry(value)

    async def fold(self, messages: Iterable[Message]) -> None:
        """Takes in a batch, in any order and with repetitions; all of it is durable when it returns.

        Raises UnknownEventType or PassedOver, once what is before is durable.
        """
        by_partition: defaultdict[int, list[Message]] = defaultdict(list)
        for message in messages:
            by_partition[message.partition].append(message)
        for number, some in by_partition.items():
            async with self._one_by_one:
                await self._fold_partition(number, some)

    async def _fold_partition(self, number: int, messages: list[Message]) -> None:
        batch = Batch(number, self._runs.entries, self._windows.entries)
        fresh = {each.offset: each for each in sorted(messages, key=_offset) if each.offset > batch.marker}
        if not fresh:
            return
        begin = batch.marker + 1 if number in self._begun else min(fresh)
        if -1 < batch.marker < begin - 1:
            self._progress.lost(number, batch.marker + 1, begin - 1)
            _log.error("%s", self._progress.trouble(time.monotonic()))
        unbroken = [message for offset, message in enumerate(fresh.values(), begin) if message.offset == offset]
        unknown = _add_all(batch, unbroken)
        for alert in batch.alerts:
            await self._tell(alert)
        for letter in batch.unreadable:
            await _until_done(
                partial(asyncio.to_thread, self._put_aside, fresh[letter.offset], letter.reason, letter.run_id)
            )
        await _until_done(partial(self._runs.write, number, batch.run_records()))
        await _until_done(partial(self._windows.write, number, batch.window_records()))
        await _until_done(partial(self._runs.write, number, batch.marker_record()))
        now = time.monotonic()
        self._begun.add(number)
        self._progress.folded(number, batch.folded_to, now)
        for entry in batch.entries.values():
            self._stalled.saw(entry, now)
        if unknown is not None:
            raise unknown
        if len(unbroken) < len(fresh):
            raise PassedOver(
                f"what follows offset {batch.folded_to} of partition {number} was passed over: start the processors "
                "again, and they read on from there"
            )

    def seen(self, ends: dict[int, int]) -> None:
        """The broker has said which is the last offset of each partition."""
        self._progress.ends(ends, time.monotonic())

    async def alert(self) -> None:
        """Raises an alert on each run that has stood still for too long."""
        async with self._one_by_one:
            for run_id in self._stalled.overdue(time.monotonic(), self._progress.read()):
                entry = entry_in(self._runs.entries, run_id)
                assert entry is not None, "a run is looked after once it has an entry"
                alert = alert_on(entry, self._settings.stalled_s)
                await self._tell(alert)
                entry = replace(entry, alert=alert.alert_id)
                record = {run_id.encode(): encode_entry(entry)}
                await _until_done(partial(self._runs.write, entry.partition, record))
                self._stalled.saw(entry, time.monotonic())

    async def tidy(self) -> None:
        """Keeps in memory what may still change; the topic has the rest for as long as it keeps it."""
        async with self._one_by_one:
            for key in outlived(self._windows.entries):
                del self._windows.entries[key]

    def health(self) -> dict[str, Any]:
        """How it goes; if there is `trouble`, not well."""
        trouble = self._progress.trouble(time.monotonic())
        return {"trouble": trouble, "lag": self._progress.lag(), "partitions": sorted(self.partitions)}

    async def _tell(self, alert: AlertRaised | AlertResolved) -> None:
        """After a crash it may be told twice, never not at all."""
        _log.warning("%s: %s", alert.type, alert.message if isinstance(alert, AlertRaised) else alert.alert_id)
        await _until_done(partial(asyncio.to_thread, lambda: self._system().write(alert)))

    def _put_aside(self, message: Message, reason: str, run_id: str | None) -> None:
        place = (self._topic, message.partition, message.offset)
        DeadLetters(self._system()).put(reason, place, message.key, message.value, message.headers, run_id)
        _log.warning("what stands in %s, partition %s, offset %s is unreadable: %s", *place, reason)

    def _system(self) -> SystemWriter:
        if self._opened is None:
            self._opened = self._open_system()
        return self._opened


_offset = attrgetter("offset")


def _add_all(batch: Batch, messages: Iterable[Message]) -> UnknownEventType | None:
    """Adds them up to the first whose type is unknown."""
    try:
        for message in messages:
            stored = stored_of(message.value, message.headers)
            batch.add(Positioned(message.partition, message.offset, stored), message.at)
    except UnknownEventType as error:
        return error
    return None


async def _until_done(action: Callable[[], Awaitable[Any]]) -> None:
    """Does it, again and again while the broker is away. Nothing but the end of the process interrupts it."""
    pause = FIRST_PAUSE_S
    while True:
        try:
            await action()
            return
        except Unreachable as error:
            _log.warning("nothing is folded for now: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
