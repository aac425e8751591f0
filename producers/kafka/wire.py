"""How the log's records look on Kafka, where its topics are and how to reach them. Opens no connection."""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ledgent.schemas.codec import Envelope, Stored, read_envelope
from ledgent.schemas.errors import UsageError
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.topics import PREFIX, Topics, topics_of

Headers = list[tuple[str, bytes]]

DIGEST = "ce_digest"
SOURCE = "/ledgent"
_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LONGEST_PREFIX = 200


class Address(NamedTuple):
    """Where a log on Kafka is."""

    servers: tuple[str, ...]
    topics: Topics
    prefix: str

    @property
    def url(self) -> str:
        return f"kafka://{','.join(self.servers)}" + ("" if self.prefix == PREFIX else f"/{self.prefix}")


def address_of(url: str) -> Address:
    """The brokers and topics that `kafka://host:9092,host:9092/prefix` names. Raises UsageError."""
    servers, _, prefix = url.removeprefix("kafka://").partition("/")
    prefix = prefix or PREFIX
    if "@" in servers:
        raise UsageError("a kafka URL takes no password: set LEDGENT_KAFKA_USERNAME and LEDGENT_KAFKA_PASSWORD")
    named = tuple(server if ":" in server else f"{server}:9092" for server in servers.split(",") if server)
    if not named or not all(server.rpartition(":")[2].isdigit() for server in named):
        raise UsageError(f"{url!r} names no broker: write kafka://host:9092 or kafka://one:9092,two:9092")
    if len(prefix) > _LONGEST_PREFIX or not _TOPIC_CHARACTERS.issuperset(prefix):
        raise UsageError(f"{prefix!r} cannot begin a topic's name: letters, digits, '.', '_' and '-' can")
    return Address(named, topics_of(prefix), prefix)


def client_options(address: Address, settings: KafkaSettings) -> dict[str, Any]:
    """What every kafka-python client of this address is given."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(address.servers),
        "security_protocol": settings.security_protocol,
        "client_id": "ledgent",
    }
    if "SASL" in settings.security_protocol:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value()
    if "SSL" in settings.security_protocol:
        options["ssl_cafile"] = settings.ca_file or None
        options["ssl_certfile"] = settings.cert_file or None
        options["ssl_keyfile"] = settings.key_file or None
    return options


def partition_of(run_id: str, partitions: int) -> int:
    """Where a run's requests, records and snapshots are: the one function that says so."""
    return zlib.crc32(run_id.encode()) % partitions


def headers_of(envelope: Envelope, digest: str) -> Headers:
    """A record's CloudEvents attributes in the Kafka protocol binding's binary mode, its digest and trace context."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": f"{envelope.run_id}/{envelope.epoch}/{envelope.seq}/{digest[:16]}",
        "ce_source": SOURCE,
        "ce_type": f"ledgent.{envelope.type}",
        "ce_time": msgspec.to_builtins(envelope.at),
        "ce_subject": envelope.run_id,
        "ce_partitionkey": envelope.run_id,
        "ce_sequence": f"{envelope.seq:020d}",
        DIGEST: digest,
        "content-type": "application/json",
        "traceparent": f"00-{envelope.trace_id}-{envelope.span_id}-01",
    }
    return [(name, value.encode()) for name, value in attributes.items()]


def headers_of_stored(stored: Stored) -> Headers:
    """As `headers_of`, for a record whose envelope is not at hand. Raises UnreadableRecord."""
    return headers_of(read_envelope(stored.body), stored.digest)


def stored_of(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Stored:
    """The record in a Kafka message; whatever the bytes are, for the codec to judge."""
    for name, digest in headers:
        if name == DIGEST and digest is not None:
            return Stored(value or b"", digest.decode("ascii", "replace"))
    return Stored(value or b"", "")
