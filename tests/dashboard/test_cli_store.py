"""The commands that need the store: the demo, lists, SQL, rebuilding, and the processes that stay."""

import csv
import io
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledgent.agent import Agent, ScriptedModel
from ledgent.dashboard.demo.runs import RUNS
from ledgent.dashboard.logs import opened_log
from ledgent.dashboard.web import APP
from ledgent.processors.sink import Sink
from ledgent.processors.store import open_store
from tests.dashboard.command import AGENTS, Done, ledgent, started

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which the demo has been run once, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, ledgent(folder, "demo")


@pytest.fixture
def folder(demo: tuple[Path, Done], tmp_path: Path) -> Path:
    """A copy of that folder, for a test to change."""
    shutil.copytree(demo[0], tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "helpers.py").write_text(AGENTS)
    return tmp_path / "copy"


# the demo -----------------------------------------------------------------------------------------------------------


def test_the_demo_shows_every_kind_of_ending_and_leaves_it_stored_and_verified(demo: tuple[Path, Done]) -> None:
    folder, done = demo
    assert (done.code, done.err) == (0, "")
    assert "8 runs, 117 events: recorded, stored and verified." in done.out
    assert "ledgent up" in done.out
    assert (folder / ".ledgent" / ".gitignore").read_text() == "*\n"

    runs = [json.loads(line) for line in ledgent(folder, "run", "list", "-o", "jsonl").out.splitlines()]
    assert {run["agent"]: run["status"] for run in runs} == {shown.agent.name: shown.ends for shown in RUNS}
    by_agent = {run["agent"]: run for run in runs}
    assert by_agent["shipping"]["retries"] == 1
    assert by_agent["tracking"]["tool_errors"] == 1
    assert by_agent["bargains"]["limit_reached"] == "steps"
    assert by_agent["newsletter"]["error_code"] == "auth"
    assert by_agent["counter"]["epochs"] == 1
    assert ledgent(folder, "run", "verify", "--all").code == 0


def test_the_demo_says_and_records_the_same_each_time(demo: tuple[Path, Done], tmp_path: Path) -> None:
    counts = "SELECT agent, status, events, steps, tool_calls, input_tokens, cost_usd, output FROM runs ORDER BY agent"
    again = ledgent(tmp_path, "demo")
    assert again.code == 0
    first, second = (ledgent(folder, "sql", counts, "-o", "json").out for folder in (demo[0], tmp_path))
    assert json.loads(first) == json.loads(second)


# lists and queries --------------------------------------------------------------------------------------------------


def test_runs_are_listed_by_filters_and_counted(demo: tuple[Path, Done]) -> None:
    folder, _ = demo
    listed = ledgent(folder, "run", "list", "--limit", "3").out
    assert "3 of 8 runs (5 completed" in listed
    ended_badly = ledgent(folder, "run", "list", "--status", "failed", "--status", "limited", "-o", "json")
    assert {run["status"] for run in json.loads(ended_badly.out)} == {"failed", "limited"}
    assert "1 of 1 runs that match; the store has 8" in ledgent(folder, "run", "list", "-q", "POST-1008").out
    assert "0 of 0 runs that match" in ledgent(folder, "run", "list", "--since", "2999-01-01").out
    (one,) = json.loads(ledgent(folder, "run", "list", "--agent", "counter", "--since", "1d", "-o", "json").out)
    assert one["session"] == "demo-counter"


def test_a_folder_without_a_log_has_no_runs(tmp_path: Path) -> None:
    done = ledgent(tmp_path, "run", "list")
    assert done.code == 0
    assert "`ledgent demo` makes some" in done.out


def test_stats_answers_a_question_by_its_name_or_lists_them(demo: tuple[Path, Done]) -> None:
    folder, _ = demo
    listed = json.loads(ledgent(folder, "stats", "-o", "json").out)
    assert {"name": "slowest-runs", "question": "The runs that took longest."} in listed
    rows = json.loads(ledgent(folder, "stats", "endings", "--since", "1h", "-o", "json").out)
    assert {"agent": "newsletter", "status": "failed", "reason": "auth", "runs": 1} in rows
    assert ledgent(folder, "stats", "endings", "--sql").out.startswith("SELECT agent, status")
    refused = ledgent(folder, "stats", "ending")
    assert refused.code == 2
    assert "there is no query named 'ending'. Did you mean endings?" in refused.error


def test_sql_answers_in_every_form_and_refuses_all_but_a_select(demo: tuple[Path, Done]) -> None:
    folder, _ = demo
    query = "SELECT agent, status FROM runs ORDER BY agent LIMIT 2"
    rows = [{"agent": "bargains", "status": "limited"}, {"agent": "counter", "status": "completed"}]
    assert json.loads(ledgent(folder, "sql", query, "-o", "json").out) == rows
    assert [json.loads(line) for line in ledgent(folder, "sql", query, "-o", "jsonl").out.splitlines()] == rows
    assert list(csv.DictReader(io.StringIO(ledgent(folder, "sql", query, "-o", "csv").out))) == rows
    assert ledgent(folder, "sql", "-", input=query).out.splitlines()[1].split() == ["bargains", "limited"]
    cut = ledgent(folder, "sql", "SELECT run_id FROM runs", "--limit", "3", "-o", "jsonl")
    assert len(cut.out.splitlines()) == 3
    assert "the first 3" in cut.err
    for wrong in ("DROP TABLE runs", "SELECT * FROM secrets", "SELECT * FROM system.tables", "SELEKT"):
        refused = ledgent(folder, "sql", wrong)
        assert refused.code == 2
        assert refused.error


