"""Sinks that share a log's partitions: who belongs together, and what each does when partitions change hands."""

import contextlib
import threading

from ledgent.processors.sink import OnUnreadable, Sink
from ledgent.processors.store import Store
from ledgent.producers.kafka.group_feed import GroupFeed, Reassigned
from ledgent.producers.kafka.wire import Address


def group_of(address: Address, store: Store) -> str:
    """The name of the group whose members fill this store: those of another store must not take their share of it."""
    (found,) = store.query(
        "SELECT toString(uuid) AS id FROM system.databases WHERE name = {name:String}", {"name": store.database}
    )
    return f"{address.prefix}.sink.{found['id']}"


def follow_shared(
    feed: GroupFeed, store: Store, stop: threading.Event, on_unreadable: OnUnreadable | None = None
) -> None:
    """Takes in this process's share of the log until stopped; waits for a store or log that is down.

    Raises UnknownEventType, StoreError.
    """
    while not stop.is_set():
        # A new one for each assignment: what another process has stored meanwhile is in the store only.
        with contextlib.suppress(Reassigned):
            Sink(feed, store, on_unreadable=on_unreadable).follow(stop)
