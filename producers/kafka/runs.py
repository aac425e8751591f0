"""What is known of the runs in one partition of `events`, and the appends that wait for it. No I/O."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from ledgent.producers.kafka.wire import stored_of
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Stored, event_of, read_envelope
from ledgent.schemas.errors import BadRecord, UnreadableRecord
from ledgent.schemas.events import RunStarted
from ledgent.schemas.snapshots import Range, Snapshot, widened

logger = logging.getLogger("ledgent.kafka")


class Known(NamedTuple):
    """A run, as far as its partition has been read."""

    guard: Guard
    suspended: bool
    agent: str
    """Its name; empty until `run.started` is accepted."""
    ranges: tuple[Range, ...]
    """The offsets between which its records are."""
    folded_to: int
    """The offset of the last one; records up to there change nothing more."""
    seen_at: float
    """When its last accepted record was read here, on the monotonic clock."""


_NEW = Known(Guard(), False, "", (), -1, 0.0)


def known_of(snapshot: Snapshot) -> Known:
    """The run as its snapshot has it; its silence begins now."""
    return Known(
        snapshot.guard,
        bool(snapshot.suspended),
        snapshot.agent,
        snapshot.ranges,
        snapshot.folded_to,
        time.monotonic(),
    )


class Followed:
    """A partition that is read: its runs, and how far."""

    def __init__(self, start: int, position: int) -> None:
        self.start = start
        """Runs that began before this offset are unknown; 0: none is."""
        self.position = position
        """The offset of the next record to be judged."""
        self.runs: dict[str, Known] = {}

    def put(self, run_id: str, known: Known | None) -> None:
        """Takes over what is known of a run, or that nothing is."""
        if known is None:
            self.runs.pop(run_id, None)
        else:
            self.runs[run_id] = known

    def take_in(self, record: Any) -> tuple[str, Guard] | None:
        """Judges the next record: its run, and the guard after it; None unless it is accepted."""
        self.position = record.offset + 1
        stored = stored_of(record.value, record.headers)
        try:
            envelope = read_envelope(stored.body)
        except UnreadableRecord:
            return None
        known = self.runs.get(envelope.run_id, _NEW)
        if record.offset <= known.folded_to:
            return None
        verdict = judge(known.guard, envelope, stored)
        if verdict is Verdict.BROKEN:
            logger.error(
                "run %s: its holder's record %d has a wrong digest: skipped",
                envelope.run_id,
                envelope.seq,
                extra={"run_id": envelope.run_id},
            )
        if verdict is not Verdict.ACCEPTED:
            return None
        guard = advance(envelope, stored.digest)
        self.runs[envelope.run_id] = Known(
            guard,
            envelope.type == "run.suspended",
            known.agent or _agent_of(envelope, stored),
            widened(known.ranges, record.offset),
            record.offset,
            time.monotonic(),
        )
        return envelope.run_id, guard


class Admission:
    """Records on their way: they were right when they were sent, and wait to be read back and judged."""

    def __init__(self, run_id: str, records: Sequence[tuple[Envelope, Stored]]) -> None:
        self.run_id = run_id
        self.records = records
        self.confirmed = 0
        """The seq up to which they have been accepted."""
        self.loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[bool | None] = self.loop.create_future()
        """False: another's record stands in the place of one of them. None: nobody reads any more."""

    def verdict(self, guard: Guard) -> bool | None:
        """What the run's newest accepted record says of these; None: nothing final."""
        place = guard.seq - self.records[0][0].seq
        if not 0 <= place < len(self.records):
            return False if guard.ended else None
        if self.records[place][1].digest != guard.digest:
            return False
        self.confirmed = guard.seq
        return True if place == len(self.records) - 1 else None


def _agent_of(envelope: Envelope, stored: Stored) -> str:
    """The agent that a `run.started` names; nothing for other records, or where it cannot be read."""
    if envelope.type != "run.started":
        return ""
    try:
        event = event_of(envelope, stored)
    except BadRecord:
        return ""
    return event.agent.name if isinstance(event, RunStarted) else ""


def tell(settled: Sequence[tuple[Admission, bool | None]]) -> None:
    """Wakes each event loop once for all its appends."""
    by_loop = defaultdict[asyncio.AbstractEventLoop, list[tuple[Admission, bool | None]]](list)
    for admission, accepted in settled:
        by_loop[admission.loop].append((admission, accepted))
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed in between: nobody waits any more
            loop.call_soon_threadsafe(_settle, told)


def _settle(told: list[tuple[Admission, bool | None]]) -> None:
    for admission, accepted in told:
        if not admission.accepted.done():
            admission.accepted.set_result(accepted)
