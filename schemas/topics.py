"""The names of the log's streams. Nothing but names."""

from typing import NamedTuple

PREFIX = "ledgent"


class Topics(NamedTuple):
    """A log's streams, as Kafka names its topics."""

    requests: str
    """What comes from outside, key run id; as many partitions as `events`."""
    events: str
    """Every run's records, key run id; kept for ever."""
    system: str
    """The records of workers and processors: alerts, dead letters; key `system:` and the writer."""
    metrics: str
    """Windows of one minute, as the processors compute them."""
    run_state: str
    """The latest snapshot of each run, compacted; key run id, partitioned as `events`."""
    dead_letters: str
    """What could not be read, byte for byte, with the reason."""


def topics_of(prefix: str) -> Topics:
    """The topics of the log whose names begin so."""
    names = ("requests", "events", "system", "metrics", "run-state", "dead-letters")
    return Topics(*(f"{prefix}.{name}" for name in names))


EVENTS = topics_of(PREFIX).events
"""Every run's records, whichever log they are in: the store's name for that stream."""
