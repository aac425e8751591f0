"""One thread that commits many callers' writes in one transaction. Knows SQLite, knows no table."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ledgent.producers.sqlite_errors import translated
from ledgent.schemas.errors import LedgentError, LogFull, LogUnavailable

Operation = Callable[[sqlite3.Connection], Any]
"""Checks everything before its first write, so that a refusal (any LedgentError) leaves nothing behind."""

MOST_OPERATIONS = 512
"""In one transaction."""


class _Waiting(NamedTuple):
    operation: Operation
    loop: asyncio.AbstractEventLoop | None
    future: "asyncio.Future[Any] | Future[Any]"


class GroupCommit:
    """Drains a queue of operations into transactions; a caller is told once its transaction is on the disk.

    After a failed COMMIT nobody knows what reached the disk: all later operations are refused, no sync is retried.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], beat: Operation, beat_every_s: float) -> None:
        self._connect = connect
        self._beat = beat
        self._beat_every_s = beat_every_s
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._failed: LedgentError | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.on_commit: Callable[[], None] = lambda: None

    async def do(self, operation: Operation) -> Any:
        """The operation's result, once it is durable. Raises what it raised, LogFull, LogUnavailable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put(_Waiting(operation, loop, future))
        return await future

    def do_blocking(self, operation: Operation) -> Any:
        """As `do`, for a thread without an event loop."""
        future: Future[Any] = Future()
        self._put(_Waiting(operation, None, future))
        return future.result()

    def close(self, last: Operation) -> None:
        """Commits what is queued, then `last`, and ends the thread."""
        if self._thread is None:
            return
        with contextlib.suppress(LedgentError):
            self.do_blocking(last)
        self._failed = self._failed or LogUnavailable("the log has been closed")
        self._queue.put(None)
        self._thread.join()

    def _put(self, waiting: _Waiting) -> None:
        if self._failed:
            raise self._failed
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ledgent-log-writer", daemon=True)
                    self._thread.start()
        self._queue.put(waiting)

    def _run(self) -> None:
        try:
            connection = self._connect()
        except LedgentError as error:
            self._refuse_all(error)
            return
        next_beat = 0.0
        try:
            while True:
                batch, closing = self._drain(max(0.0, next_beat - time.monotonic()))
                if (now := time.monotonic()) >= next_beat and not closing:
                    next_beat = now + self._beat_every_s
                    batch.append(_Waiting(self._beat, None, Future()))
                if batch:
                    self._commit(connection, batch)
                if closing:
                    return
        finally:
            connection.close()

    def _drain(self, wait_s: float) -> tuple[list[_Waiting], bool]:
        batch: list[_Waiting] = []
        try:
            waiting = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
            while waiting is not None:
                batch.append(waiting)
                if len(batch) == MOST_OPERATIONS:
                    return batch, False
                waiting = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[_Waiting]) -> None:
        results: list[tuple[_Waiting, Any, Exception | None]] = []
        committing = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                try:
                    results.append((waiting, waiting.operation(connection), None))
                except LedgentError as refusal:
                    results.append((waiting, None, refusal))
            committing = True
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # whatever it was, the callers are told and the thread lives on
            failure = translated(error) if isinstance(error, sqlite3.Error) else error
            if committing:
                kind = LogFull if isinstance(failure, LogFull) else LogUnavailable
                self._failed = kind(f"the log stopped after a failed commit ({failure}); restart the process")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            results = [(waiting, None, failure) for waiting in batch]
        self.on_commit()
        self._tell(results)  # last: whoever waits runs at once, and this thread should be done by then

    def _refuse_all(self, error: LedgentError) -> None:
        self._failed = error
        while (waiting := self._queue.get()) is not None:
            self._tell([(waiting, None, error)])

    @staticmethod
    def _tell(results: list[tuple[_Waiting, Any, Exception | None]]) -> None:
        """Wakes each event loop once for all its results."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Any, Any, Exception | None]]] = defaultdict(list)
        for (_, loop, future), value, error in results:
            if loop is not None:
                by_loop[loop].append((future, value, error))
            else:
                _settle([(future, value, error)])
        for loop, settled in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed in between: nobody waits any more
                loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[Any, Any, Exception | None]]) -> None:
    for future, value, error in settled:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
