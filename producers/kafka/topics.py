"""The topics of a log on Kafka: made, and looked at. Reads and writes no record."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from ledgent.producers.kafka.errors import check_reachable, translated
from ledgent.producers.kafka.wire import Address, client_options
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.topics import Topics

TIMEOUT_S = 10
LARGEST_BYTES = 1 << 20
"""Of one record with its headers; the log's own limit is below it."""
_ROOM_FOR_REASONS = 64 << 10
"""What a dead letter has on top of the record that it keeps."""
_DAY_MS = 86_400_000
FOR_EVER = "-1"
_MISSING = "is missing"
SAFE_COPIES = 3
"""Of each partition: one broker may be lost, and the others go on and still have two copies."""


class Wanted(NamedTuple):
    """What a topic shall be."""

    partitions: int
    configs: Mapping[str, str]


class Topic(NamedTuple):
    """A topic that is there."""

    name: str
    partitions: int
    copies: int
    """Of the partition that has the fewest."""
    configs: Mapping[str, str]


class Made(NamedTuple):
    """What `create` did about a topic."""

    topic: str
    partitions: int
    replication: int
    done: str
    """made, changed or there."""


class Flaw(NamedTuple):
    """What is wrong with the topics."""

    topic: str
    serious: bool
    """Whether the log cannot be used so."""
    what: str
    mend: str

    @property
    def missing(self) -> bool:
        return self.what == _MISSING


def wanted(topics: Topics, settings: KafkaSettings) -> dict[str, Wanted]:
    """Every topic, as it shall be made."""
    many = settings.partitions
    return {
        topics.requests: Wanted(many, _configs(retention_ms=str(30 * _DAY_MS))),
        topics.events: Wanted(many, _configs()),
        topics.system: Wanted(1, _configs()),
        topics.metrics: Wanted(many, _configs(cleanup="compact,delete", retention_ms=str(_DAY_MS))),
        topics.run_state: Wanted(many, _configs(cleanup="compact")),
        topics.dead_letters: Wanted(1, _configs(largest=LARGEST_BYTES + _ROOM_FOR_REASONS)),
    }


def create(address: Address, settings: KafkaSettings) -> list[Made]:
    """Makes the topics that are missing and gives the others the retention they shall have; partitions stay.

    Raises LogUnavailable.
    """
    with admin_of(address, settings) as admin:
        brokers = len(admin.describe_cluster()["brokers"])
        copies = settings.replication or min(SAFE_COPIES, brokers)
        shall = wanted(address.topics, settings)
        there = _there(admin, address)
        made = [
            _made(admin, name, want, copies) if name not in there else _changed(admin, there[name], want)
            for name, want in shall.items()
        ]
        admin.wait_for_topics(list(shall), timeout_ms=TIMEOUT_S * 1000)
        return made


def check(address: Address, settings: KafkaSettings) -> list[Flaw]:
    """What is wrong with the topics; nothing where all is well. Raises LogUnavailable."""
    with admin_of(address, settings) as admin:
        there = _there(admin, address)
    shall = wanted(address.topics, settings)
    missing = [name for name in shall if name not in there]
    flaws = [Flaw(name, True, _MISSING, "`ledgent topics create`") for name in missing]
    flaws += _partition_flaws(address.topics, there, settings)
    for name, topic in there.items():
        flaws += _config_flaws(topic, shall[name].configs, keeps=name == address.topics.events)
    flaws += _copy_flaws(list(there.values()))
    return flaws


