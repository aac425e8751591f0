"""Records of a log on Kafka that a reader of events could not read, put aside as the broker has them."""

from ledgent.producers.identity import new_writer
from ledgent.producers.kafka.dead_letters import DeadLetters
from ledgent.producers.kafka.reading import Readers
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import Address
from ledgent.schemas.ports import Positioned
from ledgent.schemas.settings import KafkaSettings


class PuttingAside:
    """Puts each record aside once; it connects when there is the first one. Use it from one thread."""

    def __init__(self, address: Address, settings: KafkaSettings) -> None:
        self._address = address
        self._settings = settings
        self._open: tuple[Readers, SystemWriter] | None = None
        self._done: set[tuple[int, int]] = set()

    def put(self, place: Positioned, reason: str) -> None:
        """Durable when it returns. Raises LogUnavailable."""
        if place[:2] in self._done:
            return
        if self._open is None:
            readers = Readers(self._address, self._settings)
            self._open = readers, SystemWriter(self._address, self._settings, new_writer())
        readers, system = self._open
        topic = self._address.topics.events
        for message in readers.stretch(topic, place.partition, place.offset, place.offset):
            DeadLetters(system).put(
                reason, (topic, place.partition, place.offset), message.key, message.value, message.headers
            )
        self._done.add(place[:2])

    def close(self) -> None:
        if self._open is not None:
            readers, system = self._open
            readers.close()
            system.close()
