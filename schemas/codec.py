"""Bytes to records and back: the stored form, upcasts, the digest chain. Pure: no I/O, no clock.

A record is stored as one JSON object, the envelope's fields first and the payload last under "event"; its digest,
the SHA-256 of the previous record's digest followed by these very bytes, is stored beside it. Verification hashes the
bytes as stored, never a re-serialisation.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from pydantic import ValidationError

from ledgent.schemas.errors import RecordTooLarge, UnknownEventType, UnreadableRecord
from ledgent.schemas.events import EVENT_CLASSES, AnyEvent
from ledgent.schemas.frozen import Event
from ledgent.schemas.values import Cut

MAX_RECORD_BYTES = 900_000
"""Of an encoded record, in both logs: Kafka refuses more than 1 MiB."""
MAX_TEXT_BYTES = 256_000
"""Of one text in an outcome, as JSON; what is longer is cut where the outcome is made."""
GENESIS = "0" * 64
"""The digest before a run's first record."""

EVENT_MARK = b',"event":'  # cannot occur inside a JSON string: the quotes in it would be escaped


class Stored(NamedTuple):
    """A record as the log keeps it."""

    body: bytes
    digest: str


Ordinal = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A record without its payload: all that acceptance reads. Its shape and the order of its fields never change."""

    run_id: str
    """UUIDv7: sorts by time."""
    seq: Ordinal
    """1, 2, 3 ... gapless within a run."""
    epoch: Ordinal
    """Which claim wrote it."""
    writer: str
    """New for each process start."""
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    """UTC, microseconds; never earlier than the record before it."""
    cause: Ordinal | None
    """The seq of the record that led to this one; for an intent, the last one folded when it was decided."""
    trace_id: str
    span_id: str
    """W3C trace context: one trace per run tree, one span per attempt of an operation."""
    type: str
    version: Ordinal
    previous: str
    """The digest of the record before it."""


class Recorded(NamedTuple):
    """An event with its place in the log."""

    envelope: Envelope
    event: AnyEvent
    digest: str

    @property
    def run_id(self) -> str:
        return self.envelope.run_id

    @property
    def seq(self) -> int:
        return self.envelope.seq

    @property
    def at(self) -> datetime:
        return self.envelope.at


def encode(envelope: Envelope, event: Event) -> Stored:
    """The stored form of a record.

    Raises RecordTooLarge when it is over MAX_RECORD_BYTES.
    """
    head = _write(envelope)
    body = head[:-1] + EVENT_MARK + type(event).__pydantic_serializer__.to_json(event) + b"}"
    if len(body) > MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"run {envelope.run_id}: the {envelope.type} record would take {len(body):,} bytes; "
            f"a record may have {MAX_RECORD_BYTES:,}: pass large data by reference"
        )
    return Stored(body, digest_of(envelope.previous, body))


def digest_of(previous: str, body: bytes) -> str:
    """SHA-256 over the previous record's digest and the stored bytes, as hex."""
    return hashlib.sha256(previous.encode() + body).hexdigest()


def read_envelope(body: bytes) -> Envelope:
    """The envelope alone, for acceptance: a payload that cannot be decoded still advances its run.

    Raises UnreadableRecord.
    """
    return split(body)[0]


def split(body: bytes) -> tuple[Envelope, bytes]:
    """The envelope, and the payload's bytes for `decode_payload`. Raises UnreadableRecord."""
    if not isinstance(body, bytes):  # a column of another type than it was written with
        raise UnreadableRecord("the record's body is no bytes")
    head, _, rest = body.partition(EVENT_MARK)
    if rest[-1:] != b"}":
        raise UnreadableRecord("the bytes are no record: they hold no event")
    try:
        return _read(head + b"}"), rest[:-1]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableRecord(f"the bytes are no record: {error}") from error


_read = msgspec.json.Decoder(Envelope).decode
_write = msgspec.json.Encoder().encode


