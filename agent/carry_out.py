"""One attempt of a model or tool call, from its intent to its outcome as an event. The worker's edge: whatever a model
adapter or a tool raises ends here, recorded. No state, no policy."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, NamedTuple

from ledgent.agent.clock import Clock
from ledgent.agent.models.port import AskedTool, Delta, Model, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import Tool
from ledgent.agent.tools.places import Places
from ledgent.agent.tools.results import Wholes, told
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.schemas.codec import MAX_TEXT_BYTES, cut_text, whole_characters
from ledgent.schemas.errors import DeadlineKind, ErrorCode, ErrorInfo, ToolError
from ledgent.schemas.events import (
    AnyEvent,
    MemoryRead,
    MemoryReadStarted,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
)
from ledgent.schemas.values import ToolRequest

MAX_MESSAGE_CHARACTERS = 8_000
"""Of an error's text, other than one that a tool means for the model."""
SLACK_S = 1.0
"""How much later than its own time-out an adapter is stopped."""
WAIT_S = 600.0
"""The longest that a tool call waits for a thread, for its place or for a resource, before it is given up."""


Started = ModelCallStarted | ToolCallStarted | MemoryReadStarted


class Intent(NamedTuple):
    """A call that has been recorded and, once that is durable, is carried out."""

    call: Callable[[], Coroutine[Any, Any, AnyEvent]]
    started: Started
    seq: int
    span: tuple[str | int, ...]


class Outcome(NamedTuple):
    """What came of a call or a timer: an event for the loop to record."""

    event: AnyEvent
    cause: int
    span: tuple[str | int, ...]


async def call_model(
    model: Model,
    started: ModelCallStarted,
    request: ModelRequest,
    left_of: Literal["run", "step"] | None,
    clock: Clock,
    on_delta: Callable[[Delta], None] | None,
    first_call: int = 0,
    on_request: Callable[[ToolRequest], None] | None = None,
) -> ModelCallCompleted | ModelCallFailed:
    """What came of asking the model. Raises only asyncio.CancelledError.

    `left_of`: whose deadline the request's time-out is, where it is not the call's own. Its tool calls are numbered
    from `first_call` on; `on_request` is told of those that are whole before the answer is.
    """
    began, timeout_s = clock.monotonic(), request.timeout_s
    told: list[AskedTool] = []

    def tell(call: AskedTool) -> None:
        told.append(call)
        requests = _requested(started, told, first_call)
        if on_request is not None:
            on_request(requests[-1])

    try:
        # The adapter's own time-out comes first and knows more; this one is for an adapter that keeps none.
        async with asyncio.timeout(timeout_s + SLACK_S) as deadline:
            reply = await model.complete(request, on_delta, tell if on_request is not None else None)
        if told != list(reply.tool_calls[: len(told)]):
            message = "the answer does not begin with the tool calls that it was made of"
            error = ErrorInfo(code=ErrorCode.MALFORMED_RESPONSE, message=message, retryable=True)
            raise ModelFailure(error, reply.usage, reply.cost_usd)
        return _completed(started, reply, first_call, (clock.monotonic() - began) * 1000)
    except ModelFailure as failure:
        error = failure.error.model_copy(update={"message": failure.error.message[:MAX_MESSAGE_CHARACTERS]})
        if left_of is not None and error.deadline == "call":
            error = _all_that_was_left(error, left_of)
        return ModelCallFailed(
            call_id=started.call_id,
            attempt=started.attempt,
            error=error,
            usage=failure.usage,
            cost_usd=failure.cost_usd,
            duration_ms=(clock.monotonic() - began) * 1000,
        )
    except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001  # the worker's edge
        unless_stopped(raised)
        if isinstance(raised, TimeoutError) and deadline.expired():
            message = f"the model did not answer within {timeout_s:g} s and was given up"
            error = ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline="call")
            error = _all_that_was_left(error, left_of)
        else:
            error = defect("the model adapter", raised)
        return ModelCallFailed(
            call_id=started.call_id,
            attempt=started.attempt,
            error=error,
            duration_ms=(clock.monotonic() - began) * 1000,
        )


