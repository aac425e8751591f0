"""Requests on a real broker: who is given which, what may be committed, and what becomes of those of the dead."""

import asyncio
import gc
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of, partition_of
from ledgent.schemas.events import RunSuspended
from ledgent.schemas.requests import AnyRequest, CancelRun, SendMessage, StartRun
from ledgent.schemas.settings import KafkaSettings
from tests.kafka.broker import Broker
from tests.producers.taking import CLERK, QUICK
from tests.schemas.chain import Chain, begun

# kafka-python leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

CHECKOUT = Path(__file__).resolve().parents[2]
SOON_S = 60.0
LONG_S = 3600.0
CALM = QUICK._replace(session_s=10, poll_interval_s=LONG_S, hang_s=LONG_S, silence_s=LONG_S)
"""No member leaves, and no run is taken over, unless a test says so."""


class Place:
    """A log of its own on a broker."""

    def __init__(self, server: str, partitions: int = 4) -> None:
        self.server = server
        self.partitions = partitions
        self.url = f"kafka://{server}/test-{uuid.uuid4()}"
        self.address = address_of(self.url)
        self.settings = KafkaSettings(partitions=partitions, replication=1)
        create(self.address, self.settings)
        self.logs: list[KafkaLog] = []
        self._group = f"{self.address.prefix}.workers"
        self._admin = KafkaAdminClient(bootstrap_servers=server)

    def close(self) -> None:
        for log in self.logs:
            log.close()
        self._admin.close()

    def open(self, timing: Timing = CALM) -> KafkaLog:
        log = KafkaLog(self.address, self.settings, timing=timing)
        self.logs.append(log)
        return log

    def run_in(self, partition: int, number: int = 0) -> str:
        """The id of a run in this partition; another for each number."""
        ids = (f"run-{partition}-{number}-{n}" for n in range(10_000))
        return next(run_id for run_id in ids if partition_of(run_id, self.partitions) == partition)

    def committed(self) -> dict[int, tuple[int, str]]:
        """The group's committed offsets and metadata by partition."""
        try:
            found = self._admin.list_group_offsets(self._group)[self._group]
        except KafkaError:  # the broker has just come back: the client still asks for who coordinates the group
            return {}
        return {place.partition: (offset.offset, offset.metadata) for place, offset in found.items()}

    def members(self) -> int:
        """How many the workers' group has, once it is at rest."""
        return len(self._assigned())

    def shares(self) -> int:
        """How many members have partitions, once all partitions are given."""
        shares = [share for share in self._assigned() if share]
        return len(shares) if sum(shares) == self.partitions else 0

    def _assigned(self) -> list[int]:
        group = self._admin.describe_groups([self._group])[self._group]
        if group["group_state"] != "Stable":
            return []
        assigned = [member["member_assignment"]["assigned_partitions"] for member in group["members"]]
        return [sum(len(topic["partitions"]) for topic in topics) for topics in assigned]


@pytest.fixture(scope="module", autouse=True)
def _sockets() -> Iterator[None]:
    """Collects them before they are another module's."""
    yield
    gc.collect()


@pytest.fixture
def place(kafka: str) -> Iterator[Place]:
    place = Place(kafka)
    yield place
    place.close()


@pytest.fixture
def single(kafka: str) -> Iterator[Place]:
    """With one partition."""
    place = Place(kafka, partitions=1)
    yield place
    place.close()


@pytest.fixture
def restarted(own_kafka: Broker) -> Iterator[Place]:
    """On a broker that the test may stop."""
    place = Place(own_kafka.address(), partitions=2)
    yield place
    place.close()


