"""The processors as a process of their own, on a real broker."""

import signal
import time
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

from ledgent.processors.metrics import decode_window
from ledgent.processors.run_states import decode_entry
from ledgent.producers.kafka.wire import address_of, partition_of
from ledgent.schemas.codec import GENESIS, Stored, digest_of
from ledgent.schemas.events import RunCompleted
from ledgent.schemas.snapshots import Marker, Snapshot, decode_snapshot, encode_snapshot, marker_key
from ledgent.schemas.system_events import AlertRaised, AlertResolved, RecordDeadLettered
from tests.kafka.broker import PASSWORD, USER, Broker, free_ports
from tests.processors.chain import Chain, mixed, runs
from tests.processors.faust_process import PARTITIONS, PATIENCE_S, RUN, Cluster, caught_up, wait_for, working
from tests.processors.tables import entries_of, windows_of

pytestmark = pytest.mark.slow

SLOW_SEEK = f"""
import asyncio
from faust.transport.consumer import Consumer
seek = Consumer.perform_seek
async def slow(self):
    await seek(self)
    for _ in range(500):
        if any(queue.qsize() > 100 for queue in self.app.flow_control._queues):
            break
        await asyncio.sleep(0.01)
Consumer.perform_seek = slow
{RUN}
"""
"""A worker whose broker takes its time with the committed offsets: until records wait in the agent's queue."""


