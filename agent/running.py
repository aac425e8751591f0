"""Runs in the calling process: the entries behind `Agent.run`, `run_sync` and `stream`. No decisions."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from ledgent.agent.clock import Clock, SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Delta
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.identity import new_request_id, new_run_id
from ledgent.producers.opening import shared_log
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import Limits
from ledgent.schemas.errors import ErrorInfo, LogError, LogUnavailable, UsageError
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import StartRun, encode_request
from ledgent.schemas.settings import Settings
from ledgent.schemas.state import RunState, Spent, Status

T = TypeVar("T")


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

    @property
    def ok(self) -> bool:
        """Whether the run completed, or waits for the user."""
        return self.status in (Status.COMPLETED, Status.SUSPENDED)

    def __str__(self) -> str:
        return self.output or ""


def result_of(state: RunState) -> RunResult:
    """What a caller is told of a state."""
    return RunResult(state.run_id, state.status, state.output, state.error, state.limit, state.spent)


def log_at(log: Log | str | None) -> Log:
    """The log itself, or this process's shared one at the URL, or at LEDGENT_LOG."""
    if log is None or isinstance(log, str):
        return shared_log(log or Settings().log)
    return log


def start_request(
    agent: str, input: str | None, limits: Limits | None, session: str | None, labels: dict[str, str] | None
) -> StartRun:
    """A request for a new run, with its ids. Raises UsageError for fields of the wrong type, RecordTooLarge."""
    if input is not None and not isinstance(input, str):
        raise UsageError(f"a run's input is a text, not {type(input).__name__}")
    request = StartRun(
        request_id=new_request_id(),
        run_id=new_run_id(),
        agent=agent,
        input=input,
        limits=limits,
        session=session,
        labels=labels or {},
    )
    encode_request(request)  # what cannot be stored is refused before anything begins
    return request


def check_priced(agent: Definition, limits: Limits | None) -> None:
    """Raises UsageError when a cost is limited that nobody could count."""
    limited = agent.limits.cost_usd is not None or (limits is not None and limits.cost_usd is not None)
    if limited and not agent.live_model.priced():
        raise UsageError(
            f"agent {agent.name}: cost_usd is limited but the price of {agent.live_model.spec.name} is not known: "
            "pass prices= to the model"
        )


async def run_agent(
    agent: Definition,
    request: StartRun,
    log: Log | str | None,
    on_record: OnRecord | None,
    on_delta: Callable[[Delta], None] | None,
    clock: Clock | None = None,
) -> RunResult:
    """Claims the new run in this process, in one commit with its request, and works on it."""
    if request.input is None and not agent.conversational:
        raise UsageError(f"agent {agent.name} is not conversational: a run of it needs an input")
    check_priced(agent, request.limits)
    opened = log_at(log)
    state = RunState(request.run_id)
    loop = RunLoop(opened, agent, state, Guard(), clock or SystemClock(), on_record, on_delta)
    loop.begin(request, accept=True)
    try:
        with attended(opened, loop):
            return result_of(await loop.work())
    finally:
        await loop.let_go()


async def stream_agent(run: Callable[..., Coroutine[Any, Any, RunResult]]) -> AsyncIterator[Delta | RunResult]:
    """Yields each delta of the run, then its result; leaving early hands it over."""
    queue: asyncio.Queue[Delta | None] = asyncio.Queue()
    task = asyncio.ensure_future(run(on_delta=queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (delta := await queue.get()) is not None:
            yield delta
        yield task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])


def blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, awaited on an event loop of its own; inside a running loop, in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((asyncio.run(coroutine), None))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            outcome.extend((None, error))

    thread = threading.Thread(target=run, name="ledgent-sync")
    thread.start()
    thread.join()
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


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
