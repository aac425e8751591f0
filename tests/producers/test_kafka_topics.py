"""The topics of a log on Kafka: what is made, what is found wrong, and what is said where no broker lets us in."""

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from ledgent.producers.kafka.topics import Flaw, admin_of, check, create
from ledgent.producers.kafka.wire import Address, address_of
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.settings import KafkaSettings
from tests.kafka.broker import PASSWORD, USER, Broker, free_ports

SETTINGS = KafkaSettings(partitions=3)


@pytest.fixture
def address(kafka: str) -> Address:
    return fresh(kafka)


def fresh(server: str) -> Address:
    return address_of(f"kafka://{server}/topics-{uuid4().hex[:8]}")


def serious(flaws: list[Flaw]) -> list[Flaw]:
    return [flaw for flaw in flaws if flaw.serious]


def set_config(admin: KafkaAdminClient, topic: str, **configs: str) -> None:
    named = {name.replace("_", "."): value for name, value in configs.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])


def test_six_topics_are_made_as_the_log_needs_them(address: Address) -> None:
    made = create(address, SETTINGS)
    assert [each.done for each in made] == ["made"] * 6
    with admin_of(address, SETTINGS) as admin:
        described = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(list(address.topics))}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in address.topics]
        configs = admin.describe_configs(resources)["topic"]
    topics = address.topics
    assert [described[name] for name in topics] == [3, 3, 1, 3, 3, 1]
    for name in (topics.events, topics.system, topics.dead_letters):
        assert configs[name]["retention.ms"]["value"] == "-1"
    assert configs[topics.requests]["retention.ms"]["value"] == str(30 * 86_400_000)
    assert configs[topics.run_state]["cleanup.policy"]["value"] == "compact"
    assert configs[topics.events]["max.message.bytes"]["value"] == str(1 << 20)
    assert int(configs[topics.dead_letters]["max.message.bytes"]["value"]) > 1 << 20, "a letter is a record and more"


def test_a_second_time_changes_nothing_and_the_check_only_tells_that_there_is_one_copy(address: Address) -> None:
    create(address, SETTINGS)
    assert [each.done for each in create(address, SETTINGS)] == ["there"] * 6
    (flaw,) = check(address, SETTINGS)
    assert not flaw.serious
    assert "not a power cut" in flaw.what
    assert "LEDGENT_KAFKA_REPLICATION=3" in flaw.mend


def test_missing_topics_are_named(address: Address) -> None:
    assert [flaw.topic for flaw in serious(check(address, SETTINGS))] == list(address.topics)
    create(address, SETTINGS)
    with admin_of(address, SETTINGS) as admin:
        admin.delete_topics([address.topics.requests])
    missing = Flaw(address.topics.requests, True, "is missing", "`ledgent topics create`")
    until(lambda: serious(check(address, SETTINGS)), [missing])
    assert [each.done for each in create(address, SETTINGS)] == ["made"] + ["there"] * 5


def test_unequal_partitions_are_serious_and_other_settings_are_only_told(address: Address) -> None:
    with admin_of(address, SETTINGS) as admin:
        admin.create_topics({address.topics.requests: {"num_partitions": 2, "replication_factor": 1}})
    create(address, SETTINGS)
    (flaw,) = serious(check(address, SETTINGS))
    assert flaw.topic == address.topics.requests
    assert "has 2 partitions" in flaw.what
    assert "has 3" in flaw.what
    assert "LEDGENT_KAFKA_PARTITIONS=3 ledgent topics create" in flaw.mend
    told = [flaw for flaw in check(address, KafkaSettings(partitions=7)) if flaw.topic == address.topics.events]
    assert [(flaw.serious, flaw.mend[:30]) for flaw in told] == [(False, "set LEDGENT_KAFKA_PARTITIONS=3")]


