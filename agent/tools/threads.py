"""A plain function called in a thread, awaited from an event loop. It cannot be stopped, only left behind."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any


class ThreadCall:
    """One call, in a daemon thread: one that hangs holds up neither the run nor the end of the process."""

    def __init__(self, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self._function = function
        self._arguments = arguments
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()
        self._lock = threading.Lock()
        self._ended = False
        self._when_ended: Callable[[], None] | None = None
        threading.Thread(target=self._run, name=f"ledgent-tool-{name}", daemon=True).start()

    async def result(self) -> Any:
        """What the function returns. Raises what it raises."""
        return await self._future

    def leave_behind(self, when_ended: Callable[[], None]) -> bool:
        """Whether the function is still at work; `when_ended` is then called, in its thread, once it is not."""
        with self._lock:
            if not self._ended:
                self._when_ended = when_ended
            return not self._ended

    def _run(self) -> None:
        settle: Callable[[Any], None] = self._future.set_exception
        value: Any
        try:
            value = self._context.run(self._function, **self._arguments)
            settle = self._future.set_result
        except StopIteration as error:  # which a future refuses to carry
            value = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
            value = error
        with self._lock:
            self._ended = True
        if self._when_ended is not None:
            self._when_ended()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, settle, value)

    def _settle(self, settle: Callable[[Any], None], value: Any) -> None:
        if not self._future.done():
            settle(value)
