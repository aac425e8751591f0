"""How many calls of a model are at work at once: each waits for its place, however long its queue. No events."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from ledgent.agent.limits import TimeLeft
from ledgent.agent.models.port import ModelRequest
from ledgent.agent.tools.places import Places
from ledgent.schemas.errors import DeadlineKind, ErrorCode, ErrorInfo
from ledgent.schemas.events import ModelCallCompleted, ModelCallFailed

WAIT_S = 600.0
"""The longest that a call waits for its place, before it is given up."""

Outcome = ModelCallCompleted | ModelCallFailed
Ask = Callable[[ModelRequest, Literal["run", "step"] | None], Coroutine[Any, Any, Outcome]]
"""Makes the call; told whose deadline its time-out is, where it is not its own."""


async def within(
    places: Places, ask: Ask, request: ModelRequest, left_of: Literal["run", "step"] | None, ends: TimeLeft | None
) -> Outcome:
    """The call's outcome, once it has its place; its own time-out counts from then. Raises as `ask`."""
    loop_time = asyncio.get_running_loop().time
    began = loop_time()
    bound_s, kind = WAIT_S, "wait"
    if ends is not None and ends.left_s < WAIT_S:
        bound_s, kind = max(0.0, ends.left_s), ends.of
    try:
        async with asyncio.timeout(bound_s):
            await places.take()
    except TimeoutError:
        message = f"the model was not asked: {places.about} was not free within {bound_s:g} s"
        deadline: DeadlineKind = kind  # type: ignore[assignment]
        error = ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline=deadline)
        return ModelCallFailed(call_id=request.call_id, attempt=request.attempt, error=error, duration_ms=0.0)
    try:
        if ends is not None and (left_s := ends.left_s - (loop_time() - began)) < request.timeout_s:
            request, left_of = request._replace(timeout_s=max(0.0, left_s)), ends.of
        return await ask(request, left_of)
    finally:
        places.give_back()
