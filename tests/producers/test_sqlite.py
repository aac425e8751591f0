"""What is the SQLite log's own: its file, its folder, and one clear error for whatever is wrong with them."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ledgent.producers.liveness import Liveness
from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log, shared_log
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.errors import LedgentError, LogCorrupt, LogUnavailable, UsageError
from tests.schemas.chain import begun

CHECKOUT = Path(__file__).resolve().parents[2]


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


class TestOpening:
    def test_a_url_names_a_relative_or_absolute_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for url, path in (
            ("sqlite:///a/log.db", Path("a/log.db")),
            (f"sqlite:///{tmp_path}/b/log.db", tmp_path / "b" / "log.db"),
        ):
            log = open_log(url)
            assert isinstance(log, SqliteLog)
            assert log.path == path
            assert path.is_file()
            log.close()
        assert isinstance(open_log("memory://"), MemoryLog)

    @pytest.mark.parametrize("url", ["", "log.db", "sqlite:", "sqlite://", "sqlite:///", "postgres://x"])
    def test_any_other_url_is_refused_with_what_would_do(self, url: str) -> None:
        with pytest.raises(UsageError, match="sqlite:///") as refusal:
            open_log(url)
        one_line(refusal.value)

    def test_the_folder_of_a_project_hides_itself_from_git(self, tmp_path: Path) -> None:
        open_log(f"sqlite:///{tmp_path}/.ledgent/log.db").close()
        assert (tmp_path / ".ledgent" / ".gitignore").read_text() == "*\n"
        (tmp_path / ".ledgent" / ".gitignore").write_text("mine\n")
        open_log(f"sqlite:///{tmp_path}/.ledgent/log.db").close()
        assert (tmp_path / ".ledgent" / ".gitignore").read_text() == "mine\n"

    def test_another_folder_is_left_alone(self, tmp_path: Path) -> None:
        open_log(f"sqlite:///{tmp_path}/data/log.db").close()
        assert not (tmp_path / "data" / ".gitignore").exists()

    def test_a_process_has_one_log_at_a_url(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/log.db"
        assert shared_log(url) is shared_log(url)
        shared_log(url).close()

    def test_many_processes_may_open_a_new_log_at_once(self, tmp_path: Path) -> None:
        logs: list[SqliteLog] = []
        barrier = threading.Barrier(6)

        def open_it() -> None:
            barrier.wait()
            logs.append(SqliteLog(tmp_path / "new" / "log.db"))

        threads = [threading.Thread(target=open_it) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(logs) == 6
        for log in logs:
            log.close()

    def test_it_is_durable_and_shared(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path / "log.db")
        connection = log._connect()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        connection.close()
        log.close()


class TestTrouble:
    def test_a_directory_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(LogUnavailable, match=r"is a directory: name a file.*log\.db") as refusal:
            SqliteLog(tmp_path)
        one_line(refusal.value)

    def test_a_folder_that_cannot_be_made_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LogUnavailable, match="cannot be made") as refusal:
            SqliteLog(tmp_path / "file" / "log.db")
        one_line(refusal.value)

    def test_a_file_that_cannot_be_opened_is_one_clear_error(self) -> None:
        with pytest.raises(LogUnavailable, match=r"LEDGENT_LOG") as refusal:
            SqliteLog(Path("/proc/log.db"))
        one_line(refusal.value)

    @pytest.mark.parametrize("content", [b"not a database at all, but a long enough text" * 100, os.urandom(8192)])
    def test_a_file_that_is_no_database_is_one_clear_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "log.db").write_bytes(content)
        with pytest.raises(LogCorrupt, match="no SQLite database") as refusal:
            SqliteLog(tmp_path / "log.db")
        one_line(refusal.value)
        assert (tmp_path / "log.db").read_bytes() == content

    def test_a_damaged_database_is_one_clear_error_wherever_it_is_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        log = SqliteLog(path)

        async def fill() -> None:
            await asyncio.gather(*(log.append(begun(f"run-{n}").records) for n in range(60)))

        asyncio.run(fill())
        log.close()
        sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        whole = path.read_bytes()
        seen = 0
        for page in range(len(whole) // 4096):
            broken = tmp_path / f"broken-{page}.db"
            broken.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
            try:
                opened = SqliteLog(broken)
                try:
                    for n in range(60):
                        list(opened.records(f"run-{n}"))
                    opened.read({}, 1000)
                finally:
                    opened.close()
            except LedgentError as error:
                seen += 1
                one_line(error)
        assert seen > 0

    def test_a_truncated_database_is_one_clear_error(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        log = SqliteLog(path)
        asyncio.run(log.append(begun().records))
        log.close()
        sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(LogCorrupt, match="damaged") as refusal:
            list(SqliteLog(path).records(begun().run_id))
        one_line(refusal.value)

    def test_a_file_that_may_only_be_read_is_one_clear_error(self) -> None:
        """In a process of its own, which drops the right to write anywhere if it has it."""
        script = """
