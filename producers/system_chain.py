"""One writer's system events as a chain of records: place and digest. No log, no wire."""

from datetime import UTC, datetime

from ledgent.schemas.codec import GENESIS, Envelope, Stored, encode, span_id_of, trace_id_of
from ledgent.schemas.system_events import AnySystemEvent, system_chain


class SystemChain:
    """Gives each event the next place; made anew for each process start."""

    def __init__(self, writer: str) -> None:
        self.run_id = system_chain(writer)
        self._writer = writer
        self._trace_id = trace_id_of(self.run_id)
        self._seq, self._digest, self._at = 0, GENESIS, datetime.min.replace(tzinfo=UTC)

    def next(self, event: AnySystemEvent) -> tuple[Envelope, Stored]:
        """The event's record."""
        self._at = max(datetime.now(UTC), self._at)  # never earlier than the record before it, as in runs
        self._seq += 1
        envelope = Envelope(
            run_id=self.run_id,
            seq=self._seq,
            epoch=1,
            writer=self._writer,
            at=self._at,
            cause=None,
            trace_id=self._trace_id,
            span_id=span_id_of(self.run_id, self._seq),
            type=event.type,
            version=event.version,
            previous=self._digest,
        )
        stored = encode(envelope, event)
        self._digest = stored.digest
        return envelope, stored
