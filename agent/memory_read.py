"""One look through an agent's memory, from its intent to its outcome. The worker's edge. No state, no policy."""

import asyncio
from functools import partial

from ledgent.agent.carry_out import defect, unless_stopped
from ledgent.agent.clock import Clock
from ledgent.agent.memory import Memory, found_in
from ledgent.agent.tools.places import Places, Turn
from ledgent.agent.tools.threads import ThreadCall
from ledgent.schemas.errors import ErrorCode, ErrorInfo, MemoryUnavailable
from ledgent.schemas.events import MemoryRead, MemoryReadStarted

READ_TIMEOUT_S = 10.0


async def read_memory(
    memory: Memory | None, started: MemoryReadStarted, timeout_s: float, clock: Clock, threads: Places
) -> MemoryRead:
    """What came of the look, for which it takes one of `threads`. Raises only asyncio.CancelledError."""
    began = clock.monotonic()
    entries: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            if memory is None:
                raise MemoryUnavailable("this agent has no memory any more")
            entries = await _found(memory, started.query, threads)
    except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001  # the worker's edge
        unless_stopped(raised)
        if isinstance(raised, TimeoutError) and deadline.expired():
            message = f"the memory did not answer within {timeout_s:g} s and was given up"
            error = ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True)
        else:
            known = isinstance(raised, MemoryUnavailable)
            error = defect("the memory", raised, ErrorCode.CONNECTION if known else ErrorCode.INTERNAL, known)
    duration_ms = (clock.monotonic() - began) * 1000
    return MemoryRead(query=started.query, entries=entries, error=error, duration_ms=duration_ms)


async def _found(memory: Memory, query: str, threads: Places) -> tuple[str, ...]:
    turn = Turn((threads,))
    await turn.begin()
    thread = ThreadCall("memory", partial(found_in, memory, query), {})
    try:
        found: tuple[str, ...] = await thread.result()
        return found
    finally:
        if thread.leave_behind(turn.end):
            turn.outlived()
        else:
            turn.end()
