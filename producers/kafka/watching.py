"""Sees to it that a consumer with nothing to give has missed nothing. Judges no record.

kafka-python finds its way back to a broker that was away, but not always: one of its clients may go on without an error
and give nothing any more. Only a question from another client tells that from a quiet topic.
"""

import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from ledgent.producers.kafka.reading import Readers
from ledgent.schemas.errors import LogUnavailable

QUIET_S = 10.0
"""After so long without a record it is asked whether there is one."""
SOON_MS = 2000
"""By when a consumer gives what was there before it was polled."""

Batches = dict[TopicPartition, list[Any]]


class Deaf(LogUnavailable):
    """The consumer does not give what is there: it is to be made anew."""


class Watch:
    """Of one consumer, by the thread that polls it."""

    def __init__(self, readers: Readers, topic: str) -> None:
        self._readers = readers
        self._topic = topic
        self.begin()

    def begin(self) -> None:
        """Another consumer is watched from now on."""
        self._heard_s = time.monotonic()

    def heard(self, consumer: KafkaConsumer, batches: Batches, positions: Callable[[], dict[int, int]]) -> Batches:
        """What a poll gave, or, where it has given nothing for long, what it gives now.

        `positions`: the offset of the next record, of each partition that the consumer is to read. Raises Deaf.
        """
        if batches:
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > QUIET_S:
            try:
                ends = self._readers.ends(self._topic, list(positions()), self._readers.answer_s)
            except LogUnavailable:
                ends = {}  # away: the consumer cannot know more
            if any(end > positions().get(partition, end) for partition, end in ends.items()):
                batches = consumer.poll(SOON_MS)
                if not batches:
                    raise Deaf(f"a consumer of {self._topic} gave nothing for {QUIET_S:g} s, though there is more")
            self._heard_s = time.monotonic()
        return batches