import asyncio, os, sys
from pathlib import Path
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.errors import LogUnavailable
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
try:
    log = SqliteLog(folder / "log.db")
    asyncio.run(start_run(log, "a", "b"))
except LogUnavailable as error:
    print(error)
try:
    SqliteLog(folder / "new.db")
except LogUnavailable as error:
    print(error)
"""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            SqliteLog(folder / "log.db").close()
            (folder / "log.db").chmod(0o444)
            folder.chmod(0o555)
            outcome = subprocess.run(
                [sys.executable, "-c", script, name], cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
            folder.chmod(0o755)
        assert outcome.returncode == 0, outcome.stderr
        first, second = outcome.stdout.splitlines()
        assert "LEDGENT_LOG" in first
        assert "LEDGENT_LOG" in second

    def test_after_closing_everything_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path / "log.db")
        asyncio.run(log.append(begun().records))
        log.close()
        for refused in (
            lambda: list(log.records("x")),
            lambda: log.head("x"),
            lambda: log.read({}, 1),
            lambda: asyncio.run(start_run(log, "a", "b")),
        ):
            with pytest.raises(LogUnavailable, match="has been closed"):
                refused()

    def test_a_run_id_that_no_database_can_hold_is_an_unknown_run(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path / "log.db")
        for run_id in ("\udcff", "a\x00b", "x" * 100_000):
            assert log.head(run_id) is None
            assert list(log.records(run_id)) == []
        log.close()

    def test_giving_up_a_take_in_the_middle_gives_the_requests_back(self, tmp_path: Path) -> None:
        async def take_and_give_up() -> int:
            log, other = SqliteLog(tmp_path / "log.db"), SqliteLog(tmp_path / "log.db")
            for _ in range(5):
                await start_run(log, "clerk", "hello")
            for delay_s in (0.0, 0.0005, 0.001, 0.002, 0.005):
                taking = asyncio.create_task(log.take(frozenset({"clerk"}), 10, 0))
                await asyncio.sleep(delay_s)
                taking.cancel()
                try:
                    taken = await taking
                    await log.release([request.request_id for request in taken])
                except asyncio.CancelledError:
                    pass
            left = await other.take(frozenset({"clerk"}), 10, 0)
            log.close()
            other.close()
            return len(left)

        assert asyncio.run(take_and_give_up()) == 5

    def test_a_take_that_is_cancelled_as_something_is_committed_is_cancelled_all_the_same(self, tmp_path: Path) -> None:
        async def cancel_as_it_wakes() -> bool:
            log = SqliteLog(tmp_path / "log.db")
            taking = asyncio.create_task(log.take(frozenset({"clerk"}), 10, 30))
            await asyncio.sleep(0.01)
            for _, event in log._sleepers:
                event.set()
            taking.cancel()
            await asyncio.wait([taking], timeout=5)
            log.close()
            return taking.cancelled()

        assert asyncio.run(cancel_as_it_wakes())


class TestLiveness:
    def test_a_process_is_alive_while_its_counter_moves(self) -> None:
        liveness = Liveness(dead_after_s=10)
        assert liveness.alive({"a": 1}, 0) == {"a"}
        assert liveness.alive({"a": 2}, 9) == {"a"}
        assert liveness.alive({"a": 3}, 18) == {"a"}

    def test_it_is_dead_once_its_counter_stood_still_for_long_enough(self) -> None:
        liveness = Liveness(dead_after_s=10)
        liveness.alive({"a": 1, "b": 1}, 0)
        assert liveness.alive({"a": 1, "b": 2}, 9.9) == {"a", "b"}
        assert liveness.alive({"a": 1, "b": 2}, 10) == {"b"}
        assert liveness.alive({"a": 2, "b": 2}, 11) == {"a", "b"}  # it was only slow

    def test_an_observer_gives_everybody_the_whole_time_from_its_own_first_look(self) -> None:
        assert Liveness(dead_after_s=10).alive({"long dead": 7}, 1_000_000) == {"long dead"}

    def test_one_that_has_left_is_not_alive(self) -> None:
        liveness = Liveness(dead_after_s=10)
        liveness.alive({"a": 1}, 0)
        assert liveness.alive({}, 1) == set()
        assert liveness.alive({"a": 1}, 20) == {"a"}

    def test_several_threads_may_ask_at_once(self) -> None:
        liveness = Liveness(dead_after_s=10)
        errors: list[BaseException] = []

        def ask(which: int) -> None:
            try:
                for n in range(400):
                    liveness.alive({f"{which}-{m}": n for m in range(n % 50)}, float(n))
            except RuntimeError as error:
                errors.append(error)

        threads = [threading.Thread(target=ask, args=(which,)) for which in range(4)]
        old = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(old)
        assert errors == []
