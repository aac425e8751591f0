"""The worker: takes requests from the log, claims their runs, works on many at once until told to stop. No policy."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from ledgent.agent.clock import Clock, SystemClock
from ledgent.agent.current import RUN_ID
from ledgent.agent.fork import Shared, forked_agent, shared_at
from ledgent.agent.loop import RunLoop
from ledgent.agent.resilience.shared import follow
from ledgent.agent.running import attended_loop, check_priced
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord, RunWriter
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import whole_characters
from ledgent.schemas.errors import (
    BrokenHistory,
    ConcurrentAppend,
    ErrorCode,
    ErrorInfo,
    LogCorrupt,
    LogError,
    LogFull,
    LogUnavailable,
    UnknownEventType,
    UnreadableRecord,
    UsageError,
)
from ledgent.schemas.events import RunClaimed, RunFailed
from ledgent.schemas.ports import Blobs, Log
from ledgent.schemas.requests import AnyRequest, StartRun
from ledgent.schemas.run import replay
from ledgent.schemas.state import RunState
from ledgent.schemas.values import ForkedFrom

logger = logging.getLogger("ledgent.worker")

TAKE_WAIT_S = 0.5
BUSY_WAIT_S = 0.1
"""How long a request may lie while the worker waits for one of its runs to end."""
DRAIN_S = 10.0
"""How long calls under way may take when a worker leaves: less than others wait before they take its runs for dead."""
MOST_REQUESTS = 100
MOST_CHARACTERS = 8_000
"""Of a defect's text."""


