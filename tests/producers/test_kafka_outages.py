"""The log on Kafka while brokers go and come back, refuse, or are none."""

import asyncio
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.sending import DELIVERY_S
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import Address, address_of
from ledgent.producers.opening import open_log
from ledgent.schemas.errors import LogUnavailable, UsageError
from ledgent.schemas.settings import KafkaSettings
from tests.contracts.log_contract import everything, start_of
from tests.kafka.broker import PASSWORD, USER, Broker, free_ports
from tests.schemas.chain import Chain, begun

SETTINGS = KafkaSettings(partitions=3, replication=1)
A_FEW_SECONDS_S = 15.0


@contextmanager
def topics_on(server: str, settings: KafkaSettings = SETTINGS) -> Iterator[Address]:
    address = address_of(f"kafka://{server}/test-{uuid.uuid4()}")
    create(address, settings)
    yield address


@contextmanager
def opened(address: Address, **more: float) -> Iterator[KafkaLog]:
    log = KafkaLog(address, SETTINGS, **more)  # type: ignore[arg-type]
    try:
        yield log
    finally:
        log.close()


@pytest.mark.parametrize(("how", "away_s"), [("stop", 3.0), ("kill", 1.5 * DELIVERY_S)])
async def test_a_broker_that_goes_and_comes_back_in_mid_append_loses_nothing_and_doubles_nothing(
    own_kafka: Broker, how: str, away_s: float
) -> None:
    with topics_on(own_kafka.address()) as address, opened(address) as log, opened(address) as other:
        chains = [begun(f"run-{number}", writer=log.writer) for number in range(8)]
        stopping, told = asyncio.Event(), asyncio.Event()
        appended = Counter[str]()

        async def write(chain: Chain) -> None:
            await log.append(chain.records)
            while not stopping.is_set():
                await log.append([chain.ask(), chain.ask(2)])
                appended[chain.run_id] += 1
                told.set()

        async def until_all_have_appended() -> None:
            appended.clear()
            while len(appended) < len(chains) or min(appended.values()) < 3:
                told.clear()
                await told.wait()

        async with asyncio.timeout(200), asyncio.TaskGroup() as group:
            for chain in chains:
                group.create_task(write(chain))
            for _ in range(2):
                await until_all_have_appended()
                await asyncio.to_thread(getattr(own_kafka, how))
                await asyncio.sleep(away_s)
                await asyncio.to_thread(own_kafka.start)
            await until_all_have_appended()
            stopping.set()
        for chain in chains:
            for each in (log, other):
                assert await asyncio.to_thread(lambda log=each, id=chain.run_id: list(log.records(id))) == chain.records
        # What was sent twice may stand there twice; whoever reads the log skips it, as above.
        assert set(everything(log)) == {stored for chain in chains for stored in chain.records}


async def test_what_is_asked_of_a_log_while_its_broker_is_away_is_answered_when_it_is_back(own_kafka: Broker) -> None:
    with topics_on(own_kafka.address()) as address, opened(address) as log, opened(address) as fresh:
        chain, new = begun("old"), begun("new")
        await log.append(chain.records)
        own_kafka.stop()
        asked = [
            asyncio.create_task(log.append([chain.ask()])),
            asyncio.create_task(fresh.append(new.records, accept=start_of(new))),
            asyncio.create_task(fresh.submit(start_of(Chain("requested")))),
            asyncio.create_task(asyncio.to_thread(log.head, "old")),
        ]
        done, _ = await asyncio.wait(asked, timeout=3)
        assert not done
        await asyncio.to_thread(own_kafka.start)
        async with asyncio.timeout(60):
            await asyncio.gather(*asked)
            for each in (log, fresh):
                assert await asyncio.to_thread(lambda each=each: list(each.run_ids())) == ["new", "old", "requested"]
            assert await asyncio.to_thread(lambda: list(log.records("old"))) == chain.records


