"""The store as a caller meets it: opening, asking, inserting, and owners that come and go."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from socket import socket

import pytest

from ledgent.processors.clickhouse.lock import OwnerLock
from ledgent.processors.clickhouse.owner import Owner
from ledgent.processors.store import PeopleLimits, Store, open_store
from ledgent.processors.store_url import directory_of, discard_directory, route_to
from ledgent.schemas.errors import (
    LedgentError,
    SqlRefused,
    StoreCorrupt,
    StoreQueryRefused,
    StoreUnavailable,
    UsageError,
)

RUNS = frozenset({"runs"})
COLUMNS = ("run_id", "seq", "at", "cause", "labels")
TABLE = """
    CREATE TABLE IF NOT EXISTS runs (
        run_id String, seq UInt64, at DateTime64(6, 'UTC'), cause Nullable(UInt64), labels Map(String, String)
    ) ENGINE = ReplacingMergeTree ORDER BY (run_id, seq)
"""
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"chdb:///{tmp_path / 'store'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url) as store:
        store.command(TABLE)
        yield store


def row(seq: int) -> tuple[object, ...]:
    return ("r1", seq, NOON, seq - 1 if seq else None, {"team": "blue"})


# --- asking and inserting ----------------------------------------------------------------------------


def test_rows_come_back_as_dicts_with_aware_times(store: Store) -> None:
    assert store.insert("runs", COLUMNS, [row(0), row(1)]) == 2
    assert store.query("SELECT * FROM runs WHERE seq >= {low:UInt64} ORDER BY seq", {"low": 0}) == [
        dict(zip(COLUMNS, row(0), strict=True)),
        dict(zip(COLUMNS, row(1), strict=True)),
    ]


def test_frames_and_arrow_tables_have_their_columns_even_without_rows(store: Store) -> None:
    sql = "SELECT run_id, at FROM runs"
    assert list(store.query_df(sql).columns) == store.query_arrow(sql).column_names == ["run_id", "at"]
    store.insert("runs", COLUMNS, [row(0)])
    assert store.query_df(sql)["at"].tolist() == store.query_arrow(sql)["at"].to_pylist() == [NOON]
    assert store.query_arrow(sql)["run_id"].to_pylist() == ["r1"]


def test_inserting_nothing_is_nothing(store: Store) -> None:
    assert store.insert("runs", COLUMNS, []) == 0
    assert store.query("SELECT * FROM runs") == []


def test_a_table_made_anew_with_other_types_takes_the_new_ones(store: Store) -> None:
    store.insert("runs", ("run_id",), [("r1",)])
    store.command("DROP TABLE runs SYNC")
    store.command("CREATE TABLE runs (run_id UInt64) ENGINE = Memory")
    store.insert("runs", ("run_id",), [(7,)])
    assert store.query("SELECT run_id FROM runs") == [{"run_id": 7}]


@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT nothing FROM runs", 47), ("SELECT * FROM nowhere", 60), ("SELEC", 62)]
)
def test_a_refused_statement_is_one_line_with_its_code(store: Store, sql: str, code: int) -> None:
    with pytest.raises(StoreQueryRefused) as caught:
        store.query(sql)
    assert caught.value.code == code
    assert f"Code: {code}." in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_one_store_serves_many_threads(store: Store) -> None:
    def insert_and_ask(thread: int) -> int:
        for n in range(10):
            store.insert("runs", COLUMNS, [row(thread * 100 + n)])
            store.query("SELECT count() AS n FROM runs")
        return len(store.query("SELECT * FROM runs WHERE intDiv(seq, 100) = {t:UInt64}", {"t": thread}))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(insert_and_ask, range(8))) == [10] * 8


def test_people_are_told_when_there_is_more(store: Store) -> None:
    store.insert("runs", COLUMNS, [row(n) for n in range(20)])
    answer = store.query_people("SELECT seq FROM runs ORDER BY seq", tables=RUNS, limits=PeopleLimits(rows=7))
    assert (answer.columns, answer.rows, answer.cut) == (("seq",), [(n,) for n in range(7)], True)
    answer = store.query_people("SELECT seq FROM runs", tables=RUNS, limits=PeopleLimits(rows=20))
    assert (len(answer.rows), answer.cut) == (20, False)
    empty = store.query_people("SELECT seq, at FROM runs WHERE seq > 99", tables=RUNS)
    assert (empty.columns, empty.rows, empty.cut) == (("seq", "at"), [], False)


@pytest.mark.parametrize(
    ("sql", "limits", "code"),
    [
        ("SELECT count() FROM runs a, runs b, runs c, runs d", PeopleLimits(seconds=0.2), 159),
        ("SELECT groupArray(a.at) FROM runs a, runs b", PeopleLimits(memory_bytes=100_000), 241),
        ("SELECT a.at, b.at FROM runs a, runs b", PeopleLimits(result_bytes=10_000), 396),
    ],
)
def test_people_cannot_use_more_than_their_share(store: Store, sql: str, limits: PeopleLimits, code: int) -> None:
    store.insert("runs", COLUMNS, [row(n) for n in range(1000)])
    with pytest.raises(StoreQueryRefused) as caught:
        store.query_people(sql, tables=RUNS, limits=limits)
    assert caught.value.code == code


def test_people_ask_allowed_tables_only(store: Store) -> None:
    with pytest.raises(SqlRefused, match=r"the tables are runs"):
        store.query_people("SELECT * FROM system.tables", tables=RUNS)


def test_a_proxy_for_the_internet_is_not_asked_for_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with open_store(url) as store:
        assert store.query("SELECT 1 AS one") == [{"one": 1}]


# --- owners come and go ------------------------------------------------------------------------------


def test_the_first_to_open_owns_it_and_the_second_is_its_guest(store: Store, url: str) -> None:
    with open_store(url) as guest:
        assert (store.owner is None, guest.owner is None) == (False, True)
        guest.insert("runs", COLUMNS, [row(0)])
        assert len(store.query("SELECT * FROM runs")) == 1


def test_a_guest_goes_on_when_the_owner_leaves(store: Store, url: str) -> None:
    with open_store(url) as guest, open_store(url) as another:
        guest.insert("runs", COLUMNS, [row(0)])
        store.close()
        guest.insert("runs", COLUMNS, [row(1)])
        assert guest.owner is not None, "nobody else was there to own it"
        assert len(another.query("SELECT * FROM runs")) == 2
        assert another.owner is None


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed by this program"):
        store.query("SELECT 1")


def test_one_who_means_to_stay_waits_for_a_momentary_owner(store: Store, url: str) -> None:
    leaving = threading.Timer(0.3, store.close)
    leaving.start()
    started = time.monotonic()
    with open_store(url, stay=True, patience_s=20) as staying:
        assert time.monotonic() - started >= 0.3
        assert staying.owner is not None
        assert staying.owner.stays
    leaving.join()


def test_one_who_means_to_stay_does_not_wait_for_another_one_who_does(url: str) -> None:
    with open_store(url, stay=True) as staying:
        assert staying.owner is not None
        with pytest.raises(StoreUnavailable, match=f"already served by process {staying.owner.pid}"):
            open_store(url, stay=True, patience_s=20)
        with open_store(url) as guest:
            assert guest.owner is None


def test_waiting_for_an_owner_that_says_nothing_ends_with_a_clear_error(url: str) -> None:
    directory = directory_of(url)
    assert directory is not None
    mute = OwnerLock(directory)
    assert mute.acquire()
    with pytest.raises(StoreUnavailable, match=r"held by another process, which does not answer within 0\.2 s"):
        open_store(url, patience_s=0.2)
    mute.release()


def test_one_who_only_joins_never_owns_the_store(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"no process serves the store .*; start one with `ledgent up`"):
        open_store(url, join_only=True, patience_s=0.1)
    directory = directory_of(url)
    assert directory is not None
    assert not directory.exists()
    with open_store(url, stay=True) as owner:
        owner.command(TABLE)
        guest = open_store(url, join_only=True, patience_s=0.1)
        assert guest.owner is None
        assert guest.query("SELECT count() AS n FROM runs") == [{"n": 0}]
    with guest, pytest.raises(StoreUnavailable, match="no process serves the store"):
        guest.query("SELECT 1")
    assert OwnerLock(directory).address() is None


def test_one_who_only_joins_finds_the_next_owner(url: str) -> None:
    with open_store(url, stay=True):
        guest = open_store(url, join_only=True, patience_s=5)
    with guest, open_store(url, stay=True):
        assert guest.query("SELECT 1 AS one") == [{"one": 1}]


def test_one_who_only_joins_does_not_believe_a_dead_owners_address(url: str) -> None:
    directory = directory_of(url)
    assert directory is not None
    with open_store(url, stay=True):
        file = directory.with_name("store.address.json")
        address = file.read_text()
    file.write_text(address)
    with pytest.raises(StoreUnavailable, match="no process serves the store"):
        open_store(url, join_only=True, patience_s=0.1)


def test_an_address_that_answers_with_something_else_is_not_believed(store: Store, url: str) -> None:
    directory = directory_of(url)
    assert directory is not None
    file = directory.with_name("store.address.json")
    address = json.loads(file.read_text())
    file.write_text(json.dumps(address | {"password": "of a dead owner"}))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_store(url, patience_s=0.2)
    file.write_text(json.dumps(address))
    with open_store(url) as guest:
        assert guest.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_corrupt_store_can_be_discarded_and_made_anew(url: str) -> None:
    with open_store(url) as store:
        store.command(TABLE)
    directory = directory_of(url)
    assert directory is not None
    (directory / "metadata" / "ledgent.sql").write_bytes(b"garbage")
    with pytest.raises(StoreCorrupt, match="`ledgent store rebuild`"):
        open_store(url)
    discard_directory(url)
    with open_store(url) as store:
        assert store.query("SHOW TABLES") == []


def test_only_a_store_that_nobody_owns_is_discarded_and_nothing_but_a_store(store: Store, url: str) -> None:
    with pytest.raises(StoreUnavailable, match="in use"):
        discard_directory(url)
    store.close()
    directory = directory_of(url)
    assert directory is not None
    (directory / "thesis.txt").write_text("three years of work")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        discard_directory(url)
    assert (directory / "thesis.txt").exists()
    assert (directory / "metadata").exists()


OPEN_OFTEN = """
import sys
from ledgent.processors.store import open_store
url, writer, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
owned = 0
for n in range(times):
    with open_store(url) as store:
        store.command("CREATE TABLE IF NOT EXISTS seen (writer String, n UInt64) "
                      "ENGINE = ReplacingMergeTree ORDER BY (writer, n)")
        store.insert("seen", ("writer", "n"), [(writer, n)])
        found = store.query("SELECT count() AS n FROM seen FINAL WHERE writer = {w:String}", {"w": writer})
        assert found == [{"n": n + 1}], found
        owned += store.owner is not None
