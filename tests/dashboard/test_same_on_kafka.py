"""The demo on the embedded log and on Kafka: the same runs, event for event."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from ledgent.agent.verify import verify
from ledgent.dashboard.demo.runs import RUNS, play
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import decode
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import KafkaSettings

VARYING = frozenset({"request_id", "duration_ms", "first_token_ms", "delay_s", "idempotency_key", "request_digest"})
"""Ids, durations and jitter; the digest of a request is compared with what this log's own events say, by verify."""


def played(url: str) -> list[dict[str, list[Any]]]:
    """The demo's runs, as `told` tells them, each verified from a log opened anew."""
    log = open_log(url)
    try:
        results = asyncio.run(play(log, lambda shown, record: None))
    finally:
        log.close()
    log = open_log(url)
    try:
        assert all(verify(log, result.run_id).ok for result in results)
        return [told(log, result.run_id) for result in results]
    finally:
        log.close()


def told(log: Log, run_id: str) -> dict[str, list[Any]]:
    """A run's events in their order for each call, and for the run itself: parallel calls end as they will."""
    by_call: defaultdict[str, list[Any]] = defaultdict(list)
    for stored in log.records(run_id):
        record = decode(stored)
        event = orjson.loads(record.event.model_dump_json())
        by_call[event.get("call_id", "")].append(
            (record.event.type, {name: value for name, value in event.items() if name not in VARYING})
        )
    return dict(by_call)


@pytest.mark.slow
def test_the_demo_is_the_same_on_kafka_event_for_event(tmp_path: Path, kafka: str) -> None:
    url = f"kafka://{kafka}/same-{uuid4().hex[:8]}"
    create(address_of(url), KafkaSettings(partitions=4))
    embedded, on_kafka = played(f"sqlite:///{tmp_path}/log.db"), played(url)
    for shown, here, there in zip(RUNS, embedded, on_kafka, strict=True):
        assert here == there, shown.what