def test_killed_again_and_again_its_tables_are_those_of_a_recomputation(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    log = mixed(runs(120), 1, duplicates=0.1, zombies=True)
    garbage = Stored(b"\xff not a record", "")
    log[100:100] = log[700:700] = [garbage]
    parts = 4
    size = len(log) // parts + 1
    topics = cluster.address.topics
    for number in range(parts):
        awaited = b"partition:" if number % 2 else b""  # the end of a partition's batch, or its beginning
        before = sum(message.key.startswith(awaited) for message in cluster.messages(topics.run_state))
        cluster.append(*log[number * size : (number + 1) * size])
        with working(cluster, tmp_path) as worker:
            watch = KafkaConsumer(
                topics.run_state, bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest"
            )
            seen = 0
            deadline = time.monotonic() + PATIENCE_S
            while seen <= before and time.monotonic() < deadline:
                seen += sum(message.key.startswith(awaited) for some in watch.poll(20).values() for message in some)
            worker.kill()  # in the middle of its work
            watch.close()
            assert seen > before, worker.said()[-3000:]
    with working(cluster, tmp_path) as worker:
        caught_up(cluster, worker)
        wait_for(worker.fine, "its health is not fine", worker)
        assert worker.stop() == 0
    table, windows = cluster.tables()
    expected_table, expected_windows = cluster.recomputed()
    assert entries_of(table) == entries_of(expected_table)
    assert all(
        message.partition == partition_of(message.key.decode(), PARTITIONS)
        for message in cluster.messages(topics.run_state)
        if not message.key.startswith(b"partition:")
    )
    skipped = [decode_window(value) for value in windows.values() if decode_window(value).kind == "record"]
    codes = {code for window in skipped for code in window.errors}
    assert codes == {"fenced", "duplicate", "unreadable"}
    places = {(m.partition, m.offset) for m in cluster.messages(topics.events) if m.value == garbage.body}
    letters = cluster.letters()
    assert {(letter.partition, letter.offset) for letter in letters} == places
    assert all(letter.value == garbage.body and "no record" in letter.reason for letter in letters)
    told = [event for event in cluster.system() if isinstance(event, RecordDeadLettered)]
    assert {(event.partition, event.offset) for event in told} == places
    assert windows_of(windows) == windows_of(expected_windows)


def test_what_comes_while_it_still_looks_for_its_place_is_folded_too(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    log = mixed(runs(400), 2, zombies=True)
    half = len(log) // 2
    producer = KafkaProducer(bootstrap_servers=kafka)
    marker = encode_snapshot(Marker(-1))  # so that there is something to recover
    producer.send(cluster.address.topics.run_state, marker, marker_key(0), partition=0).get(30)
    producer.close()
    for some in (log[:half], log[half:]):  # the first time, the group has committed nothing yet
        cluster.append(*some)
        with working(cluster, tmp_path, ("-c", SLOW_SEEK)) as worker:
            caught_up(cluster, worker)
            wait_for(worker.fine, "its health is not fine", worker)
            assert worker.stop() == 0
    table, windows = cluster.tables()
    expected_table, expected_windows = cluster.recomputed()
    assert entries_of(table) == entries_of(expected_table)
    assert windows_of(windows) == windows_of(expected_windows)


def test_a_run_that_stands_still_raises_one_alert_until_it_moves(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    chain = Chain("still").start()
    cluster.append(*chain.records)

    def alerts() -> list[str]:
        return [event.type for event in cluster.system() if isinstance(event, AlertRaised | AlertResolved)]

    with working(cluster, tmp_path, LEDGENT_PROCESSORS_STALLED_S="1") as worker:
        wait_for(lambda: alerts() == ["alert.raised"], "no alert was raised", worker)

        def kept() -> bool:
            return any(decode_entry(value).alert for key, value in cluster.tables()[0].items() if key == b"still")

        wait_for(kept, "the alert is not in the table", worker)
        worker.kill()
    with working(cluster, tmp_path, LEDGENT_PROCESSORS_STALLED_S="1") as worker:
        other = Chain("other").start()
        cluster.append(*other.records)
        wait_for(lambda: len(alerts()) == 2, "the second run's alert was not raised", worker)
        assert alerts() == ["alert.raised"] * 2  # a third would be the first one, raised again
        chain.put(RunCompleted())
        cluster.append(chain.records[-1])
        wait_for(lambda: len(alerts()) == 3, "the alert was not resolved", worker)
    raised, _, resolved = (event for event in cluster.system())
    assert isinstance(raised, AlertRaised)
    assert resolved == AlertResolved(alert_id=raised.alert_id, subject_run_id="still")


def test_an_old_state_that_a_paused_process_wrote_last_is_not_believed(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    chain = Chain("a").start()
    topic = cluster.address.topics.run_state
    cluster.append(*chain.records)
    with working(cluster, tmp_path) as worker:
        caught_up(cluster, worker)
        worker.stop()
    old = cluster.messages(topic)
    chain.asks("m1")
    cluster.append(chain.records[-1])
    with working(cluster, tmp_path) as worker:
        caught_up(cluster, worker)
        worker.stop()
    producer = KafkaProducer(bootstrap_servers=kafka)
    for message in old:
        producer.send(topic, message.value, message.key, partition=message.partition).get(30)
    producer.close()
    chain.answers("m1")
    cluster.append(chain.records[-1])
    with working(cluster, tmp_path) as worker:
        caught_up(cluster, worker)
    assert entries_of(cluster.tables()[0])["a"].seq == 4
    assert windows_of(cluster.tables()[1]) == windows_of(cluster.recomputed()[1])


def test_an_unknown_event_type_stops_it_loudly_after_what_came_before(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    chain = Chain("a").start()
    body = Chain("a").start().records[0].body.replace(b'"seq":1', b'"seq":3').replace(b"run.claimed", b"run.beamed")
    body = body.replace(GENESIS.encode(), chain.records[1].digest.encode())
    newer = Stored(body, digest_of(chain.records[1].digest, body))
    cluster.append(*chain.records, newer)
    with working(cluster, tmp_path) as worker:
        assert worker.process.wait(PATIENCE_S) == 1
        assert "'run.beamed' version 1 is unknown to this version of ledgent" in worker.said()
    with working(cluster, tmp_path) as worker:  # nothing was committed: it comes to the same record
        assert worker.process.wait(PATIENCE_S) == 1
    state = decode_snapshot(b"a", cluster.tables()[0][b"a"])
    assert isinstance(state, Snapshot)
    assert state.seq == 2


def test_its_health_is_red_while_the_broker_is_away_and_no_stop_waits_for_it(own_kafka: Broker, tmp_path: Path) -> None:
    cluster = Cluster(own_kafka.address())
    cluster.append(*Chain("a").start().records)
    with working(cluster, tmp_path, LEDGENT_PROCESSORS_STUCK_S="3", LEDGENT_PROCESSORS_STOP_S="5") as worker:
        wait_for(worker.fine, "its health is not fine", worker)
        own_kafka.stop()
        wait_for(lambda: worker.health()[0] == 503, "its health did not turn red", worker)
        assert "broker" in worker.health()[1]["trouble"]
        own_kafka.start()
        cluster.append(*Chain("b").start().records)
        caught_up(cluster, worker)
        wait_for(worker.fine, "its health did not recover", worker)
        own_kafka.stop()
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(PATIENCE_S)


def test_a_second_ctrl_c_is_not_held_back_by_a_broker_that_is_away_and_nothing_is_left(
    own_kafka: Broker, tmp_path: Path
) -> None:
    cluster = Cluster(own_kafka.address())
    cluster.append(*Chain("a").start().records)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with working(cluster, tmp_path, LEDGENT_PROCESSORS_STOP_S="120", TMPDIR=str(temporary)) as worker:
        wait_for(worker.fine, "its health is not fine", worker)
        own_kafka.stop()
        worker.process.send_signal(signal.SIGINT)
        time.sleep(2.0)
        assert worker.process.poll() is None, "it did not try to leave in good order"
        deadline = time.monotonic() + 60
        while worker.process.poll() is None:  # where the machine is busy, it may not have seen the first one yet
            assert time.monotonic() < deadline, "it held back a second Ctrl-C"
            worker.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert worker.process.returncode == -signal.SIGINT
        assert not list(temporary.iterdir())


def test_fausts_own_command_runs_it_too(kafka: str, tmp_path: Path) -> None:
    cluster = Cluster(kafka)
    cluster.append(*Chain("a").start().records)
    port = str(free_ports(1)[0])
    command = ("-m", "faust", "-A", "ledgent.processors.faust_app", "worker", "--web-port", port)
    with working(cluster, tmp_path, command) as worker:
        worker.port = int(port)
        caught_up(cluster, worker)
        wait_for(worker.fine, "its health is not fine", worker)
        worker.stop()


def test_it_comes_in_by_password_and_over_tls(secured_kafka: Broker, tmp_path: Path) -> None:
    cluster = Cluster(secured_kafka.address())
    cluster.append(*Chain("a").start().records)
    secured = address_of(f"kafka://{secured_kafka.address('SASL_SSL')}/{cluster.address.prefix}")
    settings = {
        "LEDGENT_LOG": secured.url,
        "LEDGENT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "LEDGENT_KAFKA_USERNAME": USER,
        "LEDGENT_KAFKA_PASSWORD": PASSWORD,
        "LEDGENT_KAFKA_CA_FILE": str(secured_kafka.authority),
    }
    with working(cluster, tmp_path, **settings) as worker:
        caught_up(cluster, worker)
        assert PASSWORD not in worker.said()
