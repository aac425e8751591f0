"""The log in an SQLite file: written and read by any number of processes at once. No agent, no metric.

WAL with synchronous=FULL: what is acknowledged survives a power cut. All writes go through one thread that commits
many runs' records together; the acceptance rule is applied inside the transaction, and refuses.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ledgent.producers.group_commit import GroupCommit
from ledgent.producers.identity import new_writer
from ledgent.producers.liveness import Liveness
from ledgent.producers.sqlite_errors import translated
from ledgent.producers.sqlite_file import open_file, prepare
from ledgent.producers.sqlite_tables import (
    guard_of,
    insert_request,
    judge_records,
    system_records,
    take_requests,
    write_records,
)
from ledgent.producers.system_chain import SystemChain
from ledgent.schemas.codec import Stored, whole_characters
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.ports import Head, Positioned
from ledgent.schemas.requests import AnyRequest, decode_request, encode_request
from ledgent.schemas.system_events import AnySystemEvent

HEARTBEAT_S = 2.0
DEAD_AFTER_S = 10.0
POLL_S = 0.05
"""How long another process's commit may go unseen; this process's own are seen at once."""


DIGEST = "CAST(digest AS BLOB)"
"""Read as bytes: a damaged digest may be no text, and is to be named, not to stop the reader."""


class SqliteLog:
    """`open_log("sqlite:///path")`. Safe to use from several threads and event loops."""

    def __init__(self, path: Path, *, heartbeat_s: float = HEARTBEAT_S, dead_after_s: float = DEAD_AFTER_S) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.writer = new_writer()
        self._chain = SystemChain(self.writer)
        self._liveness = Liveness(dead_after_s)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_waiting: set[threading.Lock] = set()
        self._sleepers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._closed = False
        prepare(path)
        self._commits = GroupCommit(self._connect, self._beat, heartbeat_s)
        self._commits.on_commit = self._wake

    # writing --------------------------------------------------------------------------------------------------------

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        body = encode_request(accept) if accept is not None else b""

        def operation(connection: sqlite3.Connection) -> None:
            judged = judge_records(connection, records)
            if accept is not None:
                insert_request(connection, accept, body, taken_by=self.writer)
            if judged is not None:  # written last: nothing is refused any more
                write_records(connection, judged)
            if finish:
                connection.executemany("UPDATE requests SET done = 1 WHERE request_id = ?", [(id,) for id in finish])

        await self._commits.do(operation)

    async def submit(self, request: AnyRequest) -> None:
        body = encode_request(request)
        await self._commits.do(lambda connection: insert_request(connection, request, body, taken_by=None))

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        deadline = time.monotonic() + timeout_s
        sleeper = (asyncio.get_running_loop(), asyncio.Event())
        self._sleepers.add(sleeper)
        try:
            while True:
                sleeper[1].clear()
                if bodies := await self._take(agents, limit):
                    return [decode_request(body) for body in bodies]
                if (left := deadline - time.monotonic()) <= 0:
                    return []
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
                    async with asyncio.timeout(min(POLL_S, left)):
                        await sleeper[1].wait()
        finally:
            self._sleepers.discard(sleeper)

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        rows = [(refused, request_id) for request_id in request_ids]
        await self._commits.do(
            lambda connection: connection.executemany(
                "UPDATE requests SET done = 1, refused = ? WHERE request_id = ?", rows
            )
        )

    async def release(self, request_ids: Sequence[str]) -> None:
        rows = [(request_id, self.writer) for request_id in request_ids]
        await self._commits.do(
            lambda connection: connection.executemany(
                "UPDATE requests SET taken_by = NULL WHERE request_id = ? AND taken_by = ?", rows
            )
        )

    async def announce(self, event: AnySystemEvent) -> None:
        stored = self._chain.next(event)[1]
        await self._commits.do(
            lambda connection: connection.execute("INSERT INTO system (body, digest) VALUES (?, ?)", stored)
        )

    def lost(self) -> frozenset[str]:
        return frozenset()  # a run is this process's until it dies

    async def _take(self, agents: frozenset[str] | None, limit: int) -> list[bytes]:
        found = self._read(
            lambda connection: take_requests(connection, self.writer, self._alive(connection), agents, limit)
        )
        if not found:
            return []
        positions = [position for position, _ in found]

        def operation(connection: sqlite3.Connection) -> list[bytes]:
            alive = self._alive(connection)
            still = take_requests(connection, self.writer, alive, agents, limit, only=positions)
            connection.executemany(
                "UPDATE requests SET taken_by = ? WHERE position = ?",
                [(self.writer, position) for position, _ in still],
            )
            return [body for _, body in still]

        taking = asyncio.ensure_future(self._commits.do(operation))
        try:
            bodies: list[bytes] = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # What was taken meanwhile would lie with this process until its end.
            await self.release([decode_request(body).request_id for body in await taking])
            raise
        return bodies

    def _alive(self, connection: sqlite3.Connection) -> set[str]:
        counters = dict(connection.execute("SELECT writer, counter FROM processes"))
        return self._liveness.alive(counters, time.monotonic())

    def _beat(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO processes (writer, counter) VALUES (?, 1) "
            "ON CONFLICT (writer) DO UPDATE SET counter = counter + 1",
            (self.writer,),
        )

    # reading --------------------------------------------------------------------------------------------------------

    def run_ids(self, since: str | None = None) -> Iterator[str]:
        rows = self._read(
            lambda connection: connection.execute(
                "SELECT run_id FROM runs WHERE run_id >= :since UNION "
                "SELECT run_id FROM requests WHERE starts AND run_id >= :since ORDER BY run_id",
                {"since": since or ""},
            ).fetchall()
        )
        return (run_id for (run_id,) in rows)

    def records(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        run_id = whole_characters(run_id)
        rows = self._read(
            lambda connection: connection.execute(
                f"SELECT body, {DIGEST} FROM records WHERE run_key = (SELECT run_key FROM runs WHERE run_id = ?) "
                "AND seq > ? ORDER BY seq",
                (run_id, after),
            ).fetchall()
        )
        return (Stored(body, str(digest, "ascii", "replace")) for body, digest in rows)

    def head(self, run_id: str) -> Head | None:
        found = self._read(lambda connection: guard_of(connection, whole_characters(run_id)))
        return Head(run_id, found.guard, found.suspended) if found else None

    def misplaced(self, run_id: str) -> list[tuple[int, str]]:
        # A log's records stand at 1, 2, 3 ..., as many as all heads together count: one that was moved stands beyond.
        rows = self._read(
            lambda connection: connection.execute(
                "SELECT seq, position, (SELECT sum(seq) FROM runs) FROM records "
                "WHERE run_key = (SELECT run_key FROM runs WHERE run_id = ?) AND seq > 0 ORDER BY seq",
                (run_id,),
            ).fetchall()
        )
        found = []
        for place, (seq, position, count) in enumerate(rows, 1):
            if seq != place:
                found.append((place, f"record {seq} stands in its place"))
            elif not 1 <= position <= count:
                found.append((place, f"it stands at position {position:,} of a log of {count:,} records"))
        return found

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        deadline = time.monotonic() + timeout_s
        after = positions.get(0, -1)
        while True:
            rows = self._read(
                lambda connection: connection.execute(
                    f"SELECT position, body, {DIGEST} FROM records WHERE position > ? ORDER BY position LIMIT ?",
                    (after + 1, limit),
                ).fetchall()
            )
            left = deadline - time.monotonic()
            if rows or left <= 0:
                return [
                    Positioned(0, position - 1, Stored(body, str(digest, "ascii", "replace")))
                    for position, body, digest in rows
                ]
            self._wait_for_commit(min(POLL_S, left))

    def ends(self) -> dict[int, int]:
        ((last,),) = self._read(lambda connection: connection.execute("SELECT max(position) FROM records").fetchall())
        return {0: (last or 0) - 1}

    def announced(self, after: int | None, limit: int) -> list[Positioned]:
        rows = self._read(lambda connection: system_records(connection, after, limit))
        return [Positioned(0, position - 1, Stored(body, digest)) for position, body, digest in rows]

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._commits.close(
            lambda connection: connection.execute("DELETE FROM processes WHERE writer = ?", (self.writer,))
        )
        for reader in self._readers:
            reader.close()

    # connections ----------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        return open_file(self.path)

    def _read(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        """Runs a read on this thread's own connection."""
        if self._closed:
            raise LogUnavailable("the log has been closed")
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._readers.append(connection)
        try:
            return query(connection)
        except sqlite3.Error as error:
            raise translated(error, str(self.path)) from error

    def _wait_for_commit(self, most_s: float) -> None:
        # No condition variable: Ctrl-C between taking and guarding its lock would leave the writer waiting for ever.
        told = threading.Lock()
        told.acquire()
        self._readers_waiting.add(told)
        try:
            told.acquire(timeout=most_s)
        finally:
            self._readers_waiting.discard(told)

    def _wake(self) -> None:
        while self._readers_waiting:
            with contextlib.suppress(KeyError):  # that reader has just given up
                self._readers_waiting.pop().release()
        for loop, event in tuple(self._sleepers):
            with contextlib.suppress(RuntimeError):  # that loop has been closed
                loop.call_soon_threadsafe(event.set)
