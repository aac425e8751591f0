"""The commands for a log on Kafka, as a person runs them: topics, dead letters, sinks, and what the doctor finds."""

import asyncio
import json
import re
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from ledgent.processors.clickhouse import schema
from ledgent.processors.store import Store, open_store
from ledgent.producers.identity import new_writer
from ledgent.producers.kafka.dead_letters import DeadLetters
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.topics import admin_of, create
from ledgent.producers.kafka.wire import Address, Headers, address_of, headers_of_stored
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import Stored
from ledgent.schemas.requests import StartRun, encode_request
from ledgent.schemas.settings import KafkaSettings
from tests.dashboard.command import LEDGENT as COMMAND
from tests.dashboard.command import Done, environment, ledgent
from tests.kafka.broker import PASSWORD, USER, Broker, free_ports
from tests.processors.chain import Chain
from tests.processors.served import server_url

pytestmark = pytest.mark.slow

SETTINGS = KafkaSettings(partitions=2)
SAME_PARTITIONS = {"LEDGENT_KAFKA_PARTITIONS": "2"}
PATIENCE_S = 60.0


@pytest.fixture
def address(kafka: str) -> Address:
    address = fresh(kafka)
    create(address, SETTINGS)
    return address


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('cli')}/store") as store:
        yield store


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    """A store that others reach as they reach a ClickHouse server."""
    yield opened
    schema.drop(opened)


def fresh(server: str) -> Address:
    return address_of(f"kafka://{server}/cli-{uuid4().hex[:8]}")


def append(address: Address, records: list[Stored]) -> None:
    log = open_log(address.url)
    try:
        asyncio.run(log.append(records))
    finally:
        log.close()


def put_aside(address: Address, place: tuple[str, int, int], value: bytes, headers: Headers | None = None) -> None:
    writer = SystemWriter(address, SETTINGS, new_writer())
    try:
        DeadLetters(writer).put("it could not be read", place, b"a key", value, headers or [("x", b"\xff")])
    finally:
        writer.close()


def until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def findings(done: Done, subject: str) -> list[dict[str, str]]:
    return [finding for finding in json.loads(done.out) if finding["subject"] == subject]


def doctor(folder: Path, address: Address, *words: str, **changes: str) -> Done:
    return ledgent(folder, "doctor", "-o", "json", "--log", address.url, *words, **{**SAME_PARTITIONS, **changes})


# --- topics ---------------------------------------------------------------------------------------


def test_topics_are_made_and_checked_by_command(tmp_path: Path, kafka: str) -> None:
    address = fresh(kafka)
    wrong = ledgent(tmp_path, "topics", "check", LEDGENT_LOG=address.url)
    assert wrong.code == 1
    assert f"{address.topics.events} is missing" in wrong.out
    made = ledgent(tmp_path, "topics", "create", "-o", "json", LEDGENT_LOG=address.url, LEDGENT_KAFKA_PARTITIONS="5")
    assert {row["topic"]: row["partitions"] for row in json.loads(made.out)}[address.topics.events] == 5
    right = ledgent(tmp_path, "topics", "check", "-o", "json", "--log", address.url, LEDGENT_KAFKA_PARTITIONS="5")
    assert right.code == 0
    assert [row["serious"] for row in json.loads(right.out)] == [False]