def decode(stored: Stored) -> Recorded:
    """The record in these bytes, its payload validated and brought to today's shape.

    Raises UnreadableRecord for corrupt bytes, UnknownEventType for a type or version newer than this code.
    """
    envelope, payload = split(stored.body)
    return Recorded(envelope, decode_payload(envelope.type, envelope.version, payload), stored.digest)


def event_of(envelope: Envelope, stored: Stored) -> AnyEvent:
    """The event of a record whose envelope has been read already. Raises as `decode` does."""
    payload = stored.body[stored.body.index(EVENT_MARK) + len(EVENT_MARK) : -1]
    return decode_payload(envelope.type, envelope.version, payload)


def decode_payload(type: str, version: int, payload: bytes) -> AnyEvent:
    """The validated event in a payload's bytes, brought to today's shape. Raises as `decode` does."""
    today, validated = _TODAY.get(type, (0, None))
    if validated is None or version > today:
        raise UnknownEventType(type, version)
    try:
        return validated(payload if version == today else _upcast(type, version, today, payload))
    except (ValidationError, ValueError, KeyError) as error:
        raise UnreadableRecord(f"the payload of a {type} record cannot be read: {error}") from error


def _upcast(type: str, version: int, today: int, payload: bytes) -> bytes:
    fields: dict[str, Any] = orjson.loads(payload)
    for step in range(version, today):
        fields = UPCASTS[type, step](fields)
    return orjson.dumps(fields)


_TODAY: dict[str, tuple[int, Callable[[bytes], AnyEvent]]] = {
    name: (cls.version, cls.__pydantic_validator__.validate_json) for name, cls in EVENT_CLASSES.items()
}
"""By type, the payload's version today and what reads it."""

UPCASTS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(type, version) to the function that brings such a payload to the next version."""


def cut_text(text: str, limit: int = MAX_TEXT_BYTES) -> tuple[str, Cut | None]:
    """The text, cut where its JSON form would be over `limit` bytes, and what it was before the cut.

    A lone surrogate, which UTF-8 cannot hold, becomes a question mark.
    """
    text = whole_characters(text)
    kept = beginning(text, limit)
    if len(kept) == len(text):
        return text, None
    whole = text.encode()
    note = f"\n[cut: {len(kept):,} of {len(text):,} characters]"
    return kept + note, Cut(size=len(whole), sha256=hashlib.sha256(whole).hexdigest())


def beginning(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Of the text as much as its JSON form has room for in `limit` bytes. It holds whole characters only."""
    if len(text) * 6 <= limit and text.isascii():  # it fits even if every character is escaped
        return text
    kept = text.encode()[:limit].decode(errors="ignore")
    while len(orjson.dumps(kept)) > limit:
        kept = kept[: len(kept) * 9 // 10]
    return kept


def whole_characters(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate, half a character, becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def span_id_of(run_id: str, *parts: str | int) -> str:
    """The span of an operation's attempt: the same run always yields the same ids."""
    return hashlib.sha256(f"{run_id}/{'/'.join(map(str, parts))}".encode()).hexdigest()[:16]


def trace_id_of(run_id: str) -> str:
    """The trace of a run: a UUID's own 32 hex digits, else a hash of the id."""
    digits = run_id.replace("-", "")
    return digits if _HEX_32.fullmatch(digits) else hashlib.sha256(run_id.encode()).hexdigest()[:32]


_HEX_32 = re.compile("[0-9a-f]{32}")


def export_line(stored: Stored) -> bytes:
    """A record as one line of an export: its stored bytes with the digest as the last field."""
    return stored.body[:-1] + b',"digest":"' + stored.digest.encode() + b'"}\n'


def import_line(line: bytes) -> Stored:
    """The record that `export_line` wrote. Raises UnreadableRecord."""
    body, mark, digest = line.rstrip(b"\n").rpartition(b',"digest":"')
    if not mark or not _DIGEST_AT_END.fullmatch(digest):
        raise UnreadableRecord("the line is no exported record: it does not end with a digest")
    return Stored(body + b"}", digest[:64].decode())


_DIGEST_AT_END = re.compile(rb'[0-9a-f]{64}"}')
