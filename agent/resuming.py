"""Sleeping runs, woken and gone on with in the calling process. No decisions."""

import asyncio
from collections.abc import Callable

from ledgent.agent.applying import answer_to
from ledgent.agent.clock import SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Delta
from ledgent.agent.running import RunResult, attended, log_at, result_of
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.identity import new_request_id
from ledgent.schemas.errors import RequestRefused, UnknownRun, UsageError
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import encode_request
from ledgent.schemas.run import replay


async def answer_run(
    agent: Definition,
    run_id: str,
    text: str,
    call_id: str | None,
    by: str,
    log: Log | str | None,
    on_record: OnRecord | None,
    on_delta: Callable[[Delta], None] | None,
) -> RunResult:
    """Answers a question of a run that sleeps, claims the run in this process and works on it."""
    opened = log_at(log)
    if await asyncio.to_thread(opened.head, run_id) is None:
        raise UnknownRun(run_id)
    state, guard, _ = await asyncio.to_thread(lambda: replay(run_id, opened.records(run_id)))
    if state.agent is not None and state.agent.name != agent.name:
        raise UsageError(f"run {run_id} is one of agent {state.agent.name}, not of {agent.name}")
    request = answer_to(state, new_request_id(), text, call_id, by)
    encode_request(request)  # one that is too large is refused before the run is claimed
    if state.suspended is None:
        raise RequestRefused(f"run {run_id} is at work: `ledgent run answer` tells its worker the answer")
    loop = RunLoop(opened, agent, state, guard, SystemClock(), on_record, on_delta)
    loop.take_up()
    loop.accept(request)
    try:
        with attended(opened, loop):
            return result_of(await loop.work(), agent)
    finally:
        await loop.let_go()