@pytest.mark.parametrize("words", [("topics", "create"), ("topics", "check"), ("dlq", "list"), ("dlq", "retry", "x")])
def test_a_log_elsewhere_has_neither_topics_nor_dead_letters(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = ledgent(tmp_path, *words)
    assert done.code == 2
    assert "is not on Kafka" in done.error
    assert list(tmp_path.iterdir()) == []


def test_the_processors_need_a_log_on_kafka(tmp_path: Path) -> None:
    done = ledgent(tmp_path, "processors")
    assert done.code == 2
    assert done.out == ""
    assert "a log on Kafka" in done.error


# --- dead letters ---------------------------------------------------------------------------------


def test_a_dead_letter_is_listed_once_and_shown_byte_for_byte(tmp_path: Path, address: Address) -> None:
    assert ledgent(tmp_path, "dlq", "list", "--log", address.url).out == "There are no dead letters.\n"
    for _ in range(2):
        put_aside(address, (address.topics.events, 1, 17), b"\x00 no record \xff")
    (row,) = json.loads(ledgent(tmp_path, "dlq", "list", "-o", "json", "--log", address.url).out)
    assert (row["letter"], row["reason"]) == ("events:1:17", "it could not be read")
    assert "events:1:17" in ledgent(tmp_path, "dlq", "list", "--log", address.url).out
    shown = ledgent(tmp_path, "dlq", "show", "events:1:17", "--log", address.url)
    assert "partition 1, offset 17" in shown.out
    assert "00 20 6e 6f" in shown.out
    whole = json.loads(ledgent(tmp_path, "dlq", "show", "events:1:17", "-o", "json", "--log", address.url).out)
    assert b64decode(whole["value_base64"]) == b"\x00 no record \xff"
    unknown = ledgent(tmp_path, "dlq", "show", "events:1:18", "--log", address.url)
    assert (unknown.code, "dlq list" in unknown.error) == (2, True)


def test_what_is_still_unreadable_is_not_delivered_again(tmp_path: Path, address: Address) -> None:
    for place, name in (
        ((address.topics.events, 0, 1), "events:0:1"),
        ((address.topics.requests, 0, 1), "requests:0:1"),
    ):
        put_aside(address, place, b"no record")
        done = ledgent(tmp_path, "dlq", "retry", name, "--log", address.url)
        assert done.code == 2
        assert "only be put aside again" in done.error


def test_a_record_that_can_be_read_now_is_appended_if_its_run_still_stands_there(
    tmp_path: Path, address: Address
) -> None:
    chain = Chain(str(uuid4())).start()
    chain.asks("m1")
    *before, last = chain.records
    append(address, before)
    put_aside(address, (address.topics.events, 0, 99), last.body, headers_of_stored(last))
    done = ledgent(tmp_path, "dlq", "retry", "events:0:99", "--log", address.url)
    assert (done.code, chain.run_id in done.out) == (0, True), done.err
    log = open_log(address.url)
    assert list(log.records(chain.run_id)) == chain.records
    log.close()
    again = ledgent(tmp_path, "dlq", "retry", "events:0:99", "--log", address.url)
    assert again.code == 2
    assert "stands at record 3" in again.error


def test_a_request_that_can_be_read_now_is_submitted(tmp_path: Path, address: Address) -> None:
    request = StartRun(request_id=str(uuid4()), run_id=str(uuid4()), agent="shop", input="go")
    put_aside(address, (address.topics.requests, 0, 5), encode_request(request))
    assert ledgent(tmp_path, "dlq", "retry", "requests:0:5", "--log", address.url).code == 0
    log = open_log(address.url)
    assert list(log.run_ids()) == [request.run_id]
    log.close()


# --- sinks ----------------------------------------------------------------------------------------


def test_the_sink_follows_until_a_signal_and_nobody_rebuilds_meanwhile(
    tmp_path: Path, address: Address, store: Store
) -> None:
    first, second = Chain(str(uuid4())).start(), Chain(str(uuid4())).start()
    append(address, first.records)
    words = [COMMAND, "sink", "--log", address.url, "--store", server_url(store)]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"Following {address.url} into clickhouse://127.0.0.1:")
        assert quote(str(store.owner.password if store.owner else ""), safe="") not in line
        until(lambda: rows(store) == 2, "the rows do not come")
        append(address, second.records)
        until(lambda: rows(store) == 4, "the rows do not come")
        refused = ledgent(tmp_path, "store", "rebuild", "--log", address.url, "--store", server_url(store))
        assert refused.code == 3
        assert "stop each `ledgent sink`" in refused.error
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()
    rebuilt = ledgent(tmp_path, "store", "rebuild", "--log", address.url, "--store", server_url(store))
    assert (rebuilt.code, rebuilt.err) == (0, "")
    assert rows(store) == 4


def rows(store: Store) -> int:
    if not schema.are_made(store):
        return 0
    return int(store.query("SELECT count() AS rows FROM events FINAL")[0]["rows"])