@contextlib.contextmanager
def admin_of(address: Address, settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """A client that manages topics and groups, closed at the end. Raises LogUnavailable, also for what fails within."""
    # One that answers: a client that tries one that is down leaves its socket open.
    address = address._replace(servers=(check_reachable(address, settings),))
    admin = None
    try:
        admin = KafkaAdminClient(
            **client_options(address, settings),
            bootstrap_timeout_ms=TIMEOUT_S * 1000,
            request_timeout_ms=TIMEOUT_S * 1000,
        )
        yield admin
    except KafkaError as error:
        raise translated(error, address, settings) from error
    finally:
        if admin is not None:
            admin.close()


def _configs(*, retention_ms: str = FOR_EVER, cleanup: str = "delete", largest: int = LARGEST_BYTES) -> dict[str, str]:
    return {
        "cleanup.policy": cleanup,
        "retention.ms": retention_ms,
        "retention.bytes": FOR_EVER,
        "max.message.bytes": str(largest),
        "unclean.leader.election.enable": "false",
    }


def _there(admin: KafkaAdminClient, address: Address) -> dict[str, Topic]:
    described = {topic["name"]: topic for topic in admin.describe_topics(list(address.topics))}
    found = [described[name] for name in address.topics if described[name]["error_code"] == 0]
    names = [topic["name"] for topic in found]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = admin.describe_configs(resources, config_filter="all")["topic"] if resources else {}
    return {
        topic["name"]: Topic(
            topic["name"],
            len(topic["partitions"]),
            min(len(partition["replica_nodes"]) for partition in topic["partitions"]),
            {key: str(config["value"]) for key, config in configs[topic["name"]].items()},
        )
        for topic in found
    }


def _made(admin: KafkaAdminClient, name: str, want: Wanted, copies: int) -> Made:
    in_sync = {"min.insync.replicas": "2"} if copies >= SAFE_COPIES else {}
    new = {"num_partitions": want.partitions, "replication_factor": copies, "configs": {**want.configs, **in_sync}}
    (answer,) = admin.create_topics({name: new}, raise_errors=False)["topics"]
    failed = for_code(answer["error_code"])
    if failed is TopicAlreadyExistsError:
        return Made(name, want.partitions, copies, "there")  # another `create` was faster
    if failed is not NoError:
        raise LogUnavailable(
            f"the broker made no topic {name} ({answer['error_message'] or failed.message}); "
            "look at LEDGENT_KAFKA_PARTITIONS and LEDGENT_KAFKA_REPLICATION, then `ledgent topics create`"
        )
    return Made(name, want.partitions, copies, "made")


def _changed(admin: KafkaAdminClient, topic: Topic, want: Wanted) -> Made:
    other = {key: value for key, value in want.configs.items() if topic.configs.get(key) != value}
    if other:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, dict[str, Any](other))])
    return Made(topic.name, topic.partitions, topic.copies, "changed" if other else "there")


def _partition_flaws(topics: Topics, there: Mapping[str, Topic], settings: KafkaSettings) -> Iterator[Flaw]:
    """What belongs to one run is in partitions with the same number, whatever the topic."""
    alike = (topics.events, topics.requests, topics.run_state, topics.metrics)
    counts = {name: there[name].partitions for name in alike if name in there}
    right = counts.get(topics.events, settings.partitions)
    for name, count in counts.items():
        if count != right:
            mend = (
                f"stop all that use the log, delete {name} with Kafka's own tools, then "
                f"`LEDGENT_KAFKA_PARTITIONS={right} ledgent topics create`"
            )
            yield Flaw(name, True, f"has {count} partitions, {topics.events} has {right}: they must be equal", mend)
    if topics.events in counts and right != settings.partitions:
        what = f"has {right} partitions, the settings say {settings.partitions}"
        yield Flaw(topics.events, False, what, f"set LEDGENT_KAFKA_PARTITIONS={right}: a log keeps its partitions")


def _config_flaws(topic: Topic, want: Mapping[str, str], *, keeps: bool) -> Iterator[Flaw]:
    for key, value in want.items():
        found = topic.configs.get(key)
        if found == value:
            continue
        what = f"{key} is {found}, it shall be {value}"
        if keeps and key in ("retention.ms", "retention.bytes", "cleanup.policy"):
            what += ": runs will be deleted"
        yield Flaw(topic.name, False, what, "`ledgent topics create` sets it")


def _copy_flaws(there: list[Topic]) -> Iterator[Flaw]:
    few = [topic for topic in there if topic.copies < SAFE_COPIES]
    if few:
        names = "all topics" if few == there else ", ".join(topic.name for topic in few)
        copies = min(topic.copies for topic in few)
        what = (
            f"have {copies} {'copies' if copies > 1 else 'copy'} of each record: what was acknowledged survives a "
            "broker that is killed, but not a power cut or a lost disk"
        )
        yield Flaw(names, False, what, "in production: three brokers, and LEDGENT_KAFKA_REPLICATION=3 for new topics")
    for topic in there:
        if topic.copies >= SAFE_COPIES and topic.configs.get("min.insync.replicas") != "2":
            what = f"min.insync.replicas is {topic.configs.get('min.insync.replicas')}, it shall be 2"
            mend = f"`kafka-configs.sh --alter --topic {topic.name} --add-config min.insync.replicas=2`"
            yield Flaw(topic.name, False, what, mend)