@pytest.fixture
async def taking() -> AsyncIterator[Callable[[Place], Awaitable[asyncio.subprocess.Process]]]:
    """Starts processes that take requests."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(place: Place) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "tests.producers.taking", place.url]
        process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


def start_of(run_id: str) -> StartRun:
    return StartRun(request_id=f"start {run_id}", run_id=run_id, agent="clerk", input="hello")


def cancel_of(run_id: str) -> CancelRun:
    return CancelRun(request_id=f"cancel {run_id}", run_id=run_id)


async def submitted(log: KafkaLog, *run_ids: str) -> list[AnyRequest]:
    requests: list[AnyRequest] = [start_of(run_id) for run_id in run_ids]
    for request in requests:
        await log.submit(request)
    return requests


async def joined(place: Place, *logs: KafkaLog) -> None:
    """Each is a member, and no partition changes hands any more."""
    for log in logs:
        await log.take(frozenset(), 1, 0.0)
    await until(lambda: place.shares() == len(logs))


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.05)


async def given(log: KafkaLog, count: int) -> list[AnyRequest]:
    """So many requests, whenever they come; and no more than those."""
    found: list[AnyRequest] = []
    deadline = time.monotonic() + SOON_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} requests were given out"
        found += await log.take(CLERK, 100, 0.5)
    return found + await log.take(CLERK, 100, 0.0)


def ids(requests: list[AnyRequest]) -> list[str]:
    return [request.request_id for request in requests]


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """The next lines that the process says."""
    assert process.stdout is not None
    async with asyncio.timeout(SOON_S):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def test_two_members_share_the_partitions_and_each_request_is_given_out_once(place: Place) -> None:
    one, two = place.open(), place.open()
    await joined(place, one, two)
    run_ids = [place.run_in(partition, number) for number in range(10) for partition in range(4)]
    requests = await submitted(one, *run_ids)
    found: dict[str, list[AnyRequest]] = {one.writer: [], two.writer: []}
    deadline = time.monotonic() + SOON_S
    while sum(map(len, found.values())) < 40 and time.monotonic() < deadline:
        for log in (one, two):
            found[log.writer] += await log.take(CLERK, 7, 0.0)
    assert sorted(ids([*found[one.writer], *found[two.writer]])) == sorted(ids(requests))
    assert [len(share) for share in found.values()] == [20, 20]
    for partition in range(4):
        in_partition = [f"start {run_id}" for run_id in run_ids if partition_of(run_id, 4) == partition]
        assert [[id for id in ids(share) if id in in_partition] for share in found.values()] in (
            [in_partition, []],
            [[], in_partition],
        )
    assert await one.take(CLERK, 100, 0.0) == await two.take(CLERK, 100, 0.0) == []


async def test_a_member_that_closes_hands_over_at_once(place: Place) -> None:
    leaving, staying = place.open(), place.open()
    await joined(place, leaving, staying)
    requests = await submitted(staying, *(place.run_in(partition) for partition in range(4)))
    mine, yours = await given(leaving, 2), await given(staying, 2)
    leaving.close()
    began = time.monotonic()
    found = await given(staying, 2)
    assert time.monotonic() - began < CALM.session_s / 2
    assert sorted(ids(found)) == sorted(ids(mine))
    assert sorted(ids(mine + yours)) == sorted(ids(requests))


async def test_the_requests_of_a_killed_process_are_given_to_another_in_order(
    single: Place, taking: Callable[[Place], Awaitable[asyncio.subprocess.Process]]
) -> None:
    log = single.open()
    requests = await submitted(log, *(f"run-{n}" for n in range(20)))
    process = await taking(single)
    assert await lines(process, 20) == ids(requests)
    await joined_beside(single, log, members=2)
    assert await log.take(CLERK, 100, 0.0) == []
    process.kill()
    began = time.monotonic()
    assert await given(log, 20) == requests
    assert time.monotonic() - began < SOON_S / 2
    assert log.lost() == frozenset()


async def joined_beside(place: Place, log: KafkaLog, members: int) -> None:
    await log.take(frozenset(), 1, 0.0)
    await until(lambda: place.members() == members)


async def test_the_committed_offset_never_passes_an_unfinished_request(single: Place) -> None:
    first = single.open()
    requests = await submitted(first, *(f"run-{n}" for n in range(6)))
    assert await given(first, 6) == requests
    await first.finish(ids([requests[0], requests[2], requests[3]]))
    await until(lambda: single.committed() == {0: (1, "1-2")})
    await first.finish(ids([requests[5]]))
    first.close()
    assert single.committed() == {0: (1, "1-2 4-4")}
    second = single.open()
    assert await given(second, 2) == [requests[1], requests[4]]
    await second.finish(ids([requests[1], requests[4]]))
    second.close()
    assert single.committed() == {0: (6, "")}
    third = single.open()
    (late,) = await submitted(third, "run-6")
    assert await given(third, 1) == [late]


async def test_what_was_finished_is_not_given_out_again_when_a_partition_changes_hands(place: Place) -> None:
    one, two = place.open(CALM._replace(commit_s=LONG_S)), place.open()
    await joined(place, one)
    run_ids = [place.run_in(partition, number) for number in range(3) for partition in range(4)]
    requests = await submitted(one, *run_ids)
    await given(one, 12)
    finished = requests[:4] + requests[8:]
    await one.finish(ids(finished))
    await joined(place, one, two)
    found = await given(two, 2)
    assert {*ids(found)} < {*ids(requests[4:8])}


async def test_a_request_that_cannot_be_read_is_put_aside_and_the_next_ones_are_given_out(single: Place) -> None:
    log = single.open()
    producer = KafkaProducer(bootstrap_servers=single.server, acks="all")
    topics = single.address.topics
    await submitted(log, "run-0")
    producer.send(topics.requests, key=b"run-1", value=b"{nonsense", headers=[("who", b"me")]).get(10)
    producer.send(topics.requests, key=b"run-1", value=None).get(10)
    producer.close()
    await submitted(log, "run-2")
    found = await given(log, 2)
    assert ids(found) == ["start run-0", "start run-2"]
    await log.finish(ids(found))
    await until(lambda: single.committed() == {0: (4, "")})
    consumer = KafkaConsumer(bootstrap_servers=single.server, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topics.dead_letters, 0)])
    letters = list[Any]()
    deadline = time.monotonic() + SOON_S
    while len(letters) < 2 and time.monotonic() < deadline:
        letters += [letter for batch in consumer.poll(1000).values() for letter in batch]
    consumer.close()
    assert [(letter.key, letter.value) for letter in letters] == [(b"run-1", b"{nonsense"), (b"run-1", None)]
    headers = dict(letters[0].headers)
    assert headers["who"] == b"me"
    assert (headers["ledgent-dead-topic"], headers["ledgent-dead-offset"]) == (topics.requests.encode(), b"1")
    assert b"cannot be read" in headers["ledgent-dead-reason"]


async def test_a_run_is_taken_from_its_holder_only_after_a_silence(single: Place) -> None:
    holder, other = single.open(), single.open(CALM._replace(silence_s=4))
    await joined(single, other)
    chain = begun("run-0", writer=holder.writer)
    await holder.append(chain.records)
    await holder.submit(cancel_of("run-0"))
    began = time.monotonic()
    while time.monotonic() - began < 6:  # one that writes is not silent, however long its runs take
        await holder.append([chain.ask(), chain.add(RunSuspended(reason="input")), chain.claim()])
        assert await other.take(CLERK, 10, 0.5) == []
    silent_since = time.monotonic()
    assert ids(await given(other, 1)) == ["cancel run-0"]
    assert 3.5 < time.monotonic() - silent_since < SOON_S / 2


async def test_a_run_that_was_handed_over_is_given_out_at_once(single: Place) -> None:
    holder, other = single.open(), single.open()
    await joined(single, other)
    chain = begun("run-0", writer=holder.writer)
    await holder.append(chain.records)
    await holder.submit(cancel_of("run-0"))
    assert await other.take(CLERK, 10, 1.0) == []
    await holder.append([chain.suspend()])
    assert ids(await other.take(CLERK, 10, SOON_S)) == ["cancel run-0"]


async def test_a_run_of_long_ago_is_not_thought_new(single: Place) -> None:
    """The new worker has read nothing of it, and its start request comes again."""
    holder = single.open()
    chain = begun("run-0", writer=holder.writer)
    await submitted(holder, "run-0")
    await holder.append([*chain.records, chain.suspend()])
    for n in range(5):
        await holder.append(begun(f"other-{n}", writer=holder.writer).records)
    other = single.open()
    message = SendMessage(request_id="message", run_id="run-0", text="more")
    await holder.submit(message)
    assert await other.take(frozenset({"a stranger"}), 10, 0.0) == []
    assert await given(other, 2) == [start_of("run-0"), message]


async def test_a_member_that_joins_gets_partitions_and_only_their_runs_are_lost(place: Place) -> None:
    old, new = place.open(), place.open()
    await joined(place, old)
    run_ids = [place.run_in(partition, number) for number in range(2) for partition in range(4)]
    requests = await submitted(old, *run_ids)
    chains: dict[str, Chain] = {}
    for request in await given(old, 8):
        chains[request.run_id] = begun(request.run_id, writer=old.writer)
        await old.append(chains[request.run_id].records)
    assert old.lost() == frozenset()
    await joined(place, old, new)
    lost = set[str]()
    await until(lambda: lost.update(old.lost()) or len(lost) == 4)
    assert len({partition_of(run_id, 4) for run_id in lost}) == 2
    assert await old.take(CLERK, 10, 1.0) == []
    assert old.lost() == new.lost() == frozenset()
    assert await new.take(CLERK, 10, 0.0) == []  # their holder is not silent yet
    for run_id in lost:
        await old.append([chains[run_id].suspend()])
    found = await given(new, 4)
    assert {request.run_id for request in found} == lost
    for partition in range(4):  # in order
        of_it = [request for request in requests if partition_of(request.run_id, 4) == partition]
        assert [request for request in found if request in of_it] in (of_it, [])
    assert await old.take(CLERK, 10, 0.5) == []


async def test_nothing_is_lost_or_doubled_when_the_broker_restarts(own_kafka: Broker, restarted: Place) -> None:
    place = restarted
    one, two = place.open(), place.open()
    await joined(place, one, two)
    early = await submitted(one, *(place.run_in(partition, n) for n in range(3) for partition in range(2)))
    found = {log.writer: await given(log, 3) for log in (one, two)}
    await one.finish(ids(found[one.writer])[:1])
    for end in (own_kafka.stop, own_kafka.kill):
        await asyncio.to_thread(end)
        assert await one.take(CLERK, 10, 0.2) == []
        await asyncio.to_thread(own_kafka.start)
    late = await submitted(one, *(place.run_in(partition, n) for n in range(3, 6) for partition in range(2)))
    deadline = time.monotonic() + SOON_S
    while sum(map(len, found.values())) < 12 and time.monotonic() < deadline:
        for log in (one, two):
            found[log.writer] += await log.take(CLERK, 10, 0.2)
    everything = [request for share in found.values() for request in share]
    assert sorted(ids(everything)) == sorted(ids([*early, *late]))
    assert one.lost() == two.lost() == frozenset()
    for log in (one, two):
        await log.finish(ids(found[log.writer]))
    await until(lambda: place.committed() == {0: (6, ""), 1: (6, "")})


async def test_a_worker_that_hangs_loses_its_partitions_and_gets_some_back(place: Place) -> None:
    hanging, other = place.open(CALM._replace(hang_s=1, poll_interval_s=3)), place.open()
    requests = await submitted(other, *(place.run_in(partition) for partition in range(4)))
    assert sorted(ids(await given(hanging, 4))) == sorted(ids(requests))
    assert sorted(ids(await given(other, 4))) == sorted(ids(requests))  # meanwhile the first one asks for nothing
    lost: list[str] = []
    async with asyncio.timeout(SOON_S):
        while len(lost) < 4:
            assert await hanging.take(CLERK, 10, 0.2) == []
            lost += hanging.lost()
    assert sorted(lost) == sorted(request.run_id for request in requests)
    again: list[AnyRequest] = []
    async with asyncio.timeout(SOON_S):
        while place.shares() != 2 or len(again) < 2:
            again += await hanging.take(CLERK, 10, 0.2)
    # Only what moved back is lost to the other, and given out again.
    assert other.lost() == {request.run_id for request in again}
    assert len(again) == 2
    assert await hanging.take(CLERK, 10, 0.0) == await other.take(CLERK, 10, 0.0) == []


async def test_a_cancel_reaches_a_run_that_no_request_began(place: Place) -> None:
    worker, other, caller = place.open(), place.open(), place.open()
    await joined(place, worker, other)
    run_ids = [place.run_in(partition) for partition in range(4)]
    for log in (caller, worker):  # of the worker's own runs, two are in the other's partitions
        for run_id in run_ids:
            run_id = f"{run_id} {log is worker}"
            await log.append(begun(run_id, writer=log.writer).records, accept=start_of(run_id))
            await other.submit(cancel_of(run_id))
        found: list[AnyRequest] = []
        deadline = time.monotonic() + SOON_S
        while len(found) < 4 and time.monotonic() < deadline:
            found += await log.take(None, 10, 0.5)
        assert sorted(ids(found)) == sorted(f"cancel {run_id} {log is worker}" for run_id in run_ids)
        await log.release(ids(found[:1]))
        assert await log.take(None, 10, SOON_S) == found[:1]
        await log.finish(ids(found))
        assert await log.take(None, 10, 0.5) == []
    assert await other.take(CLERK, 10, 0.5) == []
