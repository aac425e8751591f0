"""Runs in the calling process: the entries behind `Agent.run`, `run_sync` and `stream`. No decisions."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ledgent.agent.clock import Clock, SystemClock
from ledgent.agent.fork import Shared
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Delta
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.identity import new_request_id, new_run_id
from ledgent.producers.opening import shared_log
from ledgent.producers.submit import cancel_run
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import Limits
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import ErrorInfo, LogError, LogUnavailable, RequestRefused, UsageError
from ledgent.schemas.events import ModelCallFailed
from ledgent.schemas.ports import Blobs, Log
from ledgent.schemas.requests import StartRun, encode_request
from ledgent.schemas.settings import Settings
from ledgent.schemas.state import Phase, RunState, Spent, Status, ToolCall
from ledgent.schemas.values import ForkedFrom, Part

SOON_S = 0.05

OnResult = Callable[[int, "RunResult"], None]
"""Told of each run of a batch as it ends: which input's it is, from 0, and its result."""


class RunResult(NamedTuple):
    """How a run stands after `run`: ended, or waiting for the user's next message."""

    run_id: str
    status: Status
    output: str | None
    """The last answer; what a limited or failed run had said so far."""
    error: ErrorInfo | None
    limit: str | None
    """Which limit ended the run."""
    spent: Spent
    value: Any = None
    """The output as an instance of the agent's output type, where it has one and the answer is of it."""
    waits_for: str | None = None
    """What a suspended run waits for: `input`, the next message, `approval` of its calls, or an `answer`."""
    waiting: tuple[ToolCall, ...] = ()
    """The calls that wait for a person: each with its `request`, and with its `question` and `choices` if it asks."""

    @property
    def ok(self) -> bool:
        """Whether the run completed, or waits for the user."""
        return self.status in (Status.COMPLETED, Status.SUSPENDED)

    def __str__(self) -> str:
        return self.output or ""


def result_of(state: RunState, agent: Definition) -> RunResult:
    """What a caller is told of a state."""
    value = None
    if agent.output_type is not None and state.checked and state.output is not None:
        value = agent.output_type.value(state.output)
    held = tuple(call for call in state.tool_calls.values() if call.phase is Phase.HELD)
    return RunResult(
        state.run_id, state.status, state.output, state.error, state.limit, state.spent, value, state.suspended, held
    )


def log_at(log: Log | str | None) -> Log:
    """The log itself, or this process's shared one at the URL, or at LEDGENT_LOG."""
    if log is None or isinstance(log, str):
        return shared_log(log or Settings().log)
    return log


def blobs_at(blobs: Blobs | str | None) -> Blobs:
    """The blob store itself, or that in the directory, or in LEDGENT_BLOBS."""
    return DirectoryBlobs(blobs) if blobs is None or isinstance(blobs, str) else blobs


def start_request(
    agent: str,
    input: str | None,
    limits: Limits | None,
    session: str | None,
    labels: dict[str, str] | None,
    forked_from: ForkedFrom | None = None,
    files: Sequence[Part] = (),
) -> StartRun:
    """A request for a new run, with its ids. Raises UsageError for fields of the wrong type, RecordTooLarge."""
    if input is not None and not isinstance(input, str):
        raise UsageError(f"a run's input is a text, not {type(input).__name__}")
    if files and input is None:
        raise UsageError("files come with an input: what is to be done with them")
    request = StartRun(
        request_id=new_request_id(),
        run_id=new_run_id(),
        agent=agent,
        input=input,
        limits=limits,
        session=session,
        labels=labels or {},
        forked_from=forked_from,
        files=tuple(files),
    )
    encode_request(request)  # what cannot be stored is refused before anything begins
    return request


def check_priced(agent: Definition, limits: Limits | None) -> None:
    """Raises UsageError when a cost is limited that nobody could count."""
    limited = agent.limits.cost_usd is not None or (limits is not None and limits.cost_usd is not None)
    unknown = [model.spec.name for model in agent.live_models if not model.priced()] if limited else []
    if unknown:
        raise UsageError(
            f"agent {agent.name}: cost_usd is limited but the price of {' and '.join(unknown)} is not known: "
            "pass prices= to the model"
        )


