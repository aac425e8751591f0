"""A log whose process dies at its n-th append, before or after the commit, and what must hold after any death."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from ledgent.agent import Agent
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog, MemoryStorage
from ledgent.schemas.codec import Stored, decode
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    ModelCallCompleted,
    ModelCallStarted,
    RunStarted,
    ToolCallCompleted,
    ToolCallStarted,
)
from ledgent.schemas.requests import AnyRequest
from ledgent.schemas.run import evolve, replay
from ledgent.schemas.state import RunState
from ledgent.schemas.state_json import as_json
from tests.simulation.clock import SimulatedClock

LONGEST_S = 20.0


class ProcessDied(LogUnavailable):
    """What is left of a process that has died: nothing that it does counts."""


class CrashingLog(MemoryLog):
    """Dies at append number `at`: with `committed`, its records are in the log, but it never learns of it."""

    def __init__(self, storage: MemoryStorage, at: int, committed: bool) -> None:
        super().__init__(storage)
        self.appends = 0
        self._at = at
        self._committed = committed
        self._dead = False

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        self._stop_if_dead()
        self.appends += 1
        if self.appends == self._at:
            if self._committed:
                await super().append(records, accept=accept, finish=finish)
            self._dead = True
            self.close()
        self._stop_if_dead()
        await super().append(records, accept=accept, finish=finish)

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        self._stop_if_dead()
        return await super().take(agents, limit, timeout_s)

    async def release(self, request_ids: Sequence[str]) -> None:
        self._stop_if_dead()
        await super().release(request_ids)

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        self._stop_if_dead()
        await super().finish(request_ids, refused)

    @property
    def dead(self) -> bool:
        return self._dead

    def _stop_if_dead(self) -> None:
        if self._dead:
            raise ProcessDied("the process has died")


async def work(log: MemoryLog, agent: Agent, clock: SimulatedClock) -> None:
    """A process works on all there is, until it is done or dies."""
    try:
        async with asyncio.timeout(LONGEST_S):
            await Worker(log, {agent.name: agent}, clock=clock).work(until_idle=True)
    except ProcessDied:
        pass


async def work_through_crashes(
    storage: MemoryStorage, agent: Callable[[], Agent], crashes: Sequence[tuple[int, bool]]
) -> list[CrashingLog]:
    """One process after the other dies as told; a last one lives."""
    clock = SimulatedClock()
    logs = [CrashingLog(storage, at, committed) for at, committed in (*crashes, (0, False))]
    for log in logs:
        await work(log, agent(), clock)
        log.close()
    return logs


def check(storage: MemoryStorage, run_id: str, effects: Counter[str], idempotent: frozenset[str]) -> RunState:
    """What must hold of a run however its processes died; its state. `effects`: how often each key took effect."""
    log = MemoryLog(storage)
    records = [decode(stored) for stored in log.records(run_id)]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.seq for record in records if record.event.type in TERMINAL_TYPES] == [len(records)]
    live = RunState(run_id)
    for record in records:
        live = evolve(live, record)
    replayed = replay(run_id, log.records(run_id))
    assert replayed.state == live
    assert as_json(replayed.state) == as_json(live)
    assert replayed.skipped == 0
    certificate = verify(log, run_id)
    assert certificate.ok, certificate
    assert certificate.complete
    assert sum(isinstance(record.event, RunStarted) for record in records) == 1
    begun: dict[tuple[str, int], str] = {}
    completed: set[str] = set()
    for event in (record.event for record in records):
        if isinstance(event, ModelCallStarted | ToolCallStarted):
            assert (event.call_id, event.attempt) not in begun
            assert event.call_id not in completed, "a completed call was repeated"
            begun[event.call_id, event.attempt] = event.name if isinstance(event, ToolCallStarted) else "model"
        elif isinstance(event, ModelCallCompleted | ToolCallCompleted):
            assert (event.call_id, event.attempt) in begun, "an outcome without its intent"
            completed.add(event.call_id)
    for (call_id, attempt), name in begun.items():
        if name not in idempotent | {"model"}:
            assert attempt == 1
            assert effects[f"{run_id}/{call_id}"] <= 1
    assert len(storage.done) == len(storage.requests), "a request was left open"
    return live
