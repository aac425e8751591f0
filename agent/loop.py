"""One run at work: folds, decides, records, carries out, again until it ends or waits. No policy.

Every intent is durable before it starts, every outcome before anyone is told of it. Outcomes of calls come in through
one queue; after each record folded the loop decides, and records all intents before it takes the next outcome. So an
outcome rides to the log with the intents that follow from it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from ledgent.agent.applying import event_of, refusal_of
from ledgent.agent.carry_out import Intent, Outcome, cancelled
from ledgent.agent.clock import Clock
from ledgent.agent.current import RUN_ID
from ledgent.agent.decide import decide
from ledgent.agent.fork import Shared
from ledgent.agent.intents import Intents
from ledgent.agent.models.port import Delta
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord, RunWriter
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.errors import ErrorCode, ErrorInfo, LogError, LogUnavailable, RecordTooLarge
from ledgent.schemas.events import (
    RunClaimed,
    RunFailed,
    RunStarted,
    RunSuspended,
    TimerFired,
)
from ledgent.schemas.ports import Blobs, Log
from ledgent.schemas.requests import AnyRequest, StartRun
from ledgent.schemas.state import Phase, RunState


class Leaving(NamedTuple):
    """Put into a loop's queue: it is to hand its run over."""

    drain_s: float


