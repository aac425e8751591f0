"""A sink process that shares a log on Kafka, for tests that stop, kill and freeze it: LOG STORE [SIGNAL AT DONE]."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, cast

from ledgent.processors.shared_sink import follow_shared, group_of
from ledgent.processors.store import Store, open_store
from ledgent.producers.kafka.group_feed import GroupFeed
from ledgent.producers.kafka.putting_aside import PuttingAside
from ledgent.producers.kafka.wire import address_of
from ledgent.schemas.settings import KafkaSettings

SESSION_S = 1.0


class StrikingStore:
    """A store that sends its own process a signal at the n-th insert, before it is carried out or after."""

    def __init__(self, store: Store, what: signal.Signals, at: int, done: bool) -> None:
        self._store = store
        self._what = what
        self._at = at
        self._done = done
        self._inserts = 0

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        self._inserts += 1
        if self._inserts == self._at and not self._done:
            os.kill(os.getpid(), self._what)
        stored = self._store.insert(table, columns, rows)
        if self._inserts == self._at and self._done:
            os.kill(os.getpid(), self._what)
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def main(log_url: str, store_url: str, *strike: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    address, settings = address_of(log_url), KafkaSettings()
    with open_store(store_url) as store:
        feed = GroupFeed(address, settings, group_of(address, store), session_s=SESSION_S)
        aside = PuttingAside(address, settings)
        used = store
        if strike:
            what, at, done = strike
            used = cast(Store, StrikingStore(store, signal.Signals[what], int(at), done == "done"))
        try:
            follow_shared(feed, used, stop, aside.put)
        finally:
            feed.close()
            aside.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