class Worker:
    """Runs the requests of the agents it knows, those of dead processes included."""

    def __init__(
        self,
        log: Log,
        agents: Mapping[str, Definition],
        *,
        concurrency: int = 64,
        clock: Clock | None = None,
        on_record: OnRecord | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        self._log = log
        self._agents = dict(agents)
        self._concurrency = concurrency
        self._clock = clock or SystemClock()
        self._on_record = on_record
        self._blobs = blobs
        self._loops: dict[str, RunLoop | None] = {}
        self._waiting: dict[str, list[AnyRequest]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaves_within_s: float | None = None

    async def work(
        self, *, until_idle: bool = False, stop: asyncio.Event | None = None, drain_s: float = DRAIN_S
    ) -> None:
        """Works until cancelled (or, with `until_idle`, until nothing is open); then each run is handed over.

        Once `stop` is set it takes nothing more, begins nothing more, and hands each run over when its calls under way
        have ended, after `drain_s` at the latest.

        Raises LogFull, LogUnavailable: a worker without a log stops.
        """
        known = frozenset(self._agents)
        following = asyncio.create_task(follow(self._log, self._log.writer, self._clock))
        try:
            async with asyncio.TaskGroup() as group:
                leaving = group.create_task(self._leave(stop, drain_s)) if stop is not None else None
                while stop is None or not stop.is_set():
                    room = self._concurrency - len(self._loops)
                    if room > 0:
                        requests = await self._log.take(known, room, 0.0 if until_idle else TAKE_WAIT_S)
                    else:  # only what its own runs are told
                        requests = await self._log.take(None, MOST_REQUESTS, 0.0)
                    for run_id in self._log.lost():
                        self._hand_over(run_id)
                    for request in requests:
                        self._hand_out(request, group)
                    if until_idle and room > 0 and not requests and not self._loops:
                        if leaving is not None:
                            leaving.cancel()
                        return
                    if self._tasks and (room <= 0 or until_idle):
                        await asyncio.wait(
                            self._tasks.values(), return_when=asyncio.FIRST_COMPLETED, timeout=BUSY_WAIT_S
                        )
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            following.cancel()

    async def _leave(self, stop: asyncio.Event, drain_s: float) -> None:
        """Tells the loops at once: `work` may be waiting for requests."""
        await stop.wait()
        self._leaves_within_s = drain_s
        for loop in filter(None, self._loops.values()):
            loop.leave(drain_s)

    def _hand_out(self, request: AnyRequest, group: asyncio.TaskGroup) -> None:
        run_id = request.run_id
        if loop := self._loops.get(run_id) or attended_loop(self._log, run_id):
            loop.post(request)
        elif run_id in self._loops:
            self._waiting.setdefault(run_id, []).append(request)
        else:
            self._loops[run_id] = None
            self._tasks[run_id] = group.create_task(self._run(request))

    def _hand_over(self, run_id: str) -> None:
        """Somebody else is to work on the run: its outcomes that are in are recorded, nothing more is started."""
        if (task := self._tasks.get(run_id)) and not task.cancelling():
            task.cancel()

    async def _run(self, request: AnyRequest) -> None:
        run_id = request.run_id
        RUN_ID.set(run_id)
        loop: RunLoop | None = None
        left = [request]
        try:
            loop = await self._claimed(request)
            left = []
            if loop is not None:
                self._loops[run_id] = loop
                for waiting in self._waiting.pop(run_id, []):
                    loop.post(waiting)
                if self._leaves_within_s is not None:
                    loop.leave(self._leaves_within_s)
                await loop.work()
        except ConcurrentAppend as lost:
            logger.info("run %s was taken by another process: %s", run_id, lost)
        except (LogUnavailable, LogFull, LogCorrupt, UnknownEventType):
            raise  # no run of this worker can go on
        except Exception as defect:  # the worker's edge: what breaks one run stops no other
            logger.exception("run %s failed by a defect", run_id)
            await self._fail(request, defect)
        finally:
            left += self._waiting.pop(run_id, [])
            del self._loops[run_id], self._tasks[run_id]
            await self._give_back(loop, left)

    async def _give_back(self, loop: RunLoop | None, requests: list[AnyRequest]) -> None:
        if loop is not None:
            await loop.let_go()
        if requests:
            with contextlib.suppress(LogError, LogUnavailable):  # a log that has failed takes nothing back
                await asyncio.shield(self._log.release([request.request_id for request in requests]))

    async def _read(self, run_id: str) -> tuple[RunState, Guard]:
        """The run as the log has it; new when the log has none."""
        if await asyncio.to_thread(self._log.head, run_id) is None:
            return RunState(run_id), Guard()
        replayed = await asyncio.to_thread(lambda: replay(run_id, self._log.records(run_id)))
        return replayed.state, replayed.guard

    async def _claimed(self, request: AnyRequest) -> RunLoop | None:
        """The loop of the run, its claim recorded; None when there is nothing to work on."""
        try:
            state, guard = await self._read(request.run_id)
        except (BrokenHistory, UnreadableRecord) as broken:
            logger.error("%s", broken)
            await self._log.finish([request.request_id], refused=str(broken))
            return None
        if guard.ended:
            await self._log.finish([request.request_id], refused="the run has ended")
            return None
        agent = self._agents.get(state.agent.name if state.agent else getattr(request, "agent", ""))
        if agent is None:
            await self._fail_unknown(request, state, guard)
            return None
        begins = request if state.agent is None and isinstance(request, StartRun) else None
        origin = begins.forked_from if begins else state.origin
        try:
            if origin is not None:
                agent = forked_agent(agent, origin.model, begins.instructions if begins else None)
            if begins:
                check_priced(agent, begins.limits)
            shared = await self._shared(origin, begins.texts) if begins and origin else None
        except (UsageError, BrokenHistory, UnreadableRecord) as refusal:
            error = ErrorInfo(code=ErrorCode.INVALID_REQUEST, message=str(refusal))
            await self._end(request, state, guard, error)
            return None
        loop = RunLoop(self._log, agent, state, guard, self._clock, self._on_record, blobs=self._blobs)
        if begins:
            loop.begin(begins, accept=False, shared=shared)
        else:
            loop.take_up()
            loop.post(request)
        return loop

    async def _shared(self, wanted: ForkedFrom, texts: tuple[str, ...]) -> Shared:
        """What the run that is gone on from has to give, edited. Raises UsageError."""
        there = await asyncio.to_thread(
            shared_at, self._log, wanted.run_id, wanted.seq, wanted.tools, wanted.upto or None
        )
        told = {"allowed": wanted.allowed, "model": wanted.model}
        shared = there._replace(forked_from=there.forked_from.model_copy(update=told))
        shared = shared.edited(dict(zip(wanted.edited, texts, strict=False)))
        if shared.forked_from != wanted:
            raise UsageError(f"run {wanted.run_id} is not in this log as it was when it was asked to be restored")
        return shared

    async def _fail_unknown(self, request: AnyRequest, state: RunState, guard: Guard) -> None:
        """An agent that nobody here knows fails a run, but only one that has not begun."""
        if guard.seq or not isinstance(request, StartRun):
            await self._log.release([request.request_id])
            return
        known = ", ".join(sorted(self._agents)) or "none"
        message = f"no agent is named {request.agent!r}; this worker knows: {known}"
        await self._end(request, state, guard, ErrorInfo(code=ErrorCode.UNKNOWN_AGENT, message=message))

    async def _fail(self, request: AnyRequest, defect: Exception) -> None:
        """Ends a run that a defect has stopped, with the defect as its reason."""
        text = whole_characters(f"a defect stopped this run: {type(defect).__name__}: {defect}"[:MOST_CHARACTERS])
        try:
            state, guard = await self._read(request.run_id)
            if not guard.ended:
                await self._end(request, state, guard, ErrorInfo(code=ErrorCode.INTERNAL, message=text))
        except ConcurrentAppend as lost:
            logger.info("run %s was taken by another process: %s", request.run_id, lost)

    async def _end(self, request: AnyRequest, state: RunState, guard: Guard, error: ErrorInfo) -> None:
        writer = RunWriter(self._log, state, guard, self._clock, self._on_record)
        writer.claim()
        claimed = writer.record(RunClaimed(reason="taken_over" if guard.seq else "started"), None)
        writer.record(RunFailed(error=error), claimed.seq)
        writer.finish([request.request_id])
        await writer.flush()