async def call_tool(
    tool: Tool,
    started: ToolCallStarted,
    arguments: dict[str, object],
    run_id: str,
    left_s: float,
    clock: Clock,
    threads: Places,
    on_delta: Callable[[Delta], None] | None = None,
    on_event: Callable[[AnyEvent], None] | None = None,
    wait_s: float = WAIT_S,
    wholes: Wholes | None = None,
    left_of: Literal["run", "step"] | None = None,
) -> ToolCallCompleted | ToolCallFailed:
    """What came of calling the tool, within the `left_s` that the run has. Raises only asyncio.CancelledError.

    Its time-out counts from when it has what it needs to begin; it waits for that no longer than `wait_s`.
    """
    began, cut = clock.monotonic(), None
    loop_time = asyncio.get_running_loop().time
    end = loop_time() + left_s
    allowed_s = min(tool.spec.timeout_s, left_s)
    turn = tool.turn(threads)
    wholes = wholes or Wholes({}, DirectoryBlobs())
    reports = _reports(started.call_id, on_delta)
    save = on_event and _in_this_loop(on_event)
    about = (run_id, started.call_id, started.idempotency_key, started.attempt)
    context = ToolContext(*about, reports, on_event=save, wholes=wholes)
    waiting = turn is not None
    try:
        async with asyncio.timeout(min(wait_s, left_s) if waiting else allowed_s) as deadline:
            if turn is not None:
                await turn.begin()
                waiting = False
                allowed_s = max(0.0, min(tool.spec.timeout_s, end - loop_time()))
                deadline.reschedule(loop_time() + allowed_s)
            output = await tool.call(arguments, context, turn)
        said = await told(output, started.name, started.call_id, tool.spec.max_result_chars, wholes)
        return ToolCallCompleted(
            call_id=started.call_id,
            attempt=started.attempt,
            result=said.text,
            duration_ms=(clock.monotonic() - began) * 1000,
            files=said.files,
            whole=said.whole,
        )
    except ToolError as answer:
        message, cut = cut_text(str(answer))
        error = ErrorInfo(code=ErrorCode.TOOL_ERROR, message=message)
    except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001  # the worker's edge
        unless_stopped(raised)
        if isinstance(raised, TimeoutError) and deadline.expired():
            message = f"{started.name} did not return within {allowed_s:g} s and was given up"
            kind: DeadlineKind = "tool"
            if waiting and turn is not None:
                waited_s = min(wait_s, left_s)
                message = f"{started.name} was not called: {turn.waits_for} was not free within {waited_s:g} s"
                kind = "wait"
            error = ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline=kind)
            if left_s < (wait_s if waiting else tool.spec.timeout_s):
                error = _all_that_was_left(error, left_of)
        else:
            error = defect(started.name, raised, ErrorCode.TOOL_ERROR, retryable=True)
    return ToolCallFailed(
        call_id=started.call_id,
        attempt=started.attempt,
        error=error,
        duration_ms=(clock.monotonic() - began) * 1000,
        cut=cut,
    )


