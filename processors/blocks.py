"""What a block of records adds to the tables, given what is known of its runs. Pure: no clock, no ids, no I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from ledgent.processors import runs, spans
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import Kind, SpanRow
from ledgent.processors.spans import RunSpans
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Recorded, Stored, event_of, read_envelope
from ledgent.schemas.errors import UnreadableRecord
from ledgent.schemas.ports import Positioned

UNREADABLE = "unreadable"
"""The verdict on bytes that are no record; the others are in schemas/acceptance.py."""

REASON_CHARACTERS = 1_000

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
"""What a ClickHouse column can hold without loss, with room to spare."""
_SMALL, _LARGE = 2**32, 2**64


class EventRow(NamedTuple):
    """A record as it was read, with its verdict; the columns of the table `events`, in their order."""

    topic: str
    partition: int
    offset: int
    run_id: str
    seq: int
    epoch: int
    writer: str
    at: datetime
    cause: int
    """0: none."""
    trace_id: str
    span_id: str
    type: str
    version: int
    call_id: str
    attempt: int
    verdict: str
    reason: str
    """Why the record, or the payload of an accepted one, cannot be read."""
    digest: str
    body: bytes


@dataclass
class Known:
    """What is known of a run between two blocks. The only thing here that changes."""

    run_id: str
    guard: Guard = Guard()
    """After the records that the table `events` has."""
    row: RunRow | None = None
    """None before the first accepted record. As read back it may be ahead of the guard, as spans may, after a crash:
    its last offset tells."""
    open_spans: dict[str, SpanRow] = field(default_factory=dict)
    ahead: dict[str, int] = field(default_factory=dict)
    """Spans that the store had with records that `events` did not have: the last offset of each."""
    answered: SpanRow | None = None
    """Of the model call that ended last."""

    def learn(self, span: SpanRow) -> None:
        """Takes in a span as it is now."""
        if span.open:
            self.open_spans[span.span_id] = span
            return
        self.open_spans.pop(span.span_id, None)
        # A failed one too: what it had asked for goes on.
        if span.kind == Kind.MODEL_CALL and (self.answered is None or self.answered.ended_seq < span.ended_seq):
            self.answered = span


class Block:
    """The rows that a block of records adds, filled record by record in the order of the log."""

    def __init__(self, topic: str, known: Mapping[str, Known], digests: dict[tuple[str, int], str]) -> None:
        """`known` has every run in the block; `digests` those accepted at the places that the block repeats."""
        self.events: list[EventRow] = []
        self._runs: dict[str, tuple[RunRow, Positioned]] = {}
        self._spans: dict[tuple[str, str], tuple[SpanRow, Positioned]] = {}
        self._topic = topic
        self._known = known
        self._digests = digests

    @property
    def runs(self) -> list[RunRow]:
        """The rows of the runs that the block has touched."""
        return [runs.changed(row, {"last_offset": place.offset}) for row, place in self._runs.values()]

    @property
    def spans(self) -> list[SpanRow]:
        """The spans that the block has touched."""
        return [
            spans.changed(span, {"topic": self._topic, "partition": place.partition, "last_offset": place.offset})
            for span, place in self._spans.values()
        ]

    def add(self, place: Positioned, envelope: Envelope | UnreadableRecord) -> None:
        """Takes in the next record. Raises UnknownEventType, with nothing changed."""
        if isinstance(envelope, UnreadableRecord):
            self.events.append(_unreadable(self._topic, place, str(envelope)[:REASON_CHARACTERS]))
            return
        known = self._known[envelope.run_id]
        verdict = judge(known.guard, envelope, place.stored, self._accepted_at(envelope.run_id))
        if verdict is not Verdict.ACCEPTED:
            self.events.append(_event_row(self._topic, place, envelope, verdict))
            self._count(known, place, verdict)
            return
        record, reason = _decoded(envelope, place.stored)
        known.guard = advance(envelope, place.stored.digest)
        self._digests[envelope.run_id, envelope.seq] = place.stored.digest
        self.events.append(_event_row(self._topic, place, envelope, verdict, record, reason))
        self._project_run(known, place, envelope, record)
        if record is not None:
            self._project_spans(known, place, record)

    def _accepted_at(self, run_id: str) -> Callable[[int], str | None]:
        return lambda seq: self._digests.get((run_id, seq))

    def _project_run(self, known: Known, place: Positioned, envelope: Envelope, record: Recorded | None) -> None:
        row = known.row or RunRow(known.run_id, topic=self._topic, partition=place.partition, last_offset=-1)
        if place.offset > row.last_offset:
            self._put(known, runs.project(row, record) if record else runs.project_unread(row, envelope), place)

    def _count(self, known: Known, place: Positioned, verdict: Verdict) -> None:
        """A record that was not accepted shows in the run's row, but makes none."""
        row = known.row
        if row is None or place.partition != row.partition or place.offset <= row.last_offset:
            return
        if verdict is Verdict.FENCED:
            self._put(known, runs.project_fenced(row), place)
        elif verdict is Verdict.BROKEN:
            self._put(known, runs.project_broken(row), place)

    def _put(self, known: Known, row: RunRow, place: Positioned) -> None:
        known.row = row
        self._runs[known.run_id] = row, place

    def _project_spans(self, known: Known, place: Positioned, record: Recorded) -> None:
        answered = known.answered.span_id if known.answered else ""
        for span in spans.project(RunSpans(known.run_id, known.open_spans, answered), record):
            if known.ahead.get(span.span_id, -1) >= place.offset:
                continue  # the store had this record's change already
            self._spans[span.run_id, span.span_id] = span, place
            known.learn(span)


