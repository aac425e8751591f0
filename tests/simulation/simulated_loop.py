"""An event loop on which no time passes but what is waited for, and on which processes can be killed and paused.

What a process does runs in a context of its own, in which `PROCESS` names it. Between any two callbacks it can be held
still, and goes on later as if nothing had been, or be dead: then nothing of it runs any more.
"""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

PROCESS: "contextvars.ContextVar[Process]" = contextvars.ContextVar("PROCESS")

Held = tuple[list[asyncio.Handle], Callable[..., Any], tuple[Any, ...], contextvars.Context]


class StandsStill(Exception):
    """Nothing is left that could ever happen."""


class Process:
    """Something that can die alone."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.dead = False
        self.paused = False
        self.task: asyncio.Task[None] | None = None
        self._held: list[Held] = []
        self._buried = False

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        self.task = self.loop.create_task(main, context=context)

    def kill(self) -> None:
        """As SIGKILL: between two callbacks, without a chance to do anything."""
        self.dead, self.paused = True, False

    def pause(self) -> None:
        """As SIGSTOP."""
        self.paused = not self.dead

    def wake(self) -> None:
        """As SIGCONT: everything that fell due meanwhile happens now."""
        self.paused = False
        self._go_on()

    def _go_on(self) -> None:
        held, self._held = self._held, []
        for cell, callback, args, context in held:
            self.loop.call_soon(self.run, cell, callback, args, context, context=contextvars.Context())

    def run(
        self, cell: list[asyncio.Handle], callback: Callable[..., Any], args: tuple[Any, ...], context: Any
    ) -> None:
        """Runs a callback of this process, now or when it wakes; never, once it is dead."""
        if cell[0].cancelled():
            return
        if self.paused or (self.dead and not self._buried):
            self._held.append((cell, callback, args, context))
        else:
            context.run(callback, *args)

    def bury(self) -> None:
        """Has what is left of a dead process come to an end, so that no coroutine is left open. Its log refuses all."""
        self._buried = True
        self._go_on()
        if self.task is not None:
            self.task.cancel()


class _PassingTime(selectors.DefaultSelector):
    """Waits for nothing: the time is simply over."""

    loop: "SimulatedLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StandsStill
        self.loop.now += max(timeout, 0.0)
        return []


class _Task(asyncio.Task[Any]):
    """Sets of tasks are in the order in which these were made, not where they happen to be in memory."""

    number: int

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0 s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.problems: list[str] = []
        """What callbacks and forgotten tasks have raised."""
        self._tasks_made = 0
        selector = _PassingTime()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_make_task)  # type: ignore[arg-type]  # typeshed lacks the context
        self.set_exception_handler(self._note_problem)

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        cell: list[asyncio.Handle] = []
        # In a context of nobody: the process enters its own once it may.
        handle = super().call_soon(process.run, cell, callback, args, context, context=contextvars.Context())
        cell.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        cell: list[asyncio.Handle] = []
        handle = super().call_at(when, process.run, cell, callback, args, context, context=contextvars.Context())
        cell.append(handle)
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """There are no threads: it runs at once, and its result comes a moment later."""
        future = self.create_future()

        def settle(done: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                done(value)

        try:
            self.call_soon(settle, future.set_result, function(*args))
        except Exception as error:  # noqa: BLE001  # handed to who waits
            self.call_soon(settle, future.set_exception, error)
        return future

    def outside(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Happens after so many seconds whatever becomes of the process that asks for it."""
        super().call_at(self.now + delay_s, callback, *args, context=contextvars.Context())

    def _note_problem(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        if "was destroyed but it is pending" not in context["message"]:
            self.problems.append(f"{context['message']}: {context.get('exception')!r}")


def _make_task(loop: SimulatedLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> _Task:
    task = _Task.__new__(_Task)
    loop._tasks_made += 1
    task.number = loop._tasks_made
    task.__init__(coro, loop=loop, **options)  # type: ignore[misc]
    return task
