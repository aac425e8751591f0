"""One run's records on their way to the log: place, digest, span, and the state they fold into. No decisions."""

from collections.abc import Callable, Sequence

from ledgent.agent.clock import Clock
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import Envelope, Recorded, Stored, encode, span_id_of, trace_id_of
from ledgent.schemas.events import AnyEvent
from ledgent.schemas.ports import Appender
from ledgent.schemas.requests import AnyRequest
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState

OnRecord = Callable[[Recorded], None]


class RunWriter:
    """Holds a claim on one run: gives its events their place, folds them, and appends them in order."""

    def __init__(
        self, log: Appender, state: RunState, guard: Guard, clock: Clock, on_record: OnRecord | None = None
    ) -> None:
        self.state = state
        self._log = log
        self._clock = clock
        self._on_record = on_record
        self._seq = guard.seq
        self._epoch = guard.epoch
        self._digest = guard.digest
        self._run_id = state.run_id
        self._trace_id = trace_id_of(state.run_id)
        self._run_span = span_id_of(state.run_id)
        self._spans: dict[tuple[str | int, ...], str] = {}
        self._unwritten: list[tuple[Recorded, Stored]] = []
        self._finished: list[str] = []
        self._accept: AnyRequest | None = None

    def claim(self) -> None:
        """Makes the records from here on those of a new epoch."""
        self._epoch += 1

    def accept(self, request: AnyRequest) -> None:
        """Has the request stored with the next append, as taken by this process."""
        self._accept = request

    def finish(self, request_ids: Sequence[str]) -> None:
        """Has the requests finished with the next append."""
        self._finished += request_ids

    def record(self, event: AnyEvent, cause: int | None, *span: str | int) -> Recorded:
        """Gives the event the next place and folds it. Durable only after `flush`. Raises RecordTooLarge."""
        at = self._clock.now()
        if self.state.now is not None and at < self.state.now:
            at = self.state.now  # a clock that jumps back must not make durations negative
        seq = self._seq + 1
        envelope = Envelope(
            self._run_id,
            seq,
            self._epoch,
            self._log.writer,
            at,
            cause,
            self._trace_id,
            self._span(span) if span else self._run_span,
            event.type,
            event.version,
            self._digest,
        )
        stored = encode(envelope, event)
        recorded = Recorded(envelope, event, stored.digest)
        self.state = evolve(self.state, recorded)
        self._seq, self._digest = seq, stored.digest
        self._unwritten.append((recorded, stored))
        return recorded

    async def flush(self) -> None:
        """Appends what has been recorded; when it returns, it is durable and accepted. Raises as `Appender.append`."""
        if not self._unwritten and not self._finished:
            return
        written, self._unwritten = self._unwritten, []
        accept, self._accept = self._accept, None
        finished, self._finished = self._finished, []
        await self._log.append([stored for _, stored in written], accept=accept, finish=finished)
        if self._on_record:
            for recorded, _ in written:
                self._on_record(recorded)

    def _span(self, parts: tuple[str | int, ...]) -> str:
        """Kept, since an attempt's outcome stands in the same span as its start."""
        span_id = self._spans.pop(parts, None)
        if span_id is None:
            span_id = self._spans[parts] = span_id_of(self._run_id, *parts)
        return span_id
