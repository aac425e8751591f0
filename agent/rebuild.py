"""The exact request of a recorded model call, made again from the log. Calls nobody."""

from collections.abc import Iterable
from typing import NamedTuple

from ledgent.agent.render import Renderers, request_digest
from ledgent.schemas.codec import Stored, decode
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ModelCallStarted
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState


class Rebuilt(NamedTuple):
    """A model call's request, as this code makes it from the records before the call."""

    seq: int
    """Of the call's `model_call.started`."""
    call_id: str
    attempt: int
    body: bytes
    """In the chat-completions form: JSON."""
    digest: str
    recorded_digest: str
    """Of the request that was sent."""

    @property
    def ok(self) -> bool:
        """Whether these are the bytes that were sent."""
        return self.digest == self.recorded_digest


def rebuilt_request(run_id: str, records: Iterable[Stored], call: str) -> Rebuilt:
    """The request of the model call `m3`, of its last attempt; `m3/1` is its first one.

    Raises UsageError where the run has no such call, UnreadableRecord, UnknownEventType.
    """
    call_id, _, attempt = call.partition("/")
    state, asked, found = RunState(run_id), list[str](), None
    for stored in records:
        record = decode(stored)
        event = record.event
        if isinstance(event, ModelCallStarted):
            asked.append(event.call_id)
            if event.call_id == call_id and attempt in ("", str(event.attempt)) and state.agent is not None:
                _, renderer = Renderers().of(state, state.agent)
                body = renderer.request(state) if event.upto is None else renderer.summary(state, event.upto)
                found = Rebuilt(
                    record.seq, event.call_id, event.attempt, body, request_digest(body), event.request_digest
                )
            elif found is not None:
                break  # model calls come one after the other
        state = evolve(state, record)
    if found is None:
        known = f"it has m1 to {asked[-1]}" if asked else "it has none"
        raise UsageError(f"run {run_id} has no model call {call!r}: {known}; `m2/1` is the first attempt of m2")
    return found
