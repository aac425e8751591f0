"""A log and the store that belongs to it, and the thread that keeps the store up with the log. Talks to nobody."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from ledgent.processors.clickhouse.schema import TABLES, create
from ledgent.processors.readback import Readback
from ledgent.processors.rebuild import rebuild
from ledgent.processors.sink import OnUnreadable, Progress, Sink
from ledgent.processors.store import Store, open_store
from ledgent.processors.store_url import directory_of, discard_directory
from ledgent.schemas import topics
from ledgent.schemas.errors import LedgentError, StoreCorrupt, StoreError, StoreUnavailable
from ledgent.schemas.ports import Feed, Log
from ledgent.schemas.settings import KafkaSettings, Settings

BEHIND_PATIENCE_S = 5.0
"""How long a reader waits for a store that another process keeps up with the log."""
_POLL_S = 0.05


def behind(feed: Feed, store: Store) -> int:
    """How many records the store has yet to take in. Raises StoreUnavailable, StoreError, LogUnavailable."""
    return _missing(feed.ends(), Readback(store, TABLES).positions(topics.EVENTS))


def check_same_log(feed: Feed, store: Store) -> None:
    """Raises StoreError where the store holds records of another log: it would take this one's for known already."""
    create(store)
    taken, ends = Readback(store, TABLES).positions(topics.EVENTS), feed.ends()
    for partition, offset in taken.items():
        found = feed.read({**ends, partition: offset - 1}, 1)
        here = found[0].stored.digest if found and found[0][:2] == (partition, offset) else None
        there = store.query(
            "SELECT digest FROM events WHERE topic = {topic:String} AND partition = {partition:UInt32} "
            "AND `offset` = {offset:UInt64} LIMIT 1",
            {"topic": topics.EVENTS, "partition": partition, "offset": offset},
        )
        if here is None or there[0]["digest"] != here:
            raise StoreError(
                f"the store {store.url} holds the records of another log; name this log's own store with --store, "
                "or make it anew with `ledgent store rebuild`"
            )


@contextlib.contextmanager
def caught_up_store(settings: Settings, log: Log, progress: Progress | None = None) -> Iterator[Store]:
    """The store with all that the log holds by now, for one answer.

    Where no process owns the store this one does for a moment, and catches up; otherwise it waits for the owner.
    Raises StoreUnavailable, StoreError, StoreCorrupt, UnknownEventType, UsageError.
    """
    with open_store(settings.store) as store:
        check_same_log(log, store)
        if store.owner is not None:
            Sink(log, store).catch_up(progress)
        else:
            _wait_for_owner(log, store)
        yield store


def _wait_for_owner(feed: Feed, store: Store) -> None:
    """Returns once the store has what the log holds at this moment; gives up when it stands still."""
    ends = feed.ends()
    readback = Readback(store, TABLES)
    least: int | None = None
    deadline = 0.0
    while missing := _missing(ends, readback.positions(topics.EVENTS)):
        if least is None or missing < least:
            least, deadline = missing, time.monotonic() + BEHIND_PATIENCE_S
        elif time.monotonic() > deadline:
            raise StoreUnavailable(
                f"the store {store.url} is {missing:,} records behind the log and is not catching up; "
                "`ledgent doctor` looks for the reason"
            )
        time.sleep(_POLL_S)


def _missing(ends: Mapping[int, int], taken: Mapping[int, int]) -> int:
    return sum(max(end - taken.get(partition, -1), 0) for partition, end in ends.items())


def rebuilt_store(settings: Settings, log: Log, progress: Progress | None = None) -> int:
    """Makes the store anew from the log; the number of records read.

    A directory that no longer opens is deleted first. Raises StoreUnavailable while another process owns the store, or
    sinks fill it.
    """
    owned = directory_of(settings.store) is not None
    try:
        store = open_store(settings.store, stay=owned)
    except StoreCorrupt:
        discard_directory(settings.store)
        store = open_store(settings.store, stay=owned)
    with store:
        if sinks := sinks_at_work(log.url, store):
            raise StoreUnavailable(
                f"{sinks} process{'es' if sinks > 1 else ''} fill the store {store.url}; stop each `ledgent sink` and "
                "`ledgent up`, rebuild, and start them again"
            )
        return rebuild(log, store, progress)


def sinks_at_work(log_url: str, store: Store) -> int:
    """How many processes share the work of filling the store from a log on Kafka; 0 for another log.

    Raises LogUnavailable.
    """
    if not log_url.startswith("kafka://"):
        return 0
    from ledgent.processors.shared_sink import group_of
    from ledgent.producers.kafka.group_feed import members_of
    from ledgent.producers.kafka.wire import address_of

    address = address_of(log_url)
    return members_of(address, KafkaSettings(), group_of(address, store))


def fill(log: Log, store: Store, stop: threading.Event) -> None:
    """Keeps the store up with the log until stopped; waits for either while it is down.

    A log on Kafka is shared with the other processes that fill this store. What this process alone can reach, as the
    owner of a chDB directory, holds at the end all that was appended before the stop.

    Raises UnknownEventType, StoreError, LogUnavailable.
    """
    if not log.url.startswith("kafka://"):
        _fill_alone(log, store, stop)
        return
    # The client takes long to import, for those who have no Kafka.
    from ledgent.processors.shared_sink import follow_shared, group_of
    from ledgent.producers.kafka.group_feed import GroupFeed
    from ledgent.producers.kafka.putting_aside import PuttingAside
    from ledgent.producers.kafka.wire import address_of

    address, kafka = address_of(log.url), KafkaSettings()
    with contextlib.closing(PuttingAside(address, kafka)) as aside:
        if store.owner is not None:
            _fill_alone(log, store, stop, aside.put)
            return
        with contextlib.closing(GroupFeed(address, kafka, group_of(address, store))) as feed:
            follow_shared(feed, store, stop, aside.put)


def _fill_alone(log: Log, store: Store, stop: threading.Event, on_unreadable: OnUnreadable | None = None) -> None:
    sink = Sink(log, store, on_unreadable=on_unreadable)
    sink.follow(stop)
    sink.catch_up()


class StoreFollower:
    """The thread that keeps a store up with the log."""

    def __init__(self, log: Log, store: Store, on_failure: Callable[[LedgentError], None]) -> None:
        self._log = log
        self._store = store
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ledgent-store-follower")

    def start(self) -> None:
        """Raises StoreError where the store is another log's, before anything is written."""
        check_same_log(self._log, self._store)
        self._thread.start()

    def stop(self) -> None:
        """Returns once the thread has ended, as `fill` does."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        try:
            fill(self._log, self._store, self._stop)
        except LedgentError as error:
            self._on_failure(error)
