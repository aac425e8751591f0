"""A URL to a log. Nothing else."""

import atexit
import threading
from pathlib import Path

from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.errors import UsageError
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import KafkaSettings

_shared: dict[str, Log] = {}
_opening = threading.Lock()


def open_log(url: str) -> Log:
    """The log at `sqlite:///relative`, `sqlite:////absolute`, `kafka://host:port` or `memory://`; the caller closes it.

    Raises UsageError for another URL, LogUnavailable, LogCorrupt.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("sqlite", "kafka", "memory"):
        raise UsageError(
            f"{url!r} is no log: LEDGENT_LOG takes sqlite:///path/to/log.db or kafka://host:port "
            "(or memory:// for nothing kept)"
        )
    if scheme == "kafka":
        from ledgent.producers.kafka.log import KafkaLog  # the client takes long to import, for those who have no Kafka
        from ledgent.producers.kafka.wire import address_of

        return KafkaLog(address_of(url), KafkaSettings())
    if scheme == "memory":
        return MemoryLog()
    path = rest.removeprefix("/")
    if not path:
        raise UsageError(f"{url!r} names no file: write sqlite:///.ledgent/log.db")
    return SqliteLog(Path(path))


def shared_log(url: str) -> Log:
    """This process's one open log at the URL, so that its runs share commits; closed when the process ends."""
    with _opening:
        log = _shared.get(url)
        if log is None:
            log = _shared[url] = open_log(url)
            atexit.register(log.close)
        return log
