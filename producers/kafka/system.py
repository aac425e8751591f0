"""Writes what a process has to say of itself: alerts and dead letters, as a chain of its own on Kafka.

Blocks until the broker has the record; safe to call from any thread.
"""

import threading

from kafka import KafkaProducer
from kafka.errors import KafkaError

from ledgent.producers.kafka.errors import translated
from ledgent.producers.kafka.wire import Address, Headers, client_options, headers_of
from ledgent.producers.system_chain import SystemChain
from ledgent.schemas.codec import Envelope, Stored
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.system_events import AnySystemEvent

SEND_S = 30.0
"""How long the broker may take to have a record."""


class SystemWriter:
    """One writer's chain on the `system` topic; made anew for each process start."""

    def __init__(self, address: Address, settings: KafkaSettings, writer: str) -> None:
        """Raises LogUnavailable."""
        self.address = address
        self._settings = settings
        self._chain = SystemChain(writer)
        self._unsure: tuple[AnySystemEvent, Envelope, Stored] | None = None
        self._one_by_one = threading.Lock()
        try:
            self._producer = KafkaProducer(
                **client_options(address, settings),
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=int(SEND_S * 1000),
                request_timeout_ms=int(SEND_S * 1000) // 2,
                max_block_ms=int(SEND_S * 1000),
                max_request_size=2 << 20,
            )
        except KafkaError as error:
            raise translated(error, address, settings) from error

    def write(self, event: AnySystemEvent) -> None:
        """Appends the event; durable when it returns.

        Raises LogUnavailable: whether the record was written is not known. The same event given again, and any other
        before it is written itself, has the same bytes sent once more, so that the chain has no fork.
        """
        with self._one_by_one:
            if self._unsure is not None and self._unsure[0] != event:
                self._send_unsure()
            if self._unsure is None:
                self._unsure = (event, *self._chain.next(event))
            self._send_unsure()

    def _send_unsure(self) -> None:
        assert self._unsure is not None
        _, envelope, stored = self._unsure
        topic, key = self.address.topics.system, self._chain.run_id.encode()
        self.send(topic, key, stored.body, headers_of(envelope, stored.digest))
        self._unsure = None

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Sends any record of this process; durable when it returns. Raises LogUnavailable."""
        try:
            self._producer.send(topic, key=key, value=value, headers=headers).get(SEND_S)
        except KafkaError as error:
            raise translated(error, self.address, self._settings) from error

    def close(self) -> None:
        """Lets go of the connection; what was written stays."""
        self._producer.close(timeout=5)