def test_limited_retention_and_a_lost_compaction_are_found_and_mended(address: Address) -> None:
    create(address, SETTINGS)
    with admin_of(address, SETTINGS) as admin:
        set_config(admin, address.topics.events, retention_ms="3600000")
        set_config(admin, address.topics.run_state, cleanup_policy="delete")
    # A broker takes a moment to tell of what was changed.
    until(
        lambda: to_set(address),
        [
            (address.topics.events, "retention.ms is 3600000, it shall be -1: runs will be deleted"),
            (address.topics.run_state, "cleanup.policy is delete, it shall be compact"),
        ],
    )
    done = {each.topic: each.done for each in create(address, SETTINGS)}
    assert [name for name, what in done.items() if what == "changed"] == [
        address.topics.events,
        address.topics.run_state,
    ]
    until(lambda: to_set(address), [])


def to_set(address: Address) -> list[tuple[str, str]]:
    return [(flaw.topic, flaw.what) for flaw in check(address, SETTINGS) if flaw.mend.startswith("`ledgent")]


def until(look: Callable[[], object], expected: object) -> None:
    deadline = time.monotonic() + 30
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def test_more_copies_than_brokers_is_one_line_that_names_the_setting(address: Address) -> None:
    with pytest.raises(LogUnavailable, match="LEDGENT_KAFKA_REPLICATION"):
        create(address, KafkaSettings(replication=2))


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"])
def test_who_has_password_and_certificate_comes_in(secured_kafka: Broker, protocol: str) -> None:
    settings = KafkaSettings(
        partitions=1,
        security_protocol=protocol,
        username=USER,
        password=PASSWORD,
        ca_file=str(secured_kafka.authority),
    )
    assert len(create(fresh(secured_kafka.address(protocol)), settings)) == 6


@pytest.mark.parametrize(
    ("listener", "changes", "told"),
    [
        ("SASL_PLAINTEXT", {"password": "not-it"}, "refused user 'ledgent'.*LEDGENT_KAFKA_PASSWORD"),
        ("SASL_SSL", {"password": "not-it"}, "refused user 'ledgent'.*LEDGENT_KAFKA_PASSWORD"),
        ("SASL_PLAINTEXT", {"sasl_mechanism": "SCRAM-SHA-256"}, "SCRAM-SHA-256.*LEDGENT_KAFKA_SASL_MECHANISM"),
        ("SSL", {"ca_file": ""}, "TLS.*LEDGENT_KAFKA_CA_FILE"),
        ("SSL", {"ca_file": "/no/such/file"}, "certificates.*LEDGENT_KAFKA_CA_FILE"),
        ("PLAINTEXT", {"security_protocol": "SSL"}, "TLS.*LEDGENT_KAFKA_SECURITY_PROTOCOL"),
        ("PLAINTEXT", {"security_protocol": "SASL_PLAINTEXT"}, "LEDGENT_KAFKA_SECURITY_PROTOCOL"),
        ("SSL", {"security_protocol": "PLAINTEXT"}, "LEDGENT_KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_who_is_not_let_in_is_told_why(
    secured_kafka: Broker, listener: str, changes: dict[str, str], told: str
) -> None:
    right = {
        "security_protocol": listener,
        "username": USER,
        "password": PASSWORD,
        "ca_file": str(secured_kafka.authority),
    }
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match=told) as caught:
        check(fresh(secured_kafka.address(listener)), KafkaSettings.model_validate({**right, **changes}))
    assert time.monotonic() - began < 20
    text = str(caught.value)
    assert "\n" not in text
    assert "; " in text, "it says what mends it"
    assert PASSWORD not in text
    assert "not-it" not in text


def test_a_broker_that_is_down_is_known_at_once() -> None:
    began = time.monotonic()
    (port,) = free_ports(1)
    with pytest.raises(LogUnavailable, match=f"no Kafka broker answers .*:{port}: Connection refused.*; start it"):
        check(fresh(f"127.0.0.1:{port}"), SETTINGS)
    assert time.monotonic() - began < 5


def test_one_broker_of_several_is_enough(kafka: str) -> None:
    (port,) = free_ports(1)
    assert check(fresh(f"127.0.0.1:{port},{kafka}"), SETTINGS)
