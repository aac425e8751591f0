"""The log in this process's memory, for tests and throw-away runs. Nothing of it outlives the process."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

from ledgent.producers.identity import new_writer
from ledgent.producers.system_chain import SystemChain
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Stored, read_envelope
from ledgent.schemas.errors import ConcurrentAppend, RequestRefused
from ledgent.schemas.ports import Head, Positioned
from ledgent.schemas.requests import AnyRequest, StartRun, decode_request, encode_request
from ledgent.schemas.system_events import AnySystemEvent

POLL_S = 0.01


class MemoryStorage:
    """What several `MemoryLog`s share, as processes share a file."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: list[Stored] = []
        self.runs: dict[str, list[Stored]] = {}
        self.guards: dict[str, Guard] = {}
        self.suspended: set[str] = set()
        self.requests: dict[str, bytes] = {}
        self.agents: dict[str, str] = {}
        self.taken: dict[str, str] = {}
        self.done: dict[str, str | None] = {}
        self.alive: set[str] = set()
        self.system: list[Stored] = []


class MemoryLog:
    """`open_log("memory://")`. A second one over the same storage acts as a second process; closing it is its death."""

    url = "memory://"

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.storage = storage or MemoryStorage()
        self.writer = new_writer()
        self.storage.alive.add(self.writer)
        self._chain = SystemChain(self.writer)

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        with self.storage.lock:
            guard, fresh, last = self._judge(records)
            if accept is not None and self._insert(accept):
                self.storage.taken[accept.request_id] = self.writer
            if last is not None:
                self._write(fresh, guard, last)
            self.storage.done.update(dict.fromkeys(finish))
        await asyncio.sleep(0)

    def _judge(self, records: Sequence[Stored]) -> tuple[Guard, list[Stored], Envelope | None]:
        """The records that are not yet there, the guard after them and the last one's envelope."""
        run_id = read_envelope(records[0].body).run_id if records else ""
        run = self.storage.runs.get(run_id, [])
        guard, fresh, last = self.storage.guards.get(run_id, Guard()), list[Stored](), None
        for stored in records:
            envelope = read_envelope(stored.body)
            verdict = judge(guard, envelope, stored, lambda seq: run[seq - 1].digest if seq <= len(run) else None)
            if verdict is Verdict.ACCEPTED and envelope.run_id == run_id:
                guard, last = advance(envelope, stored.digest), envelope
                fresh.append(stored)
            elif verdict is not Verdict.DUPLICATE:
                raise ConcurrentAppend(
                    f"run {run_id}: record {envelope.seq} was refused: the run stands at {guard.seq}"
                )
        return guard, fresh, last

    def _write(self, fresh: list[Stored], guard: Guard, last: Envelope) -> None:
        storage, run_id = self.storage, last.run_id
        storage.runs[run_id] = [*storage.runs.get(run_id, []), *fresh]
        storage.records += fresh
        storage.guards[run_id] = guard
        (storage.suspended.add if last.type == "run.suspended" else storage.suspended.discard)(run_id)

    def _insert(self, request: AnyRequest) -> bool:
        storage = self.storage
        if request.request_id in storage.requests:
            return False
        body = encode_request(request)
        if isinstance(request, StartRun):
            storage.agents.setdefault(request.run_id, request.agent)
        elif request.run_id not in storage.agents:
            raise RequestRefused(f"no run {request.run_id!r} in this log")
        elif storage.guards.get(request.run_id, Guard()).ended:
            raise RequestRefused(f"run {request.run_id} has ended")
        storage.requests[request.request_id] = body
        return True

    async def submit(self, request: AnyRequest) -> None:
        with self.storage.lock:
            self._insert(request)
        await asyncio.sleep(0)

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        deadline = time.monotonic() + timeout_s
        while True:
            await asyncio.sleep(0)  # before anything is taken: what is taken then reaches the caller, cancelled or not
            with self.storage.lock:
                found = list(self._open(agents))[:limit]
                self.storage.taken.update({request.request_id: self.writer for request in found})
            if found or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(POLL_S)

    def _open(self, agents: frozenset[str] | None) -> Iterator[AnyRequest]:
        storage = self.storage
        for request_id, body in storage.requests.items():
            if request_id in storage.done or storage.taken.get(request_id) in {*storage.alive, self.writer}:
                continue
            request = decode_request(body)
            guard = storage.guards.get(request.run_id)
            idle = guard is None or guard.ended or request.run_id in storage.suspended
            if agents is None:
                if not idle and guard is not None and guard.writer == self.writer:
                    yield request
            elif guard is None:
                if isinstance(request, StartRun):
                    yield request
            elif storage.agents[request.run_id] in agents and (
                idle or guard.writer == self.writer or guard.writer not in storage.alive
            ):
                yield request

    async def release(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            if self.storage.taken.get(request_id) == self.writer:
                del self.storage.taken[request_id]

    def lost(self) -> frozenset[str]:
        return frozenset()  # a run is this process's until it dies

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        self.storage.done.update(dict.fromkeys(request_ids, refused))

    def run_ids(self, since: str | None = None) -> Iterator[str]:
        known = {*self.storage.agents, *self.storage.runs}
        return iter(sorted(run_id for run_id in known if run_id >= (since or "")))

    def records(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        return iter(self.storage.runs.get(run_id, [])[after:])

    def head(self, run_id: str) -> Head | None:
        guard = self.storage.guards.get(run_id)
        return Head(run_id, guard, run_id in self.storage.suspended) if guard else None

    def misplaced(self, run_id: str) -> list[tuple[int, str]]:
        return []

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        deadline = time.monotonic() + timeout_s
        first = positions.get(0, -1) + 1
        while True:
            found = self.storage.records[first : first + limit]
            if found or time.monotonic() >= deadline:
                return [Positioned(0, offset, stored) for offset, stored in enumerate(found, first)]
            time.sleep(POLL_S)

    def ends(self) -> dict[int, int]:
        return {0: len(self.storage.records) - 1}

    async def announce(self, event: AnySystemEvent) -> None:
        self.storage.system.append(self._chain.next(event)[1])

    def announced(self, after: int | None, limit: int) -> list[Positioned]:
        first = max(0, len(self.storage.system) - limit) if after is None else after + 1
        return [Positioned(0, at, it) for at, it in enumerate(self.storage.system[first : first + limit], first)]

    def close(self) -> None:
        self.storage.alive.discard(self.writer)
