"""The log on Kafka keeps the contract, with several adapters over one broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import AnyRequest
from ledgent.schemas.settings import KafkaSettings
from tests.contracts.log_contract import (
    CLERK,
    NOT_AT_ALL_S,
    AppenderAndHistoryContract,
    FeedContract,
    RequestsContract,
    SystemContract,
    start_of,
)
from tests.schemas.chain import Chain


class OnKafka:
    """Logs over topics of their own, closed at the end of each test."""

    partitions = 1

    @pytest.fixture(autouse=True)
    def _topics(self, kafka: str) -> Iterator[None]:
        self.address = address_of(f"kafka://{kafka}/test-{uuid.uuid4()}")
        self.settings = KafkaSettings(partitions=self.partitions, replication=1)
        create(self.address, self.settings)
        self.logs: list[KafkaLog] = []
        yield
        for log in self.logs:
            log.close()

    def open(self, timing: Timing | None = None) -> KafkaLog:
        log = KafkaLog(self.address, self.settings, timing=timing or LIVELY)
        self.logs.append(log)
        return log


class TestKafkaSystem(OnKafka, SystemContract):
    pass


class TestKafkaHistory(OnKafka, AppenderAndHistoryContract):
    partitions = 3


class TestKafkaFeed(OnKafka, FeedContract):
    pass


NEVER_S = 3600.0
LIVELY = Timing(session_s=6, heartbeat_s=0.3, poll_interval_s=NEVER_S, hang_s=NEVER_S, silence_s=2)
MORTAL = LIVELY._replace(poll_interval_s=4, hang_s=1)


class TestKafkaRequests(OnKafka, RequestsContract):
    """One partition: one of the logs is given all requests, as long as it is there."""

    soon_s = 60.0
    silence_counts = True

    @pytest.fixture(autouse=True)
    async def _hearts(self) -> AsyncIterator[None]:
        self.beating: dict[str, asyncio.Task[None]] = {}
        yield
        for heart in self.beating.values():
            heart.cancel()

    def open_mortal(self) -> KafkaLog:
        # Its member leaves the group once nobody has asked for requests for a while, as that of a process that hangs.
        log = self.open(MORTAL)
        self.beating[log.writer] = asyncio.ensure_future(self._beat(log))
        return log

    async def _beat(self, log: Log) -> None:
        while True:
            await log.take(None, 0, 0.0)
            await asyncio.sleep(0.1)

    def die(self, log: Log) -> None:
        self.beating[log.writer].cancel()

    async def join(self, first: Log, *others: Log) -> None:
        for log in (first, *others, first, *others):
            await log.take(frozenset(), 1, NOT_AT_ALL_S)

    def heir(self, holder: Log, other: Log) -> Log:
        return holder

    async def begin(self, log: Log, chain: Chain) -> None:
        # A run that is begun without a request is never taken over.
        await log.submit(start_of(chain))
        assert await self.taken(log) == [start_of(chain)]
        await log.append(chain.records)

    async def taken(self, log: Log, agents: frozenset[str] | None = CLERK, limit: int = 10) -> list[AnyRequest]:
        # What a process's own runs are told comes to it, but nobody says when all of it has come.
        return await log.take(agents, limit, NOT_AT_ALL_S if agents is not None else 1.0)