async def test_a_broker_that_stays_away_is_waited_for_no_longer_than_patience_lasts(own_kafka: Broker) -> None:
    with topics_on(own_kafka.address()) as address, opened(address, patience_s=2.0, answer_s=1.0) as log:
        chain = begun()
        await log.append(chain.records)
        own_kafka.stop()
        began = time.monotonic()
        with pytest.raises(LogUnavailable, match=own_kafka.address()):
            await log.append([chain.ask()])
        with pytest.raises(LogUnavailable, match=own_kafka.address()):
            log.ends()
        with pytest.raises(LogUnavailable, match=own_kafka.address()):
            log.read({}, 10, 0.1)
        with pytest.raises(LogUnavailable, match=own_kafka.address()):
            log.head(chain.run_id)
        assert time.monotonic() - began < A_FEW_SECONDS_S


async def test_closing_ends_an_append_that_waits_for_its_broker(own_kafka: Broker) -> None:
    with topics_on(own_kafka.address()) as address, opened(address) as log:
        chain = begun()
        await log.append(chain.records)
        own_kafka.stop()
        waiting = asyncio.create_task(log.append([chain.ask()]))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.to_thread(log.close)
        with pytest.raises(LogUnavailable, match="closed"):
            await waiting
        assert time.monotonic() - began < A_FEW_SECONDS_S


# refusals -----------------------------------------------------------------------------------------------------------


def secured(broker: Broker, protocol: str, **more: object) -> tuple[Address, KafkaSettings]:
    settings = KafkaSettings(
        partitions=1, replication=1, security_protocol=protocol, username=USER, password=SecretStr(PASSWORD), **more
    )
    return address_of(f"kafka://{broker.address(protocol)}/test-{uuid.uuid4()}"), settings


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SSL", "SASL_SSL"])
async def test_a_log_is_kept_on_a_secured_broker(secured_kafka: Broker, protocol: str) -> None:
    address, settings = secured(secured_kafka, protocol, ca_file=str(secured_kafka.authority))
    create(address, settings)
    log, chain = KafkaLog(address, settings), begun()
    try:
        await log.append(chain.records)
        await log.submit(start_of(Chain("another")))
        assert list(log.records(chain.run_id)) == chain.records == everything(log)
    finally:
        log.close()


def refusal(address: Address, settings: KafkaSettings) -> str:
    """How opening is refused: soon, in one line, without the password."""
    began = time.monotonic()
    with pytest.raises(LogUnavailable) as refused:
        KafkaLog(address, settings)
    assert time.monotonic() - began < A_FEW_SECONDS_S
    text = str(refused.value)
    assert "\n" not in text
    if password := settings.password.get_secret_value():
        assert password not in text
    return text


def test_a_refused_password_is_named(secured_kafka: Broker) -> None:
    address, settings = secured(secured_kafka, "SASL_PLAINTEXT")
    wrong = settings.model_copy(update={"password": SecretStr("a wrong one")})
    assert "LEDGENT_KAFKA_PASSWORD" in refusal(address, wrong)


def test_a_certificate_that_nobody_vouches_for_is_named(secured_kafka: Broker) -> None:
    assert "LEDGENT_KAFKA_CA_FILE" in refusal(*secured(secured_kafka, "SASL_SSL"))


def test_another_protocol_than_the_brokers_is_named(secured_kafka: Broker) -> None:
    address, settings = secured(secured_kafka, "SSL")
    plain = settings.model_copy(update={"security_protocol": "PLAINTEXT"})
    assert "LEDGENT_KAFKA_SECURITY_PROTOCOL" in refusal(address, plain)


def test_a_broker_that_is_not_there_is_named() -> None:
    (port,) = free_ports(1)
    assert f"127.0.0.1:{port}" in refusal(address_of(f"kafka://127.0.0.1:{port}"), SETTINGS)


@pytest.mark.slow
def test_a_listener_that_says_nothing_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        assert server in refusal(address_of(f"kafka://{server}"), SETTINGS)


def test_a_url_opens_the_log_on_kafka(kafka: str) -> None:
    with topics_on(kafka) as address:
        log = open_log(address.url)
        assert log.url == address.url
        assert log.ends() == {0: -1, 1: -1, 2: -1}
        log.close()
    with pytest.raises(UsageError, match="names no broker"):
        open_log("kafka://")
