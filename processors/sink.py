"""The sink: follows a log and keeps the store's tables equal to it. How rows come about is in blocks.py.

Per block the derived tables are written first and `events` last, each in one synchronous insert, and the sink goes on
from what `events` holds. So a crash between two inserts leaves derived rows that are ahead: their records are read
again, and each row skips those that it has taken in.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ledgent.processors.blocks import Block, EventRow, Known, envelope_of
from ledgent.processors.clickhouse.schema import TABLES, Table, Tables, create
from ledgent.processors.readback import Readback
from ledgent.processors.store import Store
from ledgent.schemas import topics
from ledgent.schemas.codec import Envelope
from ledgent.schemas.errors import UnknownEventType, Unreachable, UnreadableRecord
from ledgent.schemas.ports import Feed, Positioned

BLOCK_RECORDS = 10_000
"""In one block at most: an insert has a cost of its own, so that a smaller block takes longer for each record."""
BLOCK_BYTES = 32 << 20
"""Of bodies in one insert, unless a single record is larger."""
GATHER_S = 0.2
"""How long a block that has begun waits for more."""
IDLE_S = 0.5
"""How long one wait for the log's next record takes: as long a stop may take."""
KNOWN_RUNS = 10_000
"""Runs that are kept in memory between blocks, the most recent ones."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
"""Between attempts to reach a store or log that is down; doubled each time."""

Progress = Callable[[int, int], None]
"""Told how many records are done, and how many there are in all."""

OnUnreadable = Callable[[Positioned, str], None]
"""Told of a record, or a payload, that cannot be read, and why; before its row is stored, so maybe more than once."""

_log = logging.getLogger(__name__)


class Sink:
    """Writes a log's records into a store. Use it from one thread.

    Another sink that writes the same records there does no harm: both come to the same rows.
    """

    def __init__(
        self,
        log_feed: Feed,
        store: Store,
        tables: Tables = TABLES,
        *,
        block_records: int = BLOCK_RECORDS,
        known_runs: int = KNOWN_RUNS,
        on_unreadable: OnUnreadable | None = None,
    ) -> None:
        self.trouble = ""
        """What `follow` waits for; empty while all is well."""
        self._feed = log_feed
        self._store = store
        self._tables = tables
        self._block_records = block_records
        self._known_runs_kept = known_runs
        self._on_unreadable = on_unreadable
        self._mean_bytes = 10_000
        """Of a record in the last block; before the first one, with caution."""
        self._readback = Readback(store, tables)
        self._positions: dict[int, int] | None = None
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._knows_all = False

    def catch_up(self, progress: Progress | None = None) -> int:
        """Takes in what the log holds by now; the number of records read.

        Raises UnknownEventType, StoreUnavailable, LogUnavailable, StoreError.
        """
        ends = self._feed.ends()
        done, total = 0, _distance(self._position(), ends)
        while _distance(self._position(), ends):
            block = self._feed.read(self._position(), self._limit(), timeout_s=IDLE_S)
            if not block:
                break
            self.write(block)
            done += len(block)
            if progress:
                progress(done, max(done, total))
        return done

    def follow(self, stop: threading.Event) -> None:
        """Takes in each record soon after its append, until stopped; waits for a store or log that is down.

        Raises UnknownEventType, StoreError.
        """
        pause = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                self.write(self._gathered(stop))
                pause, self.trouble = FIRST_PAUSE_S, ""
            except Unreachable as error:
                if not self.trouble:
                    _log.warning("nothing is stored for now: %s", error)
                self.trouble = str(error)
                stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _gathered(self, stop: threading.Event) -> list[Positioned]:
        positions, limit = self._position(), self._limit()
        block = self._feed.read(positions, limit, timeout_s=IDLE_S)
        if block and len(block) < limit:
            stop.wait(GATHER_S)
            block += self._feed.read(_after(positions, block), limit - len(block))
        return block

    def _limit(self) -> int:
        """How many records to ask for: the log counts them, memory their bytes."""
        return max(1, min(self._block_records, BLOCK_BYTES // self._mean_bytes))

    def write(self, block: Sequence[Positioned]) -> None:
        """Stores records that follow on those read before; those that the store has already are left out.

        Raises UnknownEventType once the records before it are stored, StoreUnavailable, StoreError.
        """
        if block:
            self._mean_bytes = sum(len(place.stored.body) for place in block) // len(block) + 1
        try:
            for part in _parts(block):
                self._write(part)
        except BaseException:
            # What was stored is not known any more: read it back.
            self._positions = None
            raise

    def _write(self, block: Sequence[Positioned]) -> None:
        positions = self._position()
        fresh = [place for place in block if place.offset > positions.get(place.partition, -1)]
        if not fresh:
            return
        envelopes = [envelope_of(place.stored) for place in fresh]
        known = self._known_runs(fresh, envelopes)
        rows = Block(topics.EVENTS, known, self._digests(envelopes, known))
        stopped: UnknownEventType | None = None
        try:
            for place, envelope in zip(fresh, envelopes, strict=True):
                rows.add(place, envelope)
        except UnknownEventType as error:
            stopped = error
        self._tell(fresh, rows.events)
        self._insert(self._tables.spans, rows.spans)
        self._insert(self._tables.runs, rows.runs)
        self._insert(self._tables.events, rows.events)
        self._positions = _after(positions, fresh[: len(rows.events)])
        self._tidy(known)
        if stopped is not None:
            raise stopped

    def _tell(self, block: Sequence[Positioned], rows: Sequence[EventRow]) -> None:
        if self._on_unreadable is not None:
            for place, row in zip(block, rows, strict=False):  # an unknown event type cuts the rows short
                if row.reason:
                    self._on_unreadable(place, row.reason)

    def _insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._store.insert(table.name, table.names, rows)

    def _position(self) -> dict[int, int]:
        """The last offset stored, by partition."""
        if self._positions is None:
            create(self._store, self._tables)
            self._known.clear()
            self._positions = self._readback.positions(topics.EVENTS)
            self._knows_all = not self._positions
        return self._positions

    def _known_runs(
        self, block: Sequence[Positioned], envelopes: Sequence[Envelope | UnreadableRecord]
    ) -> dict[str, Known]:
        """What is known of each run in the block, read back where it is not in memory."""
        known: dict[str, Known] = {}
        missing: dict[str, int] = {}
        """The partition of each run."""
        for place, envelope in zip(block, envelopes, strict=True):
            if isinstance(envelope, UnreadableRecord) or envelope.run_id in known:
                continue
            run = self._known.get(envelope.run_id)
            if run is None:
                run = Known(envelope.run_id)
                missing[envelope.run_id] = place.partition
            known[envelope.run_id] = run
        if not self._knows_all:
            known |= self._readback.runs(missing, self._position())
        return known

    def _digests(
        self, envelopes: Sequence[Envelope | UnreadableRecord], known: Mapping[str, Known]
    ) -> dict[tuple[str, int], str]:
        """The digests accepted at places that the block comes to once more."""
        digests = {(run_id, run.guard.seq): run.guard.digest for run_id, run in known.items()}
        earlier = {
            (envelope.run_id, envelope.seq)
            for envelope in envelopes
            if isinstance(envelope, Envelope) and envelope.seq < known[envelope.run_id].guard.seq
        }
        if earlier:
            digests |= self._readback.digests(sorted(earlier))
        return digests

    def _tidy(self, known: Mapping[str, Known]) -> None:
        """Keeps what the block has taught, and only so much of it."""
        for run_id, run in known.items():
            self._known[run_id] = run
            self._known.move_to_end(run_id)
        while len(self._known) > self._known_runs_kept:
            self._known.popitem(last=False)
            self._knows_all = False


def _after(positions: Mapping[int, int], block: Sequence[Positioned]) -> dict[int, int]:
    """The positions once the block is done; offsets ascend within a partition."""
    return {**positions, **{place.partition: place.offset for place in block}}


def _distance(positions: Mapping[int, int], ends: Mapping[int, int]) -> int:
    return sum(max(end - positions.get(partition, -1), 0) for partition, end in ends.items())


def _parts(block: Sequence[Positioned]) -> Iterator[list[Positioned]]:
    """The block in parts that one insert can carry."""
    part: list[Positioned] = []
    size = 0
    for place in block:
        if part and size + len(place.stored.body) > BLOCK_BYTES:
            yield part
            part, size = [], 0
        part.append(place)
        size += len(place.stored.body)
    if part:
        yield part