print(owned)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_open_and_close_in_a_race_lose_nothing(url: str) -> None:
    racing = [python(OPEN_OFTEN, url, writer, 5) for writer in "abc"]
    told = [process.communicate(timeout=120) for process in racing]
    assert [process.returncode for process in racing] == [0, 0, 0], told
    assert [err for _, err in told] == ["", "", ""]
    assert sum(int(out) for out, _ in told) >= 1
    with open_store(url) as store:
        assert store.query("SELECT count() AS n FROM seen FINAL") == [{"n": 15}]


STAY = """
import sys, time
from ledgent.processors.store import open_store
with open_store(sys.argv[1], stay=True) as store:
    print(store.owner.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_guest_goes_on_when_the_owner_is_killed(url: str) -> None:
    with python(STAY, url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open_store(url) as guest:
            assert guest.owner is None
            guest.command(TABLE)
            guest.insert("runs", COLUMNS, [row(0)])
            process.kill()
            process.wait()
            assert len(guest.query("SELECT * FROM runs")) == 1
            assert guest.owner is not None


# --- URLs --------------------------------------------------------------------------------------------


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert directory_of("chdb:///.ledgent/store") == tmp_path / ".ledgent" / "store"
    assert directory_of("chdb://.ledgent/store") == tmp_path / ".ledgent" / "store"
    assert directory_of("chdb:////var/ledgent store") == Path("/var/ledgent store")
    assert directory_of("clickhouse://host/x") is None


@pytest.mark.parametrize(
    ("url", "shown", "database"),
    [
        ("clickhouse://me:secret@db.example:9000/traces", "clickhouse://db.example:9000/traces", "traces"),
        ("clickhouse://db.example", "clickhouse://db.example:8123/ledgent", "ledgent"),
        ("clickhouses://me:se%2Fcret@[::1]/", "clickhouses://[::1]:8443/ledgent", "ledgent"),
    ],
)
def test_a_servers_url_is_shown_without_its_password(url: str, shown: str, database: str) -> None:
    route, found = route_to(url, stay=False, port=0, patience_s=1)
    assert (route.url, found) == (shown, database)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "chdb:",
        "chdb://",
        "chdb:///",
        "chdb:///a?b=c",
        "sqlite:///secret",
        "clickhouse://me:secret@",
        "clickhouse://me:secret@host:port/x",
        "clickhouse://me:secret@host/a`b",
        "clickhouse://me:secret@host/a/b",
        "me:secret@host",
    ],
)
def test_another_url_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(UsageError, match="clickhouse://user:password@host:8123/database") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_server_cannot_be_owned() -> None:
    with pytest.raises(UsageError, match="owns its own"):
        open_store("clickhouse://host/x", stay=True)


def test_a_server_that_does_not_answer_is_one_clear_error() -> None:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = listener.getsockname()[1]
        with pytest.raises(StoreUnavailable) as caught:
            open_store(f"clickhouse://me:secret@127.0.0.1:{port}/x")
    assert f"clickhouse://127.0.0.1:{port}/x" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_server_with_another_password_is_one_clear_error(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path / "store")
    assert lock.acquire()
    owner = Owner(lock, tmp_path / "store", stays=True)
    address = owner.address
    with pytest.raises(LedgentError, match="refuses this user and password") as caught:
        open_store(f"clickhouse://{address.user}:secret@127.0.0.1:{address.port}/x")
    assert "secret" not in str(caught.value)
    with open_store(f"clickhouse://{address.user}:{address.password}@127.0.0.1:{address.port}/x") as store:
        assert store.database == "x"
        assert store.query("SELECT engine FROM system.databases WHERE name = 'x'") == [{"engine": "Atomic"}]
    owner.close()
