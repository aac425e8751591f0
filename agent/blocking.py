"""Async work for code that is not async: once, or piece by piece on an event loop that stays. No agents, no runs."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


def blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, awaited on an event loop of its own; inside a running loop, in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with Background() as background:
        return background.wait(coroutine)


class Background:
    """An event loop in a thread of its own, while the block lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ledgent-sync", daemon=True)
        self._thread.start()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result. What interrupts the wait, as Ctrl-C does, cancels it, and waits until it has seen to its end."""
        task = asyncio.run_coroutine_threadsafe(_caught(coroutine), self._loop)
        try:
            results, error = task.result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._cancel_all)
            task.exception()
            raise
        if error is not None:
            raise error
        return results[0]

    def close(self) -> None:
        """Cancels what is left, and waits until it has ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


async def _caught(coroutine: Coroutine[Any, Any, T]) -> tuple[list[T], BaseException | None]:
    """Its result, or what it raised: a cancellation of its own would look like one of the waiting."""
    try:
        return [await coroutine], None
    except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
        return [], error


def iterated(pieces: AsyncGenerator[T, None]) -> Iterator[T]:
    """What the generator yields; leaving early closes it."""

    async def following() -> T:
        return await anext(pieces)

    with Background() as background:
        try:
            while True:
                try:
                    piece = background.wait(following())
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            background.wait(pieces.aclose())