class RunLoop:
    """Works on one run that its process claims. One task at a time may be in `work`."""

    def __init__(
        self,
        log: Log,
        agent: Definition,
        state: RunState,
        guard: Guard,
        clock: Clock,
        on_record: OnRecord | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        self._log = log
        self._agent = agent
        self._clock = clock
        self._writer = RunWriter(log, state, guard, clock, on_record)
        self._incoming: asyncio.Queue[Outcome | AnyRequest | Leaving] = asyncio.Queue()
        post, keep = self._incoming.put_nowait, blobs or DirectoryBlobs()
        self._intents = Intents(agent, self._writer, clock, on_delta, self._set_timer, post, log, keep)
        self._calls: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._in_hand: list[str] = []
        self._drain_s: float | None = None

    @property
    def state(self) -> RunState:
        """As of the last record made; it may not be durable yet."""
        return self._writer.state

    def begin(self, request: StartRun, *, accept: bool, shared: Shared | None = None) -> None:
        """Records the claim and start of a new run; with `accept` the request goes to the log in the same commit.

        `shared`: what it takes over of the run that it goes on from.

        Raises RecordTooLarge, before anything is written.
        """
        if accept:
            self._writer.accept(request)
        self._in_hand.append(request.request_id)
        self._writer.claim()
        self._writer.record(RunClaimed(reason="started"), None)
        limits = self._agent.limits
        if request.limits is not None:
            limits = limits.model_copy(update=request.limits.model_dump(exclude_none=True))
        started = RunStarted(
            request_id=request.request_id,
            agent=self._agent.spec,
            input=request.input,
            limits=limits,
            session=request.session,
            labels=request.labels,
            forked_from=shared.origin_of(self._agent.spec, limits) if shared else None,
            files=request.files,
        )
        try:
            self._writer.record(started, 1)
            for event in shared.events if shared else ():
                self._writer.record(event, 2)
        except RecordTooLarge as error:
            if accept:
                raise
            self._writer.record(RunFailed(error=ErrorInfo(code=ErrorCode.TOO_LARGE, message=str(error))), 1)

    def take_up(self) -> None:
        """Records the claim on a run that has begun, and sets its timers again."""
        self._writer.claim()
        resumed = self.state.suspended is not None
        self._writer.record(RunClaimed(reason="resumed" if resumed else "taken_over"), None)
        now = self._clock.now()
        for call in (self.state.model_call, *self.state.tool_calls.values()):
            if call and call.phase is Phase.WAITING and call.due_at and call.timer_seq:
                self._set_timer((call.due_at - now).total_seconds(), call.timer_seq, ())

    def post(self, request: AnyRequest) -> None:
        """Hands the loop a request for its run."""
        self._incoming.put_nowait(request)

    def accept(self, request: AnyRequest) -> None:
        """Hands the loop a request that the log does not have yet: the next append stores it too."""
        self._writer.accept(request)
        self.post(request)

    def leave(self, drain_s: float) -> None:
        """Has the run handed over once the calls under way have ended, or after so many seconds."""
        self._incoming.put_nowait(Leaving(drain_s))

    async def let_go(self) -> None:
        """Gives back the requests that this loop has not finished, for whoever works on the run next."""
        left, self._in_hand = self._in_hand + self._late(), []
        if left:
            with contextlib.suppress(LogError, LogUnavailable):  # a log that has failed takes nothing back
                await asyncio.shield(self._log.release(left))

    def _late(self) -> list[str]:
        """The requests that nobody has looked at."""
        late = []
        while not self._incoming.empty():
            if not isinstance(incoming := self._incoming.get_nowait(), Outcome | Leaving):
                late.append(incoming.request_id)
        return late

    async def work(self) -> RunState:
        """Works until the run ends or is suspended; its state then. When cancelled or told to leave, it hands it over.

        Raises ConcurrentAppend when another writer took the run, LogFull, LogUnavailable.
        """
        RUN_ID.set(self.state.run_id)
        try:
            async with asyncio.TaskGroup() as group:
                await self._work(group)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        except asyncio.CancelledError:
            await _to_its_end(self._hand_over())
            raise
        finally:
            self._drop_timers()
        if self.state.ended:
            self._intents.let_go()
            if late := self._late():
                await self._refuse(late, "the run has ended")
        return self.state

    async def _refuse(self, request_ids: list[str], refusal: str) -> None:
        self._in_hand += request_ids  # what cannot be refused is given back
        await self._writer.flush()  # the requests themselves may be on their way to the log
        await self._log.finish(request_ids, refused=refusal)
        self._in_hand = [in_hand for in_hand in self._in_hand if in_hand not in request_ids]

    async def _work(self, group: asyncio.TaskGroup) -> None:
        self._decide()  # what follows from the claim comes before any request
        while True:
            while not self._incoming.empty():
                await self._take_in(self._incoming.get_nowait())
            self._decide()
            waits = self.state.suspended is not None
            if self.state.ended or waits:
                self._writer.finish(self._in_hand)
            await self._writer.flush()
            if self.state.ended or waits:
                self._in_hand = []  # not sooner: what could not be finished is given back
                return
            self._start(group)
            if self._drain_s is not None:
                if self._calls:
                    await asyncio.wait(self._calls, timeout=self._drain_s)
                raise asyncio.CancelledError  # the run is handed over
            await self._take_in(await self._incoming.get())

    def _start(self, group: asyncio.TaskGroup) -> None:
        """Begins the calls whose intents have become durable; once the run is being cancelled, stops all instead."""
        cancelling = self.state.cancel_requested is not None
        for intent in self._intents.starting:
            if cancelling:  # a task cancelled before its first step would have no outcome
                self._incoming.put_nowait(Outcome(cancelled(intent.started), intent.seq, intent.span))
                continue
            task = group.create_task(self._outcome_of(intent))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        self._intents.starting.clear()
        if cancelling:
            for task in self._calls:
                task.cancel()

    async def _take_in(self, incoming: "Outcome | AnyRequest | Leaving") -> None:
        if isinstance(incoming, Leaving):
            self._drain_s = incoming.drain_s
            return
        if isinstance(incoming, Outcome):
            if not self.state.ended:
                self._writer.record(incoming.event, incoming.cause, *incoming.span)
        elif refusal := refusal_of(incoming, self.state):
            await self._refuse([incoming.request_id], refusal)
        else:
            self._in_hand.append(incoming.request_id)
            if event := event_of(incoming, self.state):
                self._writer.record(event, None)
        self._decide()

    def _decide(self) -> None:
        """Records all intents that follow, until nothing more does."""
        while commands := decide(self.state):
            cause = self.state.seq
            for command in commands:
                self._intents.record(command, cause)

    async def _outcome_of(self, intent: Intent) -> None:
        try:
            event = await intent.call()
        except asyncio.CancelledError:
            if self.state.cancel_requested is None:
                raise
            event = cancelled(intent.started)
        self._incoming.put_nowait(Outcome(event, intent.seq, intent.span))

    def _set_timer(self, delay_s: float, seq: int, span: tuple[str | int, ...]) -> None:
        fired = Outcome(TimerFired(timer_seq=seq), seq, span)
        self._timers.append(self._clock.call_later(max(0.0, delay_s), lambda: self._incoming.put_nowait(fired)))

    def _drop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._intents.starting.clear()

    async def _hand_over(self) -> None:
        """Records the outcomes that are in, and that the run is anybody's; calls under way follow the crash rule."""
        while not self._incoming.empty():
            incoming = self._incoming.get_nowait()
            if isinstance(incoming, Outcome):
                if not self.state.ended:
                    self._writer.record(incoming.event, incoming.cause, *incoming.span)
            elif not isinstance(incoming, Leaving):
                self._in_hand.append(incoming.request_id)
        if not self.state.ended and self.state.seq:
            self._writer.record(RunSuspended(reason="handed_over"), None)
        await self._writer.flush()
        await self.let_go()


async def _to_its_end(handing_over: Coroutine[Any, Any, None]) -> None:
    """Awaits it, however often this task is cancelled meanwhile: who left half-way would leave the run held."""
    task = asyncio.ensure_future(handing_over)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()