async def run_agent(
    agent: Definition,
    request: StartRun,
    log: Log | str | None,
    on_record: OnRecord | None,
    on_delta: Callable[[Delta], None] | None,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    shared: Shared | None = None,
    blobs: Blobs | None = None,
) -> RunResult:
    """Claims the new run in this process, in one commit with its request, and works on it.

    `shared`: what it takes over of the run that it goes on from.
    """
    if request.input is None and not agent.conversational and not shared:
        raise UsageError(f"agent {agent.name} is not conversational: a run of it needs an input")
    check_priced(agent, request.limits)
    opened = log_at(log)
    state = RunState(request.run_id)
    loop = RunLoop(opened, agent, state, Guard(), clock or SystemClock(), on_record, on_delta, blobs)
    loop.begin(request, accept=True, shared=shared)
    try:
        with attended(opened, loop):
            async with _stopped_by(stop, opened, loop):
                return result_of(await loop.work(), agent)
    finally:
        await loop.let_go()


@contextlib.asynccontextmanager
async def _stopped_by(stop: asyncio.Event | None, log: Log, loop: RunLoop) -> AsyncIterator[None]:
    """While the block lasts, the run is cancelled once `stop` is set."""

    async def cancel(stop: asyncio.Event) -> None:
        await stop.wait()
        while loop.state.seq and not loop.state.ended:
            try:
                await cancel_run(log, loop.state.run_id, "stopped by its caller")
                return
            except RequestRefused:  # not in the log yet, or not any more
                await asyncio.sleep(SOON_S)

    if stop is None:
        yield
        return
    watching = asyncio.create_task(cancel(stop))
    try:
        yield
    finally:
        watching.cancel()


async def run_batch(
    run: Callable[[str], Coroutine[Any, Any, RunResult]],
    inputs: Iterable[str],
    concurrency: int,
    on_result: OnResult | None,
) -> list[RunResult]:
    """One run for each input, so many at a time; the results in the order of the inputs."""
    if concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}: at least one run at a time")
    if isinstance(inputs, str):
        raise UsageError("run_many takes several inputs: a list of texts")
    results = dict[int, RunResult]()
    numbered = enumerate(inputs)

    async def work() -> None:
        for number, input in numbered:  # one iterator for all: each takes what comes next
            results[number] = await run(input)
            if on_result is not None:
                on_result(number, results[number])

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return [results[number] for number in sorted(results)]


async def stream_agent(
    run: Callable[..., Coroutine[Any, Any, RunResult]], on_record: OnRecord | None = None
) -> AsyncGenerator[Delta | RunResult, None]:
    """Yields each delta of the run, with what its attempt has said so far, then the result; leaving hands it over."""
    queue: asyncio.Queue[Delta | None] = asyncio.Queue()
    said = defaultdict[tuple[str, str], str](str)

    def take(delta: Delta) -> None:
        key = (delta.call_id, delta.kind)
        said[key] = delta.text if delta.kind == "progress" else said[key] + delta.text
        queue.put_nowait(delta._replace(so_far=said[key]))

    def see(record: Recorded) -> None:
        if isinstance(record.event, ModelCallFailed):  # the next attempt begins anew
            for key in [key for key in said if key[0] == record.event.call_id]:
                del said[key]
        if on_record is not None:
            on_record(record)

    task = asyncio.ensure_future(run(on_delta=take, on_record=see))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (delta := await queue.get()) is not None:
            yield delta
        yield task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])


class _Attendant:
    """Takes the requests for the runs that one event loop has in hand: a cancel may come from another process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.loops: dict[str, RunLoop] = {}
        self.task: asyncio.Task[None] | None = None

    async def attend(self) -> None:
        while self.loops:
            await asyncio.sleep(0.1)
            try:
                requests = await self._log.take(None, 100, 0.0)
            except (LogError, LogUnavailable):
                return  # the runs meet the same error on their next append, and tell it
            for request in requests:
                if loop := self.loops.get(request.run_id):
                    loop.post(request)
                else:
                    await self._log.release([request.request_id])


_attendants: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Attendant]] = WeakKeyDictionary()


@contextlib.contextmanager
def attended(log: Log, loop: RunLoop) -> Any:
    """While the block lasts, requests for the loop's run are handed to it."""
    by_writer = _attendants.setdefault(asyncio.get_running_loop(), {})
    attendant = by_writer.get(log.writer)
    if attendant is None:
        attendant = by_writer[log.writer] = _Attendant(log)
    attendant.loops[loop.state.run_id] = loop
    if attendant.task is None or attendant.task.done():
        attendant.task = asyncio.get_running_loop().create_task(attendant.attend())
    try:
        yield
    finally:
        del attendant.loops[loop.state.run_id]
        if not attendant.loops and attendant.task is not None:
            attendant.task.cancel()


def attended_loop(log: Log, run_id: str) -> RunLoop | None:
    """The loop that works on the run beside a worker, on the same event loop and log: a tool may run an agent."""
    attendant = _attendants.get(asyncio.get_running_loop(), {}).get(log.writer)
    return attendant.loops.get(run_id) if attendant else None
