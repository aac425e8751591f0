"""What could not be read, put aside on Kafka byte for byte: how such a letter looks, and the writing of it.

A letter is the message as it was: its key, bytes and headers, with headers on top that say where it stood and why it
was put aside. Readers of one stream may each put the same message aside; its place tells that it is the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import Headers
from ledgent.schemas.errors import UnreadableRecord
from ledgent.schemas.system_events import RecordDeadLettered

REASON_CHARACTERS = 1_000
_OURS = "ledgent-dead-"


class DeadLetter(NamedTuple):
    """A message that could not be read, and why."""

    reason: str
    topic: str
    partition: int
    offset: int
    """Where it stands."""
    at: datetime
    """When it was put aside."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    """As they were."""


def letter_headers(letter: DeadLetter) -> Headers:
    """The message's own headers and those on top."""
    added = {
        "reason": letter.reason[:REASON_CHARACTERS],
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "time": letter.at.isoformat(),
    }
    return [*letter.headers, *((_OURS + name, text.encode(errors="replace")) for name, text in added.items())]


def read_letter(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> DeadLetter:
    """The letter in a message of `dead-letters`. Raises UnreadableRecord."""
    added = {name.removeprefix(_OURS): text or b"" for name, text in headers if name.startswith(_OURS)}
    own = [(name, text or b"") for name, text in headers if not name.startswith(_OURS)]
    try:
        return DeadLetter(
            added["reason"].decode(),
            added["topic"].decode(),
            int(added["partition"]),
            int(added["offset"]),
            datetime.fromisoformat(added["time"].decode()),
            key,
            value,
            own,
        )
    except (KeyError, ValueError) as error:
        raise UnreadableRecord(f"the message is no dead letter: {error}") from error


class DeadLetters:
    """Puts messages aside, and says so on the `system` topic."""

    def __init__(self, system: SystemWriter) -> None:
        self._system = system

    def put(
        self,
        reason: str,
        place: tuple[str, int, int],
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        subject_run_id: str | None = None,
    ) -> None:
        """Puts the message at (topic, partition, offset) aside; durable when it returns. Raises LogUnavailable."""
        own = [(name, text or b"") for name, text in headers]
        letter = DeadLetter(reason, *place, datetime.now(UTC), key, value, own)
        topic = self._system.address.topics.dead_letters
        self._system.send(topic, key, value, letter_headers(letter))
        event = RecordDeadLettered(
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            reason=reason[:REASON_CHARACTERS],
            subject_run_id=subject_run_id,
        )
        self._system.write(event)
