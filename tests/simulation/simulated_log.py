"""A log as a network of processes sees it: what is sent may be lost, late, doubled or out of order.

Two kinds: one that takes whatever comes, in the order in which it comes, and leaves it to every reader to judge it (as
Kafka does), and one that refuses (as SQLite does). A process is held dead whose heart has not beaten for a while.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Recorded, Stored, decode, read_envelope
from ledgent.schemas.errors import ConcurrentAppend, LogUnavailable, RequestRefused
from ledgent.schemas.events import ModelCallStarted, ToolCallStarted
from ledgent.schemas.ports import Head, Positioned
from ledgent.schemas.requests import AnyRequest, StartRun
from tests.simulation.simulated_loop import Process, SimulatedLoop

HEARTBEAT_S = 2.0
DEAD_AFTER_S = 10.0
POLL_S = 0.5
RESEND_S = 3.0
MOST_SENDINGS = 40


class LogFaults(NamedTuple):
    """How likely each is, of an append or a request."""

    lost: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    late: float = 0.0
    unavailable: float = 0.0
    redelivered: float = 0.0


class Storage:
    """What all processes share: records in the order in which they came, what was accepted of them, and requests."""

    def __init__(self, loop: SimulatedLoop, dice: random.Random, refuses: bool, faults: LogFaults) -> None:
        self.loop = loop
        self.dice = dice
        self.refuses = refuses
        self.faults = faults
        self.topic: list[Stored] = []
        self.records: dict[str, list[Recorded]] = {}
        self.runs: dict[str, list[Stored]] = {}
        self.guards: dict[str, Guard] = {}
        self.started: Counter[tuple[str, str]] = Counter()
        """Accepted attempts by run and call."""
        self.verdicts: Counter[Verdict] = Counter()
        self.agents: dict[str, str] = {}
        self.requests: dict[str, AnyRequest] = {}
        self.visible_at: dict[str, float] = {}
        self.taken: dict[str, Process] = {}
        self.done: dict[str, str | None] = {}
        self.beats: dict[str, float] = {}
        """When each writer was last heard of."""
        self.moved: dict[str, set[str]] = {}
        """Runs that are taken from a writer, and that it has not been told of yet."""
        self.up_for_grabs: set[str] = set()
        """Runs that another may claim although their holder lives."""

    def alive(self, writer: str) -> bool:
        return self.loop.now - self.beats.get(writer, -DEAD_AFTER_S) < DEAD_AFTER_S

    def verdict(self, stored: Stored) -> Verdict:
        envelope = read_envelope(stored.body)
        run = self.runs.get(envelope.run_id, [])
        guard = self.guards.get(envelope.run_id, Guard())
        return judge(guard, envelope, stored, lambda seq: run[seq - 1].digest if seq <= len(run) else None)

    def arrive(self, stored: Stored) -> None:
        """One more record in the log, whatever it is worth."""
        self.topic.append(stored)
        verdict = self.verdict(stored)
        self.verdicts[verdict] += 1
        if verdict is Verdict.ACCEPTED:
            record = decode(stored)
            run_id = record.run_id
            self.guards[run_id] = advance(record.envelope, stored.digest)
            self.runs.setdefault(run_id, []).append(stored)
            self.records.setdefault(run_id, []).append(record)
            self.up_for_grabs.discard(run_id)
            if isinstance(record.event, ModelCallStarted | ToolCallStarted):
                self.started[run_id, record.event.call_id] += 1

    def holds(self, stored: Stored) -> bool:
        """Whether the record has been accepted."""
        envelope = read_envelope(stored.body)
        return self.holds_digest(envelope.run_id, envelope.seq, stored.digest)

    def holds_digest(self, run_id: str, seq: int, digest: str) -> bool:
        run = self.runs.get(run_id, [])
        return seq <= len(run) and run[seq - 1].digest == digest

    def suspended(self, run_id: str) -> bool:
        records = self.records.get(run_id)
        return bool(records) and records[-1].event.type == "run.suspended"  # type: ignore[index]

    def submit(self, request: AnyRequest, visible_in_s: float = 0.0) -> None:
        """Raises RequestRefused."""
        if request.request_id in self.requests:
            return
        if isinstance(request, StartRun):
            self.agents[request.run_id] = request.agent
        elif self.guards.get(request.run_id, Guard()).ended:
            raise RequestRefused(f"run {request.run_id} has ended")
        self.requests[request.request_id] = request
        self.visible_at[request.request_id] = self.loop.now + visible_in_s


class SimulatedLog:
    """One process's way to the storage."""

    url = "simulated://"

    def __init__(self, storage: Storage, process: Process) -> None:
        self.storage = storage
        self.process = process
        self.writer = process.name
        self.dies_at: tuple[int, str] = (0, "")
        """At which append, and whether before it is sent, after, or after it has been acknowledged."""
        self._appends = 0

    def beat(self) -> None:
        """Tells, from now on and as long as the process lives, that it does."""
        if not self.process.dead:
            self.storage.beats[self.writer] = self.storage.loop.now
            self.storage.loop.call_later(HEARTBEAT_S, self.beat)

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        await self._travel()
        self._appends += 1
        await self._maybe_die("before")
        if self.storage.dice.random() < self.storage.faults.unavailable:
            raise LogUnavailable("the log does not answer")
        if self.storage.refuses:
            await self._commit(records, finish)
        else:
            await self._send(records)
        await self._maybe_die("after")
        await self._travel()
        self.storage.done.update(dict.fromkeys(finish))
        await self._maybe_die("acknowledged")

    async def _commit(self, records: Sequence[Stored], finish: Sequence[str]) -> None:
        """All records or none, and the requests with them."""
        storage = self.storage
        run_id = read_envelope(records[0].body).run_id if records else ""
        guard = storage.guards.get(run_id, Guard())
        run = storage.runs.get(run_id, [])
        fresh = []
        for stored in records:
            envelope = read_envelope(stored.body)
            verdict = judge(guard, envelope, stored, lambda seq: run[seq - 1].digest if seq <= len(run) else None)
            if verdict is Verdict.ACCEPTED:
                guard = advance(envelope, stored.digest)
                fresh.append(stored)
            elif verdict is not Verdict.DUPLICATE:
                raise ConcurrentAppend(f"run {run_id}: record {envelope.seq} was refused: {verdict}")
        for stored in fresh:
            storage.arrive(stored)
        storage.done.update(dict.fromkeys(finish))

    async def _send(self, records: Sequence[Stored]) -> None:
        """Sends all from the first unconfirmed on, again and again, until they have been read back."""
        for _ in range(MOST_SENDINGS):
            left = [stored for stored in records if not self.storage.holds(stored)]
            if not left:
                return
            first = read_envelope(left[0].body)
            guard = self.storage.guards.get(first.run_id, Guard())
            if guard.seq >= first.seq or guard.ended or (guard.seq and guard.epoch > first.epoch):
                raise ConcurrentAppend(f"run {first.run_id}: record {first.seq} is another's")
            self._throw(left)
            if not all(map(self.storage.holds, left)):
                await asyncio.sleep(RESEND_S)
        raise LogUnavailable("what was sent does not come to the log")

    def _throw(self, records: Sequence[Stored]) -> None:
        """Into the network."""
        storage, dice, faults = self.storage, self.storage.dice, self.storage.faults
        if dice.random() < faults.lost:
            return
        batch = list(records)
        if dice.random() < faults.reordered:
            dice.shuffle(batch)
        delay_s = dice.uniform(1.0, 30.0) if dice.random() < faults.late else 0.0
        for _ in range(2 if dice.random() < faults.doubled else 1):
            for stored in batch:
                if delay_s:
                    storage.loop.outside(delay_s, storage.arrive, stored)
                else:
                    storage.arrive(stored)
            delay_s += dice.uniform(0.1, 20.0)

    async def _travel(self) -> None:
        """Time passes between a process and the log; a dead one gets nowhere."""
        self._refuse_the_dead()
        await asyncio.sleep(self.storage.dice.choice((0.0, 0.001, 0.01, 0.2)))
        self._refuse_the_dead()

    async def _maybe_die(self, when: str) -> None:
        if self.dies_at == (self._appends, when):
            self.process.kill()
            await asyncio.sleep(0)  # from which it does not come back
        self._refuse_the_dead()

    def _refuse_the_dead(self) -> None:
        if self.process.dead:
            raise LogUnavailable("the process has died")

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        storage = self.storage
        deadline = storage.loop.now + timeout_s
        while True:
            await asyncio.sleep(0)
            self._refuse_the_dead()
            found = [request for request in storage.requests.values() if self._mine(request, agents)]
            storage.dice.shuffle(found)
            for request in found[:limit]:
                storage.taken[request.request_id] = self.process
            if found or storage.loop.now >= deadline:
                return found[:limit]
            await asyncio.sleep(POLL_S)

    def _mine(self, request: AnyRequest, agents: frozenset[str] | None) -> bool:
        storage = self.storage
        guard = storage.guards.get(request.run_id)
        if storage.visible_at[request.request_id] > storage.loop.now:
            return False
        given = request.request_id in storage.done or (
            (holder := storage.taken.get(request.request_id)) is not None and storage.alive(holder.name)
        )
        if given and storage.dice.random() >= storage.faults.redelivered:
            return False
        idle = guard is None or guard.ended or storage.suspended(request.run_id)
        if agents is None:
            return not idle and guard is not None and guard.writer == self.writer
        if guard is None:
            return isinstance(request, StartRun)
        if request.run_id in storage.up_for_grabs:
            return guard.writer != self.writer
        return idle or guard.writer == self.writer or not storage.alive(guard.writer)

    async def release(self, request_ids: Sequence[str]) -> None:
        await self._travel()
        for request_id in request_ids:
            if self.storage.taken.get(request_id) is self.process:
                del self.storage.taken[request_id]

    def lost(self) -> frozenset[str]:
        return frozenset(self.storage.moved.pop(self.writer, ()))

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        await self._travel()
        self.storage.done.update(dict.fromkeys(request_ids, refused))

    async def submit(self, request: AnyRequest) -> None:
        await self._travel()
        self.storage.submit(request)

    def run_ids(self, since: str | None = None) -> Iterator[str]:
        return iter(sorted(run_id for run_id in self.storage.agents if run_id >= (since or "")))

    def records(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        return iter(list(self.storage.runs.get(run_id, [])[after:]))

    def head(self, run_id: str) -> Head | None:
        guard = self.storage.guards.get(run_id)
        return Head(run_id, guard, self.storage.suspended(run_id)) if guard else None

    def misplaced(self, run_id: str) -> list[tuple[int, str]]:
        return []

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        first = positions.get(0, -1) + 1
        found = self.storage.topic[first : first + limit]
        return [Positioned(0, offset, stored) for offset, stored in enumerate(found, first)]

    def ends(self) -> dict[int, int]:
        return {0: len(self.storage.topic) - 1}

    def close(self) -> None:
        pass
