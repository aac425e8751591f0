"""Which runs were asked for: the ids in the start requests on Kafka. Gives no request out."""

import threading

from ledgent.producers.kafka.member import BEGINS_AT
from ledgent.producers.kafka.reading import Readers
from ledgent.producers.kafka.wire import Address

MOST_AT_ONCE = 5000


class Starts:
    """The runs that were asked for, begun or not. Each question reads on from where the last one came to."""

    def __init__(self, readers: Readers, address: Address, partitions: int) -> None:
        self._readers = readers
        self._topic = address.topics.requests
        self._lock = threading.Lock()
        self._next = dict.fromkeys(range(partitions), 0)
        self._run_ids: set[str] = set()

    def run_ids(self) -> frozenset[str]:
        """Those of all requests that Kafka still keeps. Raises LogUnavailable."""
        with self._lock:
            while records := self._readers.after(self._topic, self._next, MOST_AT_ONCE, 0.0):
                for record in records:
                    self._next[record.partition] = record.offset + 1
                    if record.key and any(name == BEGINS_AT for name, _ in record.headers):
                        self._run_ids.add(record.key.decode(errors="replace"))
            return frozenset(self._run_ids)