def _reports(call_id: str, on_delta: Callable[[Delta], None] | None) -> Callable[[str], None] | None:
    """Hands a tool's reports, from whatever thread, to the subscriber in the event loop that runs the call."""
    if on_delta is None:
        return None
    loop = asyncio.get_running_loop()

    def report(text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody listens any more
            loop.call_soon_threadsafe(on_delta, Delta(call_id, "progress", text))

    return report


def _in_this_loop(function: Callable[[AnyEvent], None]) -> Callable[[AnyEvent], None]:
    """Has the function called in the event loop that runs the call, from whatever thread, before the call's outcome."""
    loop = asyncio.get_running_loop()

    def call(event: AnyEvent) -> None:
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is loop:
                function(event)
                return
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody records any more
            loop.call_soon_threadsafe(function, event)

    return call


def cancelled(started: Started) -> ModelCallFailed | ToolCallFailed | MemoryRead:
    """The outcome of a call that was stopped because the run is being cancelled."""
    message = "stopped because the run was cancelled; it may have taken effect"
    error = ErrorInfo(code=ErrorCode.CANCELLED, message=message)
    if isinstance(started, MemoryReadStarted):
        return MemoryRead(query=started.query, error=error.model_copy(update={"message": "the run was cancelled"}))
    outcome = ModelCallFailed if isinstance(started, ModelCallStarted) else ToolCallFailed
    return outcome(call_id=started.call_id, attempt=started.attempt, error=error)


def _requested(started: ModelCallStarted, calls: Sequence[AskedTool], first: int) -> tuple[ToolRequest, ...]:
    """The calls with ids of our own. Raises ModelFailure: a record has no room for them."""
    requests = tuple(
        ToolRequest(
            call_id=f"{started.call_id}.t{number}",
            provider_id=whole_characters(call.provider_id),
            name=whole_characters(call.name),
            arguments=whole_characters(call.arguments),
        )
        for number, call in enumerate(calls, first)
    )
    asked = sum(len(request.model_dump_json()) for request in requests)
    if asked > MAX_TEXT_BYTES:
        message = f"the model asked for tool calls of {asked:,} bytes; a record has room for {MAX_TEXT_BYTES:,}"
        raise ModelFailure(ErrorInfo(code=ErrorCode.TOO_LARGE, message=message))
    return requests


def _completed(
    started: ModelCallStarted, reply: ModelReply, first_call: int, duration_ms: float
) -> ModelCallCompleted | ModelCallFailed:
    try:
        tool_calls = _requested(started, reply.tool_calls, first_call)
    except ModelFailure as failure:
        raise ModelFailure(failure.error, reply.usage, reply.cost_usd) from failure
    text, cut = cut_text(reply.text) if reply.text is not None else (None, None)
    reasoning, _ = cut_text(reply.reasoning) if reply.reasoning is not None else (None, None)
    return ModelCallCompleted(
        call_id=started.call_id,
        attempt=started.attempt,
        text=text,
        reasoning=reasoning,
        tool_calls=tool_calls,
        usage=reply.usage,
        cost_usd=reply.cost_usd,
        finish_reason=_name(reply.finish_reason),
        model=_name(reply.model),
        response_id=_name(reply.response_id),
        first_token_ms=reply.first_token_ms,
        duration_ms=duration_ms,
        cut=cut,
        purpose=started.purpose,
    )


def _name(text: str | None) -> str | None:
    """As the provider wrote it, unless it is no name."""
    return whole_characters(text[:MAX_MESSAGE_CHARACTERS]) if text is not None else None


def unless_stopped(raised: BaseException) -> None:
    """Raises it again when it is this call that is being cancelled, and not something that it had waited for."""
    task = asyncio.current_task()
    if isinstance(raised, asyncio.CancelledError) and task is not None and task.cancelling():
        raise raised


def _all_that_was_left(error: ErrorInfo, left_of: Literal["run", "step"] | None) -> ErrorInfo:
    """The error, when what passed was the deadline of the run or the step."""
    if left_of is None:
        return error
    return error.model_copy(update={"message": f"{error.message}: the {left_of}'s time is up", "deadline": left_of})


def defect(
    where: str, raised: BaseException, code: ErrorCode = ErrorCode.INTERNAL, retryable: bool = False
) -> ErrorInfo:
    """What it raised, as an event carries it."""
    text = f"{where} raised {type(raised).__name__}: {raised}"[:MAX_MESSAGE_CHARACTERS]
    return ErrorInfo(code=code, message=whole_characters(text), retryable=retryable)