# --- the doctor -----------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong_where_all_is_well(tmp_path: Path, address: Address) -> None:
    done = doctor(tmp_path, address)
    assert done.code == 0
    assert [(f["verdict"], "not a power cut" in f["what"]) for f in findings(done, "topics")] == [("warn", True)]
    assert [f["verdict"] for f in findings(done, "log")] == ["ok"]


def test_the_doctor_names_a_stopped_broker(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = doctor(tmp_path, fresh(f"127.0.0.1:{port}"))
    (found,) = findings(done, "log")
    assert (done.code, found["verdict"]) == (3, "fail")
    assert "no Kafka broker answers" in found["what"]
    assert "start it" in found["mend"]
    assert done.err == ""


def test_the_doctor_names_missing_topics(tmp_path: Path, kafka: str) -> None:
    address = fresh(kafka)
    done = doctor(tmp_path, address)
    (found,) = findings(done, "topics")
    assert (done.code, found["verdict"], found["mend"]) == (1, "fail", "`ledgent topics create`")
    assert all(topic in found["what"] for topic in address.topics)


def test_the_doctor_names_a_wrong_partition_count_and_limited_retention(tmp_path: Path, kafka: str) -> None:
    address = fresh(kafka)
    with admin_of(address, SETTINGS) as admin:
        admin.create_topics(
            {
                address.topics.requests: {"num_partitions": 3, "replication_factor": 1},
                address.topics.events: {
                    "num_partitions": 2,
                    "replication_factor": 1,
                    "configs": {"retention.ms": "1000"},
                },
            }
        )
    with admin_of(address, SETTINGS) as admin:
        missing = [name for name in address.topics if name not in (address.topics.requests, address.topics.events)]
        admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1} for name in missing})
    done = doctor(tmp_path, address)
    found = {finding["what"]: finding for finding in findings(done, "topics")}
    (count,) = [what for what in found if "partitions" in what]
    assert count.startswith(f"{address.topics.requests} has 3 partitions")
    assert found[count]["verdict"] == "fail"
    assert "LEDGENT_KAFKA_PARTITIONS=2 ledgent topics create" in found[count]["mend"]
    (retention,) = [what for what in found if "runs will be deleted" in what]
    assert (found[retention]["verdict"], found[retention]["mend"]) == ("warn", "`ledgent topics create` sets it")
    assert done.code == 1


def test_the_doctor_names_a_refused_password(tmp_path: Path, secured_kafka: Broker) -> None:
    done = doctor(
        tmp_path,
        fresh(secured_kafka.address("SASL_PLAINTEXT")),
        LEDGENT_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        LEDGENT_KAFKA_USERNAME=USER,
        LEDGENT_KAFKA_PASSWORD=f"{PASSWORD}-not",
    )
    (found,) = findings(done, "log")
    assert (done.code, found["verdict"]) == (3, "fail")
    assert f"refused user '{USER}'" in found["what"]
    assert "LEDGENT_KAFKA_PASSWORD" in found["mend"]
    assert PASSWORD not in done.out + done.err


def test_the_doctor_names_what_is_wrong_with_a_clickhouse_server(
    tmp_path: Path, address: Address, store: Store
) -> None:
    append(address, Chain(str(uuid4())).start().records)
    empty = doctor(tmp_path, address, "--store", server_url(store))
    (tables,) = [f for f in findings(empty, "store") if "no tables" in f["what"]]
    assert (tables["verdict"], tables["mend"]) == ("warn", "`ledgent sink` makes them")
    (behind,) = [f for f in findings(empty, "store") if "behind" in f["what"]]
    assert (behind["what"], behind["mend"]) == ("2 records behind the log", "`ledgent sink` catches up")

    refused = doctor(tmp_path, address, "--store", server_url(store, password="not-it"))
    (password,) = findings(refused, "store")
    assert (refused.code, password["verdict"]) == (3, "fail")
    assert "refuses this user and password" in password["what"]
    assert "LEDGENT_STORE" in password["mend"]
    assert "not-it" not in refused.out

    (port,) = free_ports(1)
    down = doctor(tmp_path, address, "--store", f"clickhouse://127.0.0.1:{port}")
    (silent,) = findings(down, "store")
    assert (down.code, silent["verdict"]) == (3, "fail")
    assert re.search("does not answer", silent["what"])
    assert "start the server" in silent["mend"]
