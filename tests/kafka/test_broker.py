"""The broker that other tests rely on does what they rely on. Nothing of ledgent is tested here."""

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from tests.conftest import CHECKOUT, require
from tests.kafka.broker import PASSWORD, USER, Broker, free_ports

PATIENCE_S = 60.0


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def send_and_read(address: str, **security: Any) -> list[bytes]:
    """What a new topic of one partition holds after two records were acknowledged."""
    topic = f"t-{uuid4().hex}"
    with KafkaAdminClient(bootstrap_servers=address, **security) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    send(address, topic, b"one", b"two", **security)
    return read(address, topic, 2, **security)


def send(address: str, topic: str, *values: bytes, **security: Any) -> None:
    with KafkaProducer(bootstrap_servers=address, acks="all", **security) as producer:
        for sent in [producer.send(topic, value) for value in values]:
            sent.get(timeout=PATIENCE_S)


def read(address: str, topic: str, count: int, **security: Any) -> list[bytes]:
    values: list[bytes] = []
    with KafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest", **security) as consumer:
        deadline = time.monotonic() + PATIENCE_S
        while len(values) < count:
            assert time.monotonic() < deadline, f"only {len(values)} records came"
            for records in consumer.poll(timeout_ms=500).values():
                values += [record.value for record in records]
    return values


def test_the_shared_broker_keeps_what_is_sent(kafka: str) -> None:
    assert send_and_read(kafka) == [b"one", b"two"]


def test_a_topic_is_there_only_when_somebody_has_created_it(kafka: str) -> None:
    with KafkaProducer(bootstrap_servers=kafka, max_block_ms=1_000) as producer, pytest.raises(KafkaError):
        producer.send(f"t-{uuid4().hex}", b"lost").get(timeout=PATIENCE_S)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_is_started_again_has_its_address_and_its_records(own_kafka: Broker, how: str) -> None:
    address = own_kafka.address()
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.create_topics({"t": {"num_partitions": 1, "replication_factor": 1}})
    send(address, "t", b"one")
    getattr(own_kafka, how)()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address.split(":"))
    own_kafka.start()
    send(own_kafka.address(), "t", b"two")
    assert own_kafka.address() == address
    assert read(address, "t", 2) == [b"one", b"two"]


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SSL", "SASL_SSL"])
def test_a_secured_listener_lets_in_who_may(secured_kafka: Broker, protocol: str) -> None:
    assert send_and_read(secured_kafka.address(protocol), **security(secured_kafka, protocol)) == [b"one", b"two"]


def security(broker: Broker, protocol: str, password: str = PASSWORD) -> dict[str, Any]:
    settings: dict[str, Any] = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        settings |= {"sasl_mechanism": "PLAIN", "sasl_plain_username": USER, "sasl_plain_password": password}
    if protocol.endswith("SSL"):
        settings |= {"ssl_cafile": str(broker.authority)}
    return settings


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_secured_listener_refuses_a_wrong_password(secured_kafka: Broker, protocol: str) -> None:
    wrong = security(secured_kafka, protocol, "a-wrong-password") | {"bootstrap_timeout_ms": 3_000}
    with pytest.raises(KafkaTimeoutError):  # the client tells the reason only to its log
        send_and_read(secured_kafka.address(protocol), **wrong)


def test_the_certificate_is_one_that_nobody_else_vouches_for(secured_kafka: Broker) -> None:
    host, port = secured_kafka.address("SSL").split(":")
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=host)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_broker_ends_with_the_process_that_started_it(tmp_path: Path, how: signal.Signals) -> None:
    require("kafka")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.kafka.broker", str(tmp_path), str(port)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as starter:
        try:
            assert starter.stdout is not None
            assert f"127.0.0.1:{port}" in starter.stdout.readline()
            assert java_processes_with(str(tmp_path)) != []
            starter.send_signal(how)
            starter.wait(PATIENCE_S)
        finally:
            starter.kill()
    wait_until(lambda: java_processes_with(str(tmp_path)) == [])


def java_processes_with(text: str) -> list[str]:
    """The processes of brokers, and their watches, that have it in their command line."""
    processes = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in processes.splitlines() if "kafka.Kafka" in line and text in line]
