"""The events of a log on Kafka for several processes that share them: each reads the partitions it is assigned.

Where each partition is read from is for the reader to say, who knows it from what it has stored: nothing is committed
to Kafka.
"""

import time
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError

from ledgent.producers.kafka.errors import check_reachable, translated
from ledgent.producers.kafka.reading import ANSWER_S, consumer_of, see_join_through
from ledgent.producers.kafka.topics import admin_of
from ledgent.producers.kafka.wire import Address, stored_of
from ledgent.schemas.ports import Positioned
from ledgent.schemas.settings import KafkaSettings

SESSION_S = 10.0
"""After so long without a sign of life a process's partitions go to others."""
FETCHED_S = 0.2
"""How long to wait for records that are known to be there."""
FETCH_BYTES = 8 << 20
"""Of one partition at once: an insert has a cost of its own, so blocks shall be large."""
POLL_RECORDS = 500
"""In one poll: of each record kafka-python makes a dozen objects, and few of them shall live at the same time."""


class Reassigned(Exception):
    """Partitions have come or gone: what the reader knew of its places may be out of date. It begins again."""


class GroupFeed(ConsumerRebalanceListener):  # type: ignore[misc]
    """A process's share of the events. Use it from one thread."""

    def __init__(self, address: Address, settings: KafkaSettings, group: str, *, session_s: float = SESSION_S) -> None:
        """Joins the group. Raises LogUnavailable."""
        check_reachable(address, settings)
        self._address = address
        self._settings = settings
        self._topic = address.topics.events
        self._changed = False
        self._at: dict[int, int] = {}
        """The offset that the consumer gives next, by partition."""
        self._answered_at = time.monotonic()
        self._consumer = consumer_of(
            address,
            settings,
            group_id=group,
            session_timeout_ms=int(session_s * 1000),
            heartbeat_interval_ms=int(session_s * 1000 / 4),
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        self._consumer.subscribe([self._topic], listener=self)

    @property
    def partitions(self) -> list[int]:
        """Those that are this process's."""
        return sorted(place.partition for place in self._consumer.assignment())

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        """As `Feed.read`, of the partitions that are this process's. Raises Reassigned, LogUnavailable."""
        try:
            self._seek(positions)
            found = self._polled(limit, timeout_s)
            while found and len(found) < limit and self._is_behind():
                more = self._polled(limit - len(found), FETCHED_S)
                if not more:
                    break
                found += more
            if found:
                self._answered_at = time.monotonic()
            elif time.monotonic() - self._answered_at > ANSWER_S:
                # Silence may be a broker that is away.
                self._consumer.end_offsets([TopicPartition(self._topic, 0)], timeout_ms=int(ANSWER_S * 1000))
                self._answered_at = time.monotonic()
            return found
        except KafkaError as error:
            raise translated(error, self._address, self._settings) from error

    def ends(self) -> dict[int, int]:
        """As `Feed.ends`, of the partitions that are this process's. Raises LogUnavailable."""
        try:
            found = self._consumer.end_offsets(self._consumer.assignment(), timeout_ms=int(ANSWER_S * 1000))
        except KafkaError as error:
            raise translated(error, self._address, self._settings) from error
        return {place.partition: offset - 1 for place, offset in found.items()}

    def close(self) -> None:
        """Leaves the group, so that others take over at once."""
        self._consumer.close(timeout_ms=int(SESSION_S * 1000))

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._changed = True

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._changed = True

    def _seek(self, positions: dict[int, int]) -> None:
        for place in self._consumer.assignment():
            following = positions.get(place.partition, -1) + 1
            if self._at.get(place.partition) != following:
                self._consumer.seek(place, following)
                self._at[place.partition] = following

    def _polled(self, most: int, timeout_s: float) -> list[Positioned]:
        batches: dict[TopicPartition, list[Any]] = self._consumer.poll(
            int(timeout_s * 1000), max_records=min(most, POLL_RECORDS)
        )
        see_join_through(self._consumer)
        if self._changed:
            # What came may be from wherever the consumer began by itself.
            self._changed, self._at = False, {}
            raise Reassigned
        for place, records in batches.items():
            self._at[place.partition] = records[-1].offset + 1
        return [
            Positioned(place.partition, record.offset, stored_of(record.value, record.headers))
            for place, records in batches.items()
            for record in records
        ]

    def _is_behind(self) -> bool:
        """Whether the broker has said that there is more."""
        return any(
            offset < (self._consumer.highwater(TopicPartition(self._topic, partition)) or 0)
            for partition, offset in self._at.items()
        )


def members_of(address: Address, settings: KafkaSettings, group: str) -> int:
    """How many processes share the partitions under this name. Raises LogUnavailable."""
    with admin_of(address, settings) as admin:
        return len(admin.describe_groups([group])[group]["members"])