def envelope_of(stored: Stored) -> Envelope | UnreadableRecord:
    """The record's envelope, or why it has none that the tables can hold."""
    try:
        envelope = read_envelope(stored.body)
    except UnreadableRecord as error:
        return error
    if _storable(envelope):
        return envelope
    return UnreadableRecord("the bytes are no record: a field of the envelope is out of its range")


def _storable(envelope: Envelope) -> bool:
    return (
        envelope.run_id != ""
        and 1 <= envelope.seq < _LARGE
        and 0 <= (envelope.cause or 0) < _LARGE
        and 0 <= envelope.epoch < _SMALL
        and 0 <= envelope.version < _SMALL
        and envelope.at.tzinfo is not None
        and _TIMES[0] <= envelope.at < _TIMES[1]
    )


def _decoded(envelope: Envelope, stored: Stored) -> tuple[Recorded | None, str]:
    """The record, or why its payload cannot be read: it still advances its run."""
    try:
        return Recorded(envelope, event_of(envelope, stored), stored.digest), ""
    except UnreadableRecord as error:
        return None, str(error)[:REASON_CHARACTERS]


def _event_row(
    topic: str,
    place: Positioned,
    envelope: Envelope,
    verdict: Verdict,
    record: Recorded | None = None,
    reason: str = "",
) -> EventRow:
    # Not by getattr: pydantic takes 2 us to say that a model has no such field.
    fields = vars(record.event) if record else {}
    return EventRow(
        topic,
        place.partition,
        place.offset,
        envelope.run_id,
        envelope.seq,
        envelope.epoch,
        envelope.writer,
        envelope.at,
        envelope.cause or 0,
        envelope.trace_id,
        envelope.span_id,
        envelope.type,
        envelope.version,
        fields.get("call_id", ""),
        fields.get("attempt", 0),
        verdict.value,
        reason,
        place.stored.digest,
        place.stored.body,
    )


def _unreadable(topic: str, place: Positioned, reason: str) -> EventRow:
    return EventRow(
        topic=topic,
        partition=place.partition,
        offset=place.offset,
        run_id="",
        seq=0,
        epoch=0,
        writer="",
        at=_NO_TIME,
        cause=0,
        trace_id="",
        span_id="",
        type="",
        version=0,
        call_id="",
        attempt=0,
        verdict=UNREADABLE,
        reason=reason,
        digest=place.stored.digest,
        body=place.stored.body,
    )