async def test_a_count_in_sql_is_exact_though_a_run_was_stored_several_times(tmp_path: Path) -> None:
    talker = Agent("talker", ScriptedModel(["one", "two", "three"]), conversational=True)
    with opened_log(f"sqlite:///{tmp_path}/log.db") as log, open_store(f"chdb:///{tmp_path}/store") as store:
        sink, chat = Sink(log, store), talker.conversation(log=log)
        for _ in range(3):
            await chat.send("hi")
            sink.catch_up()
            answer = store.query_people("SELECT count(), max(steps) FROM runs", tables=frozenset({"runs"}))
            assert answer.rows == [(1, chat.state.spent.steps)]


# the store ----------------------------------------------------------------------------------------------------------


def test_a_rebuilt_store_is_the_same_store(folder: Path) -> None:
    query = "SELECT * FROM runs ORDER BY run_id"
    before = ledgent(folder, "sql", query, "-o", "json").out
    assert "holds exactly what the log's 117 records say" in ledgent(folder, "store", "check").out
    rebuilt = ledgent(folder, "store", "rebuild")
    assert (rebuilt.code, rebuilt.err) == (0, "")
    assert "117 records" in rebuilt.out
    assert ledgent(folder, "sql", query, "-o", "json").out == before
    shutil.rmtree(folder / ".ledgent" / "store")
    assert ledgent(folder, "sql", query, "-o", "json").out == before


def test_a_store_of_another_log_is_not_asked(folder: Path) -> None:
    ledgent(folder, "run", "start", "adder", "hi", "--agents", "helpers", "--log", "sqlite:///other.db")
    done = ledgent(folder, "run", "list", "--log", "sqlite:///other.db")
    assert done.code == 1
    assert "holds the records of another log" in done.error
    own = ledgent(folder, "run", "list", "--log", "sqlite:///other.db", "--store", "chdb:///other")
    assert "1 of 1 runs" in own.out


def test_a_store_that_cannot_be_opened_is_rebuilt(folder: Path) -> None:
    for part in (folder / ".ledgent" / "store" / "store").rglob("*.bin"):
        part.write_bytes(b"garbage")
    broken = ledgent(folder, "run", "list")
    assert broken.code == 1
    assert "`ledgent store rebuild`" in broken.error
    assert ledgent(folder, "store", "rebuild").code == 0
    assert "8 of 8 runs" in ledgent(folder, "run", "list").out


# the processes that stay --------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


@pytest.fixture
def up(folder: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """`ledgent up` in the folder, once it says where it is."""
    assert APP.exists()
    process = started(folder, "up", "--agents", "helpers", "--port", str(port))
    assert process.stdout is not None
    told = ""
    while "Ctrl-C stops." not in told:
        line = process.stdout.readline()
        assert line, told + (process.stderr.read() if process.stderr else "")
        told += line
    assert f"Dashboard  http://127.0.0.1:{port}" in told
    assert "Log        sqlite:///.ledgent/log.db" in told
    assert "Store      chdb:///.ledgent/store" in told
    assert "Agents     adder, patient, talker, escaping, wordy" in told
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_up_serves_the_pages_runs_agents_and_answers_other_commands(
    up: "subprocess.Popen[str]", folder: Path, port: int
) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.status == 200
    waited = ledgent(folder, "run", "start", "adder", "hi", "--wait", "-o", "jsonl")
    assert waited.code == 0
    listed = ledgent(folder, "run", "list", "--limit", "1")
    assert "adder" in listed.out
    assert "1 of 9 runs" in listed.out

    taken = ledgent(folder, "up", "--port", str(port))
    assert taken.code == 2
    assert f"port {port} is taken" in taken.error
    for words in (("up", "--port", str(port + 1)), ("store", "rebuild")):
        second = ledgent(folder, *words)
        assert second.code == 3
        assert f"already served by process {up.pid}" in second.error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_up_leaves_nothing_behind_however_it_ends(
    up: "subprocess.Popen[str]", folder: Path, port: int, number: signal.Signals
) -> None:
    run_id = ledgent(folder, "run", "start", "patient", "hi", "--detach").out.strip()
    _wait_for(lambda: "tool_call.started" in ledgent(folder, "run", "tail", run_id).out)
    up.send_signal(number)
    up.wait(30)
    assert up.returncode == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    _wait_for(lambda: not _listens(port))
    if number is not signal.SIGKILL:
        assert "handed over" in ledgent(folder, "run", "show", run_id).out
    assert "1 of 9 runs" in ledgent(folder, "run", "list", "--limit", "1").out, "the store is free again"


def test_the_dashboard_alone_keeps_the_store_up_with_the_log(folder: Path, port: int) -> None:
    process = started(folder, "dashboard", "--port", str(port))
    try:
        _wait_for(lambda: _listens(port))
        ledgent(folder, "run", "start", "adder", "hi", "--agents", "helpers")
        assert "1 of 9 runs" in ledgent(folder, "run", "list", "--limit", "1").out
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Agents" not in out


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
