"""Going on here from a run that is in the log: with it, while it sleeps, or with a new one. No decisions."""

import asyncio
from collections.abc import Callable

from ledgent.agent.applying import answer_to
from ledgent.agent.clock import SystemClock
from ledgent.agent.fork import Changes, forked_agent, forked_at, kept
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Delta
from ledgent.agent.running import RunResult, attended, log_at, result_of, run_agent, start_request
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.identity import new_request_id
from ledgent.schemas.agents import Limits
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


async def fork_run(
    agent: Definition,
    run_id: str,
    at: int | str,
    input: str | None,
    changes: Changes,
    limits: Limits | None,
    session: str | None,
    labels: dict[str, str] | None,
    log: Log | str | None,
    on_record: OnRecord | None,
    on_delta: Callable[[Delta], None] | None,
    stop: asyncio.Event | None,
) -> RunResult:
    """Begins a new run that takes over what the other was at that point, with these changes, and works on it."""
    opened = log_at(log)
    shared, _ = await asyncio.to_thread(forked_at, opened, run_id, at, changes)
    if shared.agent != agent.name:
        raise UsageError(f"run {run_id} is one of agent {shared.agent}, not of {agent.name}")
    if shared.answered and input is None and not agent.conversational:
        raise UsageError(
            f"run {run_id} had answered at {at}: it needs an input to go on from there, or an earlier point"
        )
    forked = forked_agent(agent, changes.model, changes.instructions)
    request = start_request(agent.name, input, *kept(shared, limits, session, labels), shared.forked_from)
    return await run_agent(forked, request, opened, on_record, on_delta, stop=stop, shared=shared)
