from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from ledgent.producers.kafka.wire import address_of, client_options, headers_of_stored, partition_of, stored_of
from ledgent.schemas.codec import read_envelope
from ledgent.schemas.errors import UnreadableRecord, UsageError
from ledgent.schemas.settings import KafkaSettings
from tests.schemas.chain import begun


def test_the_url_names_brokers_and_the_beginning_of_the_topics() -> None:
    plain = address_of("kafka://one:19092,two")
    assert plain.servers == ("one:19092", "two:9092")
    assert plain.topics.requests == "ledgent.requests"
    assert plain.topics.run_state == "ledgent.run-state"
    assert plain.url == "kafka://one:19092,two:9092"
    named = address_of("kafka://one/staging")
    assert named.topics.events == "staging.events"
    assert address_of(named.url) == named


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("kafka://", "names no broker"),
        ("kafka:///ledgent", "names no broker"),
        ("kafka://host:port", "names no broker"),
        ("kafka://me:secret@host:9092", "LEDGENT_KAFKA_PASSWORD"),
        ("kafka://host/a/b", "cannot begin a topic's name"),
        ("kafka://host/" + "x" * 201, "cannot begin a topic's name"),
    ],
)
def test_another_url_is_a_clear_error(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        address_of(url)
    assert "secret" not in str(raised.value)


def test_a_cluster_that_asks_who_it_is_gets_user_password_and_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "USERNAME": "me",
        "PASSWORD": "secret",
        "CA_FILE": "/ca.pem",
    }.items():
        monkeypatch.setenv(f"LEDGENT_KAFKA_{name}", value)
    settings = KafkaSettings()
    assert "secret" not in repr(settings)
    assert client_options(address_of("kafka://host"), settings) == {
        "bootstrap_servers": ["host:9092"],
        "client_id": "ledgent",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
        "ssl_cafile": "/ca.pem",
        "ssl_certfile": None,
        "ssl_keyfile": None,
    }


def test_a_run_stays_on_one_partition_and_runs_spread() -> None:
    assert [partition_of(f"run-{n}", 4) for n in range(4)] == [1, 3, 1, 3]  # must never change: logs are written by it
    counts = [0] * 12
    for n in range(6000):
        counts[partition_of(f"0192f0a0-7c1e-7{n:03x}-8000-00000000{n:04x}", 12)] += 1
    assert min(counts) > 300


def test_a_record_is_a_cloud_event_as_others_read_it() -> None:
    chain = begun()
    stored = chain.records[1]
    envelope = read_envelope(stored.body)
    headers = headers_of_stored(stored)
    event: Any = from_binary_event(KafkaMessage(dict(headers), chain.run_id.encode(), stored.body))
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "ledgent.run.started"
    assert event.get_id() == f"{chain.run_id}/1/2/{stored.digest[:16]}"
    assert event.get_subject() == chain.run_id
    assert event.get_time() == envelope.at
    assert event.get_extension("partitionkey") == chain.run_id
    assert int(event.get_extension("sequence")) == 2
    assert event.get_data()["type"] == "run.started"
    assert dict(headers)["traceparent"].decode() == f"00-{envelope.trace_id}-{envelope.span_id}-01"
    assert stored_of(stored.body, headers) == stored


def test_bytes_that_are_no_record_are_carried_for_others_to_judge() -> None:
    assert stored_of(None, []) == (b"", "")
    assert stored_of(b"\xff", [("ce_digest", b"\xffab")]) == (b"\xff", "�ab")
    with pytest.raises(UnreadableRecord):
        headers_of_stored(stored_of(b"\xff", []))


def test_the_time_is_written_as_rfc_3339() -> None:
    assert msgspec.to_builtins(datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)) == "2026-01-02T03:04:05.678900Z"
