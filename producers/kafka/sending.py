"""Sending to Kafka: one idempotent producer for all threads and event loops of a process. Judges no record.

`send` never blocks an event loop: kafka-python keeps any number of bytes, and each caller waits for what it has sent.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.future import Future

from ledgent.producers.kafka.errors import translated
from ledgent.producers.kafka.reading import ANSWER_S, PATIENCE_S, closed
from ledgent.producers.kafka.wire import Address, Headers, client_options
from ledgent.schemas.errors import LogUnavailable, RecordTooLarge
from ledgent.schemas.settings import KafkaSettings

logger = logging.getLogger("ledgent.kafka")

T = TypeVar("T")

DELIVERY_S = 15.0
"""How long kafka-python tries by itself."""
SILENT_S = DELIVERY_S + 5.0
"""A producer that has then told of neither is given up: without the id that makes it idempotent, it waits for ever."""
PAUSE_S = 0.2
CLOSING_S = 5.0
BATCH_BYTES = 64 << 10
PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,
    "batch_size": BATCH_BYTES,
    "request_timeout_ms": int(ANSWER_S * 1000),
    "delivery_timeout_ms": int(DELIVERY_S * 1000),
    "max_block_ms": int(ANSWER_S * 1000),
    "bootstrap_timeout_ms": int(ANSWER_S * 1000),
    "reconnect_backoff_max_ms": 1000,
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}
"""How every record is sent."""


class Message(NamedTuple):
    """What is sent, and to where."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers


Outcome = asyncio.Future[Exception | None]
"""How it went: with None all is durable, else some may not be."""


class Sender:
    """Sends until what was sent is known to be durable."""

    def __init__(self, address: Address, settings: KafkaSettings, *, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._settings = settings
        self._patience_s = patience_s
        self._making = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "ledgent-kafka-producer")
        """Makes and closes producers, which can take long."""
        self._producer: KafkaProducer | None = None
        self._closed = False

    async def deliver(
        self, unsettled: Callable[[], Sequence[Message]], settled: asyncio.Future[bool | None] | None = None
    ) -> None:
        """Sends what is `unsettled`, in order, until it is durable, or, where given, `settled` is done.

        What may have got lost is sent again, with all that comes after it. Raises RecordTooLarge, LogUnavailable.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            producer, outcome, last = await self._send(unsettled(), confirmed=settled is None)
            awaited: set[asyncio.Future[Any]] = {outcome, settled} if settled else {outcome}
            left = deadline - time.monotonic()
            done, _ = await asyncio.wait(awaited, timeout=min(left, SILENT_S), return_when=asyncio.FIRST_COMPLETED)
            if not done and last is not None and last.succeeded():  # durable: only to be read back
                await asyncio.wait(awaited, timeout=left - SILENT_S, return_when=asyncio.FIRST_COMPLETED)
            error = outcome.result() if outcome.done() else None
            if settled.done() if settled else outcome.done() and error is None:
                return
            if self._closed:
                raise closed()
            self._raise_final(error)
            if time.monotonic() >= deadline:
                raise LogUnavailable(
                    f"no Kafka broker at {','.join(self._address.servers)} has taken and given back what was sent for "
                    f"{self._patience_s:g} s; it may be in the log or not: start the broker, then this process again"
                ) from error
            logger.warning("sending again what may have got lost: %s", error or "its producer says nothing")
            await self._threaded(self._discard, producer)
            await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        self._closed = True
        with self._making:
            producer, self._producer = self._producer, None
        if producer is not None:
            _close(producer, CLOSING_S)
        self._thread.shutdown()

    async def _send(
        self, messages: Sequence[Message], *, confirmed: bool
    ) -> tuple[KafkaProducer | None, Outcome, Future | None]:
        """The producer, None where none could be made, what becomes of the messages, and of the last one of them.

        Without `confirmed` only an error is told: who has the records read back learns of them anyway.
        """
        loop = asyncio.get_running_loop()
        outcome: Outcome = loop.create_future()

        def tell(error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed in between: nobody waits any more
                loop.call_soon_threadsafe(_settle, outcome, error)

        producer: KafkaProducer = self._producer
        sent: Future | None = None
        try:
            if producer is None:
                producer = await self._threaded(self._made)
            for message in messages:
                sent = producer.send(
                    message.topic, message.value, message.key, message.headers, partition=message.partition
                )
                sent.add_errback(tell)
            if confirmed and sent is not None:
                sent.add_callback(lambda _: tell(None))
        except KafkaError as error:
            _settle(outcome, error)
        return producer, outcome, sent

    def _made(self) -> KafkaProducer:
        with self._making:
            if self._closed:
                raise closed()
            if self._producer is None:
                producer = KafkaProducer(**client_options(self._address, self._settings), **PRODUCER)
                for topic in (self._address.topics.events, self._address.topics.requests):
                    producer.partitions_for(topic)  # asked here, so that no `send` waits for it
                self._producer = producer
            return self._producer

    def _discard(self, producer: KafkaProducer | None) -> None:
        """Makes way for a new producer.

        One that has given up a record it had sent delivers no other either: it forgets its producer id and never asks
        for a new one (kafka-python 3.0.12). All that still waits for it is told so, and is sent again.
        """
        with self._making:
            if producer is None or self._producer is not producer:
                return
            self._producer = None
        _close(producer, 0)

    async def _threaded(self, call: Callable[..., T], *about: Any) -> T:
        if self._closed:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *about)

    def _raise_final(self, error: Exception | None) -> None:
        """Raises what sending again cannot mend."""
        match error:
            case MessageSizeTooLargeError() | RecordListTooLargeError():
                raise RecordTooLarge(f"Kafka refuses so large a record: {error}") from error
            case AuthorizationError():
                raise translated(error, self._address, self._settings) from error
            case _:
                pass


def _close(producer: KafkaProducer, timeout_s: float) -> None:
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:  # then it has closed nothing: what it could not deliver has to be given up first
        producer._sender.force_close()
        try:
            producer.close(timeout=CLOSING_S)
        except KafkaTimeoutError:
            logger.warning("a Kafka producer did not close within %g s, and is left to itself", CLOSING_S)


def _settle(outcome: Outcome, error: Exception | None) -> None:
    if not outcome.done():
        outcome.set_result(error)
