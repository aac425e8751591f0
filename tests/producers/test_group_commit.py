"""Group commit: many callers, few transactions; a refusal is one caller's own; a failed commit is everybody's last."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledgent.producers.group_commit import GroupCommit
from ledgent.schemas.errors import ConcurrentAppend, LedgentError, LogFull, LogUnavailable

NEVER_S = 3600.0


class Counting:
    """A group commit over a small table, which counts its transactions."""

    def __init__(self, path: Path, beat_every_s: float = NEVER_S) -> None:
        self.path = path
        self.commits = 0
        self.beats = 0
        self.connection: sqlite3.Connection | None = None
        self.group = GroupCommit(self.connect, self.beat, beat_every_s)
        self.group.on_commit = self.count

    def connect(self) -> sqlite3.Connection:
        self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, text TEXT)")
        return self.connection

    def beat(self, connection: sqlite3.Connection) -> None:
        self.beats += 1

    def count(self) -> None:
        self.commits += 1

    def rows(self) -> list[int]:
        with sqlite3.connect(self.path) as connection:
            rows = [number for (number,) in connection.execute("SELECT number FROM rows ORDER BY number")]
        connection.close()
        return rows


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    made = Counting(tmp_path / "rows.db")
    yield made
    made.group.close(lambda connection: None)


def insert(number: int, text: str = "") -> Any:
    def operation(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO rows VALUES (?, ?)", (number, text))
        return number

    return operation


def refuse(connection: sqlite3.Connection) -> None:
    raise ConcurrentAppend("no")


async def test_many_callers_share_transactions(counting: Counting) -> None:
    results = await asyncio.gather(*(counting.group.do(insert(n)) for n in range(1000)))
    assert results == list(range(1000)) == counting.rows()
    assert counting.commits <= 20


async def test_a_refusal_reaches_only_the_one_who_was_refused(counting: Counting) -> None:
    operations = [refuse if n % 3 == 0 else insert(n) for n in range(30)]
    outcomes = await asyncio.gather(*(counting.group.do(each) for each in operations), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int if n % 3 else ConcurrentAppend for n in range(30)]
    assert counting.rows() == [n for n in range(30) if n % 3]


async def test_whoever_is_told_finds_it_on_the_disk(counting: Counting) -> None:
    for n in range(5):
        await counting.group.do(insert(n))
        assert counting.rows() == list(range(n + 1))


async def test_a_caller_that_gave_up_does_not_stop_the_others(counting: Counting) -> None:
    entered, proceed = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> None:
        entered.set()
        proceed.wait(5)

    blocking = asyncio.create_task(counting.group.do(wait))
    await asyncio.to_thread(entered.wait, 5)
    given_up = asyncio.create_task(counting.group.do(insert(1)))
    kept = asyncio.create_task(counting.group.do(insert(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    proceed.set()
    await blocking
    assert await kept == 2
    assert counting.rows() == [1, 2]


async def test_an_error_of_the_database_reaches_all_of_its_transaction_and_nothing_is_written(
    counting: Counting,
) -> None:
    await counting.group.do(insert(1))

    def both(connection: sqlite3.Connection) -> None:
        insert(7)(connection)
        insert(1)(connection)  # it is there already

    with pytest.raises(LedgentError):
        await counting.group.do(both)
    assert counting.rows() == [1]
    assert await counting.group.do(insert(8)) == 8  # and it goes on


async def test_a_defect_in_an_operation_is_told_and_the_thread_lives_on(counting: Counting) -> None:
    def defect(connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(counting.group.do(defect), 5)
    assert await asyncio.wait_for(counting.group.do(insert(1)), 5) == 1


async def test_a_full_disk_refuses_the_batch_and_the_next_one_that_fits_goes_through(counting: Counting) -> None:
    await counting.group.do(insert(0))
    assert counting.connection is not None
    counting.connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(LogFull, match="no space left"):
        await counting.group.do(insert(1, "x" * 200_000))
    assert await counting.group.do(insert(2)) == 2
    assert counting.rows() == [0, 2]


async def test_after_a_failed_commit_every_later_write_is_refused(tmp_path: Path) -> None:
    counting = Counting(tmp_path / "rows.db")
    await counting.group.do(insert(0))
    assert counting.connection is not None
    counting.connection.execute("PRAGMA foreign_keys = ON")
    counting.connection.execute(
        "CREATE TABLE children (parent INTEGER REFERENCES rows (number) DEFERRABLE INITIALLY DEFERRED)"
    )

    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO children VALUES (99)")  # refused only by COMMIT

    outcomes = await asyncio.gather(counting.group.do(insert(1)), counting.group.do(orphan), return_exceptions=True)
    assert all(isinstance(outcome, LedgentError) for outcome in outcomes)
    with pytest.raises(LogUnavailable, match=r"stopped after a failed commit.*restart"):
        await counting.group.do(insert(2))
    assert counting.rows() == [0]
    counting.group.close(lambda connection: None)


async def test_a_database_that_cannot_be_opened_refuses_all_with_the_reason(tmp_path: Path) -> None:
    def connect() -> sqlite3.Connection:
        raise LogUnavailable("it cannot be opened")

    group = GroupCommit(connect, lambda connection: None, NEVER_S)
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="cannot be opened"):
            await asyncio.wait_for(group.do(refuse), 5)
    group.close(lambda connection: None)


async def test_closing_commits_what_is_queued_and_refuses_what_comes_later(counting: Counting) -> None:
    queued = [asyncio.create_task(counting.group.do(insert(n))) for n in range(10)]
    await asyncio.sleep(0)
    await asyncio.to_thread(counting.group.close, insert(10))
    assert await asyncio.gather(*queued) == list(range(10))
    assert counting.rows() == list(range(11))
    with pytest.raises(LogUnavailable, match="has been closed"):
        await counting.group.do(insert(11))


def test_closing_what_was_never_used_does_nothing(tmp_path: Path) -> None:
    counting = Counting(tmp_path / "rows.db")
    counting.group.close(insert(1))
    assert not (tmp_path / "rows.db").exists()


def test_a_thread_without_an_event_loop_can_write_too(counting: Counting) -> None:
    assert counting.group.do_blocking(insert(1)) == 1
    with pytest.raises(ConcurrentAppend):
        counting.group.do_blocking(refuse)


async def test_it_beats_while_nobody_writes(tmp_path: Path) -> None:
    counting = Counting(tmp_path / "rows.db", beat_every_s=0.01)
    await counting.group.do(insert(1))
    for _ in range(200):
        if counting.beats > 3:
            break
        await asyncio.sleep(0.01)
    counting.group.close(lambda connection: None)
    assert counting.beats > 3


async def test_several_event_loops_write_through_one_thread(counting: Counting) -> None:
    def write(first: int) -> list[int]:
        async def all_of_them() -> list[int]:
            return list(await asyncio.gather(*(counting.group.do(insert(first + n)) for n in range(50))))

        return asyncio.run(all_of_them())

    await asyncio.gather(*(asyncio.to_thread(write, first) for first in (0, 100, 200)))
    assert len(counting.rows()) == 150
