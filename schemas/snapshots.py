"""What the processors say of each run on Kafka's `run-state` topic, and its bytes. Pure: no I/O, no clock.

The topic is compacted and partitioned as `events` are. Each run's latest snapshot is under its run id. One marker per
partition, under `partition:N`, says up to which offset of `events` all of that partition's snapshots hold; it is sent
after them. A snapshot may be ahead of the marker: who reads on from it skips what is at or below its `folded_to`.
Of two under one key the one with the higher `folded_to` counts: a process that was paused may write an old one last.
"""

import msgspec

from ledgent.schemas.acceptance import Guard
from ledgent.schemas.errors import UnreadableRecord

Range = tuple[int, int]
"""The first and last offset of a stretch of `events`, both in it."""

NEAR = 256
"""Records of one run that are no farther apart share a range: reading on is cheaper than another seek."""
MAX_RANGES = 32
"""A run in more pieces has its two nearest joined: its snapshot stays small, its readers skip a little more."""


class Snapshot(msgspec.Struct, frozen=True):
    """A run as far as acceptance and its readers need it; no messages."""

    run_id: str
    epoch: int
    writer: str
    seq: int
    digest: str
    ended: bool
    suspended: str
    """The reason in `run.suspended`, where that is the last accepted record: nobody is at work on the run."""
    agent: str
    """Its name; empty until `run.started` is accepted."""
    ranges: tuple[Range, ...]
    """Where all accepted records are, ascending; others lie between them."""
    folded_to: int
    """The offset of the last record of this run that has been judged, whatever the verdict."""

    @property
    def guard(self) -> Guard:
        return Guard(self.epoch, self.writer, self.seq, self.digest, self.ended)


class Marker(msgspec.Struct, frozen=True):
    """How far a partition's snapshots go."""

    folded_to: int
    """All records at or below this offset of `events` are in the snapshots that stand before this marker."""


def marker_key(partition: int) -> bytes:
    """Where a partition's marker is; no run id looks so."""
    return f"partition:{partition}".encode()


def widened(ranges: tuple[Range, ...], offset: int) -> tuple[Range, ...]:
    """The ranges with one more offset, which is higher than all in them."""
    if not ranges or offset - ranges[-1][1] > NEAR:
        ranges = (*ranges, (offset, offset))
    else:
        ranges = (*ranges[:-1], (ranges[-1][0], offset))
    if len(ranges) <= MAX_RANGES:
        return ranges
    near = min(range(1, len(ranges)), key=lambda at: ranges[at][0] - ranges[at - 1][1])
    return (*ranges[: near - 1], (ranges[near - 1][0], ranges[near][1]), *ranges[near + 1 :])


def encode_snapshot(snapshot: Snapshot | Marker) -> bytes:
    return _write(snapshot)


def decode_snapshot(key: bytes, value: bytes) -> Snapshot | Marker:
    """What a record of `run-state` says. Raises UnreadableRecord."""
    try:
        return _read_marker(value) if key.startswith(b"partition:") else _read_snapshot(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableRecord(f"the bytes are no snapshot of a run: {error}") from error


_write = msgspec.json.Encoder().encode
_read_snapshot = msgspec.json.Decoder(Snapshot).decode
_read_marker = msgspec.json.Decoder(Marker).decode
