"""Where each run stands, as the processors fold it from Kafka. Pure: no clock, no ids, no I/O.

A partition is folded in batches. A crash may leave some runs folded further than others, and further than the
partition's marker: so an entry keeps the verdicts on its records above the marker, for when they are read again.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import field
from msgspec.structs import replace

from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, event_of
from ledgent.schemas.errors import UnreadableRecord
from ledgent.schemas.events import (
    AnyEvent,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    RetryScheduled,
    RunStarted,
    RunSuspended,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.ports import Positioned
from ledgent.schemas.snapshots import Snapshot, widened

KNOWN_DIGESTS = 32
"""Digests kept of each run, of its last records: a duplicate of an older one counts as fenced."""
_DIGITS = 16


class Call(NamedTuple):
    """What a record is about, where it is about a call."""

    kind: str = ""
    """model or tool; empty: no call."""
    name: str = ""
    """The model's or the tool's."""


class Judged(NamedTuple):
    """The first and only verdict on a record."""

    offset: int
    verdict: Verdict
    agent: str
    """The run's, as far as it was known then."""
    call: Call


class RunEntry(Snapshot, frozen=True):
    """A run in the processors' table: what they tell others, and what they need to go on."""

    partition: int = 0
    digests: tuple[str, ...] = ()
    """The first digits of the last accepted records' digests, the newest last."""
    calls: dict[str, Call] = field(default_factory=dict)
    """By call id, since the last new model call."""
    judged: tuple[Judged, ...] = ()
    """Of this run's records above the partition's marker."""
    alert: str = ""
    """The id of the alert that it is stalled, while it is."""

    @property
    def live(self) -> bool:
        """Whether a record is to be expected without anybody's doing."""
        return bool(self.seq) and not self.ended and self.suspended in ("", "handed_over")


class Folded(NamedTuple):
    """What came of a record."""

    entry: RunEntry
    judged: Judged
    event: AnyEvent | None
    """None: the record was not accepted, or its payload cannot be read."""
    reason: str = ""
    """Why the payload of an accepted record cannot be read."""


def fold(entry: RunEntry | None, place: Positioned, envelope: Envelope, marker: int) -> Folded | None:
    """The run after its next record; `marker`: up to where the partition is known to be folded.

    A record that the entry has folded already gets its first verdict and changes nothing; None if that was so long ago
    that it is not known. Raises UnknownEventType.
    """
    if entry is None:
        entry = RunEntry(envelope.run_id, *Guard(), "", "", (), -1, place.partition)
    if place.offset <= entry.folded_to:
        judged = next((each for each in entry.judged if each.offset == place.offset), None)
        return None if judged is None else Folded(entry, judged, *_read(envelope, place, judged.verdict))
    verdict = judge(entry.guard, envelope, place.stored, _digests(entry, place.stored.digest))
    event, reason = _read(envelope, place, verdict)
    call, calls = _call(entry.calls, event)
    if verdict is Verdict.ACCEPTED:
        entry = _accepted(entry, place, envelope, event, calls)
    judged = Judged(place.offset, verdict, entry.agent, call)
    kept = tuple(each for each in entry.judged if each.offset > marker)
    return Folded(replace(entry, folded_to=place.offset, judged=(*kept, judged)), judged, event, reason)


def _accepted(
    entry: RunEntry, place: Positioned, envelope: Envelope, event: AnyEvent | None, calls: dict[str, Call]
) -> RunEntry:
    guard = advance(envelope, place.stored.digest)
    suspended = "unreadable" if envelope.type == "run.suspended" else ""
    return replace(
        entry,
        **guard._asdict(),
        suspended=event.reason if isinstance(event, RunSuspended) else suspended,
        agent=event.agent.name if isinstance(event, RunStarted) else entry.agent,
        ranges=widened(entry.ranges, place.offset),
        digests=(*entry.digests[1 - KNOWN_DIGESTS :], guard.digest[:_DIGITS]),
        calls=calls,
        alert="",
    )


def _digests(entry: RunEntry, digest: str) -> Callable[[int], str | None]:
    """Tells whether it was this digest that was accepted at an earlier seq."""

    def known(seq: int) -> str | None:
        back = entry.seq - seq
        same = back < len(entry.digests) and entry.digests[-1 - back] == digest[:_DIGITS]
        return digest if same else None

    return known


def _read(envelope: Envelope, place: Positioned, verdict: Verdict) -> tuple[AnyEvent | None, str]:
    """The event of an accepted record, or why it cannot be read."""
    if verdict is not Verdict.ACCEPTED:
        return None, ""
    try:
        return event_of(envelope, place.stored), ""
    except UnreadableRecord as error:
        return None, str(error)


def _call(calls: dict[str, Call], event: AnyEvent | None) -> tuple[Call, dict[str, Call]]:
    """What the event is about, and the calls that later ones may be about."""
    match event:
        case ModelCallStarted(call_id=call_id, model=model):
            call = Call("model", model)
            return call, {**(calls if event.attempt > 1 else {}), call_id: call}
        case ToolCallStarted(call_id=call_id, name=name):
            call = Call("tool", name)
            return call, {**calls, call_id: call}
        case ToolCallRejected(reason="unknown_tool"):
            return Call("tool"), calls  # the model made the name up: it would be a window of its own
        case ToolCallRejected(name=name):
            return Call("tool", name), calls
        case ModelCallCompleted() | ModelCallFailed():
            return calls.get(event.call_id, Call("model")), calls
        case ToolCallCompleted() | ToolCallFailed() | ToolCallUncertain():
            return calls.get(event.call_id, Call("tool")), calls
        case RetryScheduled(call_id=call_id):
            return calls.get(call_id, Call()), calls
        case _:
            return Call(), calls


def encode_entry(entry: RunEntry) -> bytes:
    return _write(entry)


def decode_entry(value: bytes) -> RunEntry:
    return _decode(value)


_write = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RunEntry).decode
