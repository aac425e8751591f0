"""The SQLite log's tables and the statements inside its transactions. No threads, no connections of its own."""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Stored, read_envelope
from ledgent.schemas.errors import ConcurrentAppend, RequestRefused
from ledgent.schemas.requests import AnyRequest, StartRun

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run_key INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    writer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    digest TEXT NOT NULL,
    ended INTEGER NOT NULL,
    suspended INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY,
    run_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    digest TEXT NOT NULL,
    UNIQUE (run_key, seq)
);
CREATE TABLE IF NOT EXISTS requests (
    position INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    starts INTEGER NOT NULL,
    body BLOB NOT NULL,
    taken_by TEXT,
    done INTEGER NOT NULL DEFAULT 0,
    refused TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_run ON requests (run_id);
CREATE INDEX IF NOT EXISTS open_requests ON requests (position) WHERE done = 0;
CREATE TABLE IF NOT EXISTS system (position INTEGER PRIMARY KEY, body BLOB NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processes (writer TEXT PRIMARY KEY, counter INTEGER NOT NULL) WITHOUT ROWID;
"""


class Found(NamedTuple):
    run_key: int
    guard: Guard
    suspended: bool


def guard_of(connection: sqlite3.Connection, run_id: str) -> Found | None:
    """Where the run stands."""
    row = connection.execute(
        "SELECT run_key, suspended, epoch, writer, seq, digest, ended FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    return Found(row[0], Guard(row[2], row[3], row[4], row[5], bool(row[6])), bool(row[1])) if row else None


class Judged(NamedTuple):
    """Records that one run takes, and where it stands after them."""

    run_id: str
    found: Found | None
    guard: Guard
    suspended: bool
    fresh: list[tuple[int, Stored]]


def judge_records(connection: sqlite3.Connection, records: Sequence[Stored]) -> Judged | None:
    """Those of one run's records that are not yet there; None when all are. Writes nothing. Raises ConcurrentAppend."""
    if not records:
        return None
    run_id = read_envelope(records[0].body).run_id
    found = guard_of(connection, run_id)
    guard = found.guard if found else Guard()

    def known(seq: int) -> str | None:
        row = connection.execute(
            "SELECT digest FROM records WHERE run_key = ? AND seq = ?", (found.run_key if found else 0, seq)
        ).fetchone()
        return row[0] if row else None

    fresh: list[tuple[int, Stored]] = []
    last: Envelope | None = None
    for stored in records:
        envelope = read_envelope(stored.body)
        verdict = judge(guard, envelope, stored, known)
        if verdict is Verdict.ACCEPTED and envelope.run_id == run_id:
            guard, last = advance(envelope, stored.digest), envelope
            fresh.append((envelope.seq, stored))
        elif verdict is not Verdict.DUPLICATE:
            raise ConcurrentAppend(
                f"run {run_id}: record {envelope.seq} of epoch {envelope.epoch} by {envelope.writer} was refused: "
                f"the run stands at record {guard.seq} of epoch {guard.epoch} by {guard.writer or 'nobody'}"
            )
    return Judged(run_id, found, guard, last.type == "run.suspended", fresh) if last is not None else None


def write_records(connection: sqlite3.Connection, judged: Judged) -> None:
    """Writes what was judged in the same transaction."""
    run_id, found, guard, suspended, fresh = judged
    if found is None:
        run_key = connection.execute(
            "INSERT INTO runs (run_id, epoch, writer, seq, digest, ended, suspended) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run_id, *guard, suspended),
        ).lastrowid
    else:
        run_key = found.run_key
        connection.execute(
            "UPDATE runs SET epoch = ?, writer = ?, seq = ?, digest = ?, ended = ?, suspended = ? WHERE run_key = ?",
            (*guard, suspended, run_key),
        )
    connection.executemany(
        "INSERT INTO records (run_key, seq, body, digest) VALUES (?, ?, ?, ?)",
        [(run_key, seq, stored.body, stored.digest) for seq, stored in fresh],
    )


def insert_request(connection: sqlite3.Connection, request: AnyRequest, body: bytes, taken_by: str | None) -> None:
    """Stores a request once; raises RequestRefused when its run is unknown or has ended."""
    run_id = request.run_id
    if connection.execute("SELECT 1 FROM requests WHERE request_id = ?", (request.request_id,)).fetchone():
        return
    if isinstance(request, StartRun):
        agent = request.agent
    else:
        row = connection.execute(
            "SELECT agent FROM requests WHERE run_id = ? ORDER BY position LIMIT 1", (run_id,)
        ).fetchone()
        if row is None:
            raise RequestRefused(f"no run {run_id!r} in this log; `ledgent run list` shows the runs there are")
        agent = row[0]
        found = guard_of(connection, run_id)
        if found and found.guard.ended:
            raise RequestRefused(f"run {run_id} has ended; `ledgent run show {run_id}` shows how")
    connection.execute(
        "INSERT INTO requests (request_id, run_id, agent, starts, body, taken_by) VALUES (?, ?, ?, ?, ?, ?)",
        (request.request_id, run_id, agent, isinstance(request, StartRun), body, taken_by),
    )


def system_records(connection: sqlite3.Connection, after: int | None, limit: int) -> list[tuple[int, bytes, str]]:
    """Position, body and digest of the system records after this offset, in order; None: of the last ones."""
    if after is None:
        rows = connection.execute("SELECT * FROM system ORDER BY position DESC LIMIT ?", (limit,)).fetchall()
        return rows[::-1]
    return connection.execute(
        "SELECT * FROM system WHERE position > ? ORDER BY position LIMIT ?", (after + 1, limit)
    ).fetchall()


def take_requests(
    connection: sqlite3.Connection,
    writer: str,
    alive: set[str],
    agents: frozenset[str] | None,
    limit: int,
    only: Sequence[int] | None = None,
) -> list[tuple[int, bytes]]:
    """Position and body of open requests that this writer may take, oldest first.

    Open: nobody alive has taken it, and its run is this writer's, suspended, ended, not begun, or its holder is dead.
    An unknown agent's request is taken only to begin the run, so that it can be failed with a reason.
    """
    rows = connection.execute(
        """
        SELECT requests.position, requests.body FROM requests LEFT JOIN runs USING (run_id)
        WHERE done = 0
          AND (taken_by IS NULL OR taken_by NOT IN (SELECT value FROM json_each(:alive)))
          AND (runs.run_key IS NULL OR runs.suspended OR runs.ended OR runs.writer = :writer
               OR runs.writer NOT IN (SELECT value FROM json_each(:alive)))
          AND (runs.run_key IS NOT NULL OR starts)
          AND (CASE WHEN :agents IS NULL THEN runs.writer = :writer AND NOT runs.suspended AND NOT runs.ended
               ELSE agent IN (SELECT value FROM json_each(:agents)) OR runs.run_key IS NULL END)
          AND (:only IS NULL OR requests.position IN (SELECT value FROM json_each(:only)))
        ORDER BY requests.position LIMIT :limit
        """,
        {
            "alive": json.dumps([*alive, writer]),
            "writer": writer,
            "agents": None if agents is None else json.dumps([*agents]),
            "only": None if only is None else json.dumps([*only]),
            "limit": limit,
        },
    )
    return list(rows)
