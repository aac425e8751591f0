"""Clients of kafka-python that have lost their way: they raise nothing and give nothing, and are made anew."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from ledgent.producers.kafka import hearing, index, sending, watching
from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of
from ledgent.schemas.requests import CancelRun
from ledgent.schemas.settings import KafkaSettings
from tests.contracts.log_contract import start_of
from tests.schemas.chain import Chain, begun

SETTINGS = KafkaSettings(partitions=1, replication=1)
SOON_S = 60.0


@pytest.fixture
def log(kafka: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaLog]:
    monkeypatch.setattr(watching, "QUIET_S", 0.5)
    monkeypatch.setattr(sending, "SILENT_S", 1.0)
    address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
    create(address, SETTINGS)
    log = KafkaLog(address, SETTINGS)
    yield log
    log.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[KafkaConsumer]:
    """The consumers that are polled in the background, oldest first."""
    consumers: list[KafkaConsumer] = []

    def kept(make: Callable[..., KafkaConsumer]) -> Callable[..., KafkaConsumer]:
        def keep(*about: Any, **options: Any) -> KafkaConsumer:
            consumers.append(make(*about, **options))
            return consumers[-1]

        return keep

    for module in (index, hearing):
        monkeypatch.setattr(module, "consumer_of", kept(module.consumer_of))  # type: ignore[attr-defined]
    return consumers


def deafen(consumer: KafkaConsumer) -> None:
    """From when this returns on."""

    def poll(timeout_ms: int, **_: Any) -> dict[Any, Any]:
        time.sleep(timeout_ms / 1000)
        return {}

    consumer.poll = poll
    time.sleep(0.5)  # until the poll under way has ended


async def test_an_append_is_read_back_by_another_consumer(log: KafkaLog, made: list[KafkaConsumer]) -> None:
    chain = begun()
    await log.append(chain.records)
    deafen(made[0])
    async with asyncio.timeout(SOON_S):
        await log.append([chain.ask()])
    assert len(made) == 2
    assert list(log.records(chain.run_id)) == chain.records


async def test_a_consumer_of_a_quiet_topic_is_left_alone(log: KafkaLog, made: list[KafkaConsumer]) -> None:
    chain = begun()
    await log.append(chain.records)
    await asyncio.sleep(4 * watching.QUIET_S)
    await log.append([chain.ask()])
    assert len(made) == 1


async def test_what_a_run_without_a_request_is_told_is_heard_by_another_consumer(
    log: KafkaLog, made: list[KafkaConsumer]
) -> None:
    chain = begun("called", writer=log.writer)
    await log.append(chain.records, accept=start_of(chain))
    for consumer in made:
        deafen(consumer)
    cancel = CancelRun(request_id="stop", run_id="called", reason="enough")
    await log.submit(cancel)
    async with asyncio.timeout(SOON_S):
        while cancel not in await log.take(None, 10, 1.0):
            pass


@pytest.mark.parametrize("how", ["append", "submit"])
async def test_what_a_silent_producer_was_given_is_sent_by_another(log: KafkaLog, how: str) -> None:
    await log.submit(start_of(Chain("earlier")))
    silent = log._sender._producer
    assert silent is not None
    silent.send = lambda *_, **__: Future()
    chain = begun()
    async with asyncio.timeout(SOON_S):
        if how == "append":
            await log.append(chain.records)
            assert list(log.records(chain.run_id)) == chain.records
        else:
            await log.submit(start_of(chain))
    assert log._sender._producer is not silent


def test_a_question_that_is_not_answered_is_put_by_another_client(log: KafkaLog) -> None:
    def end_offsets(*_: Any, **__: Any) -> dict[Any, int]:
        raise KafkaTimeoutError("no answer")

    asking = log._readers._asking
    assert asking is not None
    asking.end_offsets = end_offsets
    assert log.ends() == {0: -1}
    assert log._readers._asking is not asking
