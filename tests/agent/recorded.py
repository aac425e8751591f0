"""What a test asks of the runs in a log."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from ledgent.agent import Agent, Limits, RunResult
from ledgent.agent.clock import Clock
from ledgent.agent.running import run_agent, start_request
from ledgent.agent.verify import verify
from ledgent.schemas.codec import Recorded, decode
from ledgent.schemas.events import TERMINAL_TYPES, AnyEvent
from ledgent.schemas.ports import History, Log
from ledgent.schemas.run import replay
from ledgent.schemas.state import RunState
from ledgent.schemas.state_json import as_json
from tests.simulation.clock import SimulatedClock

E = TypeVar("E", bound=AnyEvent)
SOON_S = 5.0


async def go(
    agent: Agent, log: Log, input: str = "go", *, clock: Clock | None = None, limits: Limits | None = None
) -> RunResult:
    """Runs the agent on a clock that does not keep a test waiting."""
    request = start_request(agent.name, input, limits, None, None)
    return await run_agent(agent, request, log, None, None, clock or SimulatedClock())


def records_of(log: History, run_id: str) -> list[Recorded]:
    return [decode(stored) for stored in log.records(run_id)]


def types_of(log: History, run_id: str) -> list[str]:
    return [record.event.type for record in records_of(log, run_id)]


def events_of(log: History, run_id: str, cls: type[E]) -> list[E]:
    return [record.event for record in records_of(log, run_id) if isinstance(record.event, cls)]


def only(log: History, run_id: str, cls: type[E]) -> E:
    """The run's one event of this class."""
    (event,) = events_of(log, run_id, cls)
    return event


def state_of(log: History, run_id: str) -> RunState:
    return replay(run_id, log.records(run_id)).state


def check_run(log: History, run_id: str) -> None:
    """A run without gaps, ended once at most, that folds to one state and that this code would decide again."""
    records = records_of(log, run_id)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    terminal = [record.seq for record in records if record.event.type in TERMINAL_TYPES]
    assert terminal in ([], [len(records)])
    assert [record.at for record in records] == sorted(record.at for record in records)
    once, again = replay(run_id, log.records(run_id)), replay(run_id, log.records(run_id))
    assert once == again
    assert as_json(once.state) == as_json(again.state)
    assert once.skipped == 0
    certificate = verify(log, run_id)
    assert certificate.ok, f"{certificate}\n" + "\n".join(f"{r.seq} <- {r.envelope.cause} {r.event}" for r in records)
    assert certificate.complete
    assert certificate.records == len(records)


async def until(condition: Callable[[], object]) -> None:
    """Returns once the condition holds; fails when it does not within SOON_S."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.001)
