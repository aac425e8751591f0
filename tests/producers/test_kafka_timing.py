"""The log on Kafka when things come at an unlucky moment: a cancellation in mid-append, polls too short for a join."""

import asyncio
import time
import uuid

import pytest

from ledgent.producers.kafka import member, sending
from ledgent.producers.kafka.group_feed import GroupFeed, Reassigned
from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import Address, address_of
from ledgent.schemas.settings import KafkaSettings
from tests.producers.taking import CLERK
from tests.schemas.chain import begun

SETTINGS = KafkaSettings(partitions=4, replication=1)
SOON_S = 25.0


@pytest.fixture
def address(kafka: str) -> Address:
    address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    create(address, SETTINGS)
    return address


async def test_what_follows_an_append_that_was_cancelled_while_it_was_sent_is_accepted(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sending.PRODUCER, "linger_ms", 500)
    log, chain = KafkaLog(address, SETTINGS), begun()
    await log.append(chain.records)
    cancelled = asyncio.create_task(log.append([chain.ask()]))
    await asyncio.sleep(0.1)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    await log.append([chain.suspend()])
    assert list(log.records(chain.run_id)) == chain.records
    log.close()


@pytest.mark.parametrize("poll_ms", [1, 3, 5, 10])
async def test_a_worker_joins_whose_polls_are_too_short_for_it(
    address: Address, poll_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "POLL_MS", poll_ms)
    for _ in range(2):
        log = KafkaLog(address, SETTINGS)
        async with asyncio.timeout(SOON_S):
            assert await log.take(CLERK, 1, 0.0) == []  # raises where the group does not let it in
            await asyncio.sleep(1.0)
            assert await log.take(CLERK, 1, 0.0) == []
        log.close()


@pytest.mark.parametrize("poll_s", [0.001, 0.003, 0.005, 0.01])
async def test_a_sink_joins_whose_polls_are_too_short_for_it(address: Address, poll_s: float) -> None:
    for _ in range(2):
        feed = GroupFeed(address, SETTINGS, "sinks")
        joined = calm = time.monotonic()
        while calm - joined < 0.5 or len(feed.partitions) < SETTINGS.partitions:
            try:
                feed.read({}, 1, poll_s)
            except Reassigned:
                joined = time.monotonic()
            calm = time.monotonic()
            assert calm - joined < SOON_S, "it has not been given its partitions"
        assert str(feed._consumer.group_metadata().state) == "<stable>"
        feed.close()
