"""Real processes on one SQLite log: nothing acknowledged is lost, whoever dies and whatever is full."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from ledgent.agent.verify import verify
from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.run import replay
from tests.producers.appending import RECORDS, run_named

CHECKOUT = Path(__file__).resolve().parents[2]


class Appending:
    """The process of appending.py."""

    def __init__(self, path: Path, name: str, runs: int = 10_000, limit: int = 0) -> None:
        command = [sys.executable, "-m", "tests.producers.appending", str(path), name, str(runs), str(limit)]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.said: list[dict[str, Any]] = []

    def listen(self) -> Iterator[dict[str, Any]]:
        """What it says, as it says it; ends with the process."""
        for line in self.output:
            if line.endswith("\n"):
                self.said.append(json.loads(line))
                yield self.said[-1]

    def finish(self) -> list[str]:
        """Waits for its end; the runs that it was told are safe."""
        list(self.listen())
        _, errors = self.process.communicate(timeout=60)
        assert "Traceback" not in errors, errors
        return [word["acknowledged"] for word in self.said if "acknowledged" in word]

    def kill(self) -> list[str]:
        self.process.kill()
        return self.finish()


def whole(log: SqliteLog, runs: list[str]) -> None:
    """The runs are in the log with all of their records, byte for byte."""
    for run in runs:
        name, _, number = run.rpartition("-")
        assert list(log.records(run)) == run_named(name, int(number)).records


def consistent(log: SqliteLog) -> None:
    """Every run there is folds, up to the head that the log names; the feed has each record once."""
    seen: dict[str, int] = {}
    for count, positioned in enumerate(log.read({}, 1_000_000), 1):
        run = json.loads(positioned.stored.body)["run_id"]
        seen[run] = seen.get(run, 0) + 1
        assert positioned.offset == count - 1
    for run, records in seen.items():
        replayed = replay(run, log.records(run))
        head = log.head(run)
        assert head is not None
        assert head.guard == replayed.guard
        assert head.guard.seq == records
        assert verify(log, run).verdict != "broken"


def test_two_processes_append_to_one_log_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    one, two = Appending(path, "one", 40), Appending(path, "two", 40)
    safe = one.finish() + two.finish()
    assert len(safe) == 80
    assert one.said[-1] == two.said[-1] == {"done": True}
    log = SqliteLog(path)
    assert log.ends() == {0: 80 * RECORDS - 1}
    whole(log, safe)
    consistent(log)
    log.close()


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    victim, other = Appending(path, "victim"), Appending(path, "other", 80)
    for _ in zip(range(20), victim.listen(), strict=False):
        pass
    safe = victim.kill() + other.finish()
    assert len(safe) >= 100
    log = SqliteLog(path)
    whole(log, safe)
    consistent(log)
    asyncio.run(log.append(run_named("after", 0).records))
    whole(log, ["after-0"])
    log.close()


def test_a_full_disk_is_one_clear_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    filling = Appending(path, "filling", limit=400_000)
    safe = filling.finish()
    assert filling.process.returncode == 0
    assert 0 < len(safe) < 10_000
    (error,) = [word for word in filling.said if "error" in word]
    assert error["error"] in ("LogFull", "LogUnavailable")
    assert "full" in error["message"] or "space" in error["message"]
    log = SqliteLog(path)
    whole(log, safe)
    consistent(log)
    # With room again the log goes on.
    asyncio.run(log.append(run_named("after", 0).records))
    whole(log, ["after-0"])
    log.close()


@pytest.mark.slow
def test_ten_kills_in_a_row_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    safe: list[str] = []
    for kill in range(10):
        victim = Appending(path, f"victim{kill}")
        for _ in zip(range(3 + 7 * kill), victim.listen(), strict=False):
            pass
        safe += victim.kill()
        log = SqliteLog(path)
        whole(log, safe)
        consistent(log)
        log.close()
