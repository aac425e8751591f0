"""What is said of the processes, not of a run: alerts, dead letters, circuits; a stream of their own. No clock, no I/O.

Such a record has the envelope of any other. Its `run_id` is `system:` and its writer, who alone writes that chain and
never claims it; which run it is about is in the payload. As with events, a class exists only once some code emits it.
"""

from typing import Literal, NamedTuple

import orjson
from pydantic import ValidationError

from ledgent.schemas.codec import Envelope, Stored, read_envelope
from ledgent.schemas.errors import ErrorCode, UnknownEventType, UnreadableRecord
from ledgent.schemas.frozen import Event


class AlertRaised(Event):
    """Something needs a person's eye. The same alert may be recorded twice: its id tells."""

    type: Literal["alert.raised"] = "alert.raised"
    alert_id: str
    kind: Literal["stalled", "broken"]
    """A live run had no record for too long; or a holder's record has a wrong digest."""
    subject_run_id: str
    message: str
    """For people."""


class AlertResolved(Event):
    """The cause is gone."""

    type: Literal["alert.resolved"] = "alert.resolved"
    alert_id: str
    subject_run_id: str


class RecordDeadLettered(Event):
    """What cannot be read was put aside, byte for byte; its stream goes on."""

    type: Literal["record.dead_lettered"] = "record.dead_lettered"
    topic: str
    partition: int
    offset: int
    reason: str
    subject_run_id: str | None = None
    """None: not even that can be read."""


class CircuitOpened(Event):
    """Too many calls have failed: this circuit's are refused, by every process that hears of it."""

    type: Literal["circuit.opened"] = "circuit.opened"
    circuit: str
    """Of what: `model:provider/name`, `tool:agent/name`, `service:name`."""
    calls: int
    """In the window."""
    failures: int
    open_s: float
    """Until one call is let through, to see."""
    reason: ErrorCode
    """Of the last failure."""


class CircuitHalfOpened(Event):
    """One call is let through; what comes of it decides."""

    type: Literal["circuit.half_opened"] = "circuit.half_opened"
    circuit: str


class CircuitClosed(Event):
    """Calls are made again."""

    type: Literal["circuit.closed"] = "circuit.closed"
    circuit: str


AnySystemEvent = AlertRaised | AlertResolved | RecordDeadLettered | CircuitOpened | CircuitHalfOpened | CircuitClosed

SYSTEM_EVENT_CLASSES: dict[str, type[AnySystemEvent]] = {
    cls.model_fields["type"].default: cls for cls in AnySystemEvent.__args__
}
"""Every class by its type name."""


class SystemRecord(NamedTuple):
    """A system event with its place in its writer's chain."""

    envelope: Envelope
    event: AnySystemEvent
    digest: str


def system_chain(writer: str) -> str:
    """What stands for the run id in this writer's system events."""
    return f"system:{writer}"


def decode_system(stored: Stored) -> SystemRecord:
    """The record in these bytes. Raises UnreadableRecord, and UnknownEventType for what is newer than this code."""
    envelope = read_envelope(stored.body)
    known = SYSTEM_EVENT_CLASSES.get(envelope.type)
    if known is None or envelope.version > known.version:
        raise UnknownEventType(envelope.type, envelope.version)
    try:
        event = known.model_validate(orjson.loads(stored.body)["event"])
    except (ValidationError, ValueError) as error:
        raise UnreadableRecord(f"the payload of a {envelope.type} record cannot be read: {error}") from error
    return SystemRecord(envelope, event, stored.digest)
