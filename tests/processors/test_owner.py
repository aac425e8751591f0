"""The door to a chDB directory: what it answers over HTTP, and who may open it."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clickhouse_connect
import pytest
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from ledgent.processors.clickhouse.engine import Engine, Statement
from ledgent.processors.clickhouse.lock import Address, OwnerLock
from ledgent.processors.clickhouse.owner import Owner
from ledgent.processors.clickhouse.server import Server
from ledgent.schemas.errors import StoreCorrupt, StoreError, StoreQueryRefused, StoreUnavailable


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = claimed(tmp_path / "store")
    yield owner
    owner.close()


@pytest.fixture
def client(owner: Owner) -> Iterator[Client]:
    client = client_of(owner.address)
    client.command("CREATE TABLE numbers_seen (n UInt64, word String) ENGINE = MergeTree ORDER BY n")
    yield client
    hang_up(client)


def claim(directory: Path) -> Owner | None:
    lock = OwnerLock(directory)
    return Owner(lock, directory, stays=False) if lock.acquire() else None


def claimed(directory: Path) -> Owner:
    owner = claim(directory)
    assert owner is not None
    return owner


def client_of(address: Address, **options: object) -> Client:
    defaults = {"autogenerate_session_id": False, "pool_mgr": urllib3.PoolManager(maxsize=16)}
    return clickhouse_connect.get_client(
        host=address.host,
        port=address.port,
        username=address.user,
        password=address.password,
        **(defaults | options),
    )


def hang_up(client: Client) -> None:
    client.close_connections()
    client.close()


def get(address: Address, path: str, method: str = "GET", **request: object) -> urllib3.BaseHTTPResponse:
    url = f"http://{address.host}:{address.port}{path}"
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(method, url, **request)


def keys(address: Address) -> dict[str, str]:
    return {"X-ClickHouse-User": address.user, "X-ClickHouse-Key": address.password}


def refusal_of(client: Client, sql: str, **options: object) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        client.query(sql, **options)
    return caught.value


def run_python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# --- what it answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_they_were_inserted_however_they_travel(
    owner: Owner, client: Client, compress: bool | str
) -> None:
    travelling = client_of(owner.address, compress=compress, autogenerate_session_id=True)
    rows = [[n, f"word {n} \\ ' \n ü"] for n in range(1000)]
    summary = travelling.insert("numbers_seen", rows, ["n", "word"])
    found = travelling.query("SELECT n, word FROM numbers_seen ORDER BY n").result_rows
    assert [list(row) for row in found] == rows
    assert summary.written_rows == 1000
    hang_up(travelling)


@pytest.mark.parametrize("size", [9, 10, 13, 32, 34, 39, 200])
def test_any_number_of_columns_and_rows_can_be_inserted(client: Client, size: int) -> None:
    # Native begins with both as bytes: tabs, line feeds, carriage returns, blanks, quotes ...
    names = [f"c{n}" for n in range(size)]
    client.command(f"CREATE TABLE wide ({', '.join(f'{name} UInt32' for name in names)}) ENGINE = Memory")
    client.insert("wide", [list(range(size))] * size, names)
    assert client.query("SELECT * FROM wide").result_rows == [tuple(range(size))] * size


def test_an_answer_without_rows_still_has_its_columns(client: Client) -> None:
    empty = client.query("SELECT n + 1 AS more, word FROM numbers_seen WHERE n = {n:UInt64}", {"n": 5})
    assert (empty.result_rows, empty.column_names) == ([], ("more", "word"))
    assert client.query("WITH 1 AS one SELECT one, n FROM numbers_seen -- none").column_names == ("one", "n")
    assert client.query_arrow("SELECT n FROM numbers_seen").column_names == ["n"]


@pytest.mark.parametrize("value", ["", "plain", "it's", "back\\slash", "tab\tand\nline", "ü “ €", "x" * 100_000])
def test_parameters_reach_the_engine_unchanged(client: Client, value: str) -> None:
    answer = client.query("SELECT {value:String}, {number:Int32}", {"value": value, "number": -7})
    assert answer.result_rows == [(value, -7)]


@pytest.mark.parametrize(
    ("sql", "code", "text"),
    [
        ("SELEC 1", 62, "Syntax error"),
        ("SELECT * FROM nowhere", 60, "nowhere"),
        ("SELECT nothing FROM numbers_seen", 47, "nothing"),
        ("SELECT throwIf(1)", 395, "throwIf"),
        ("SELECT 1; SELECT 2", 62, "Multi-statements"),
    ],
)
def test_a_refusal_carries_the_engines_code_and_text(client: Client, sql: str, code: int, text: str) -> None:
    error = refusal_of(client, sql)
    assert error.code == code
    assert text in str(error)


def test_settings_count_for_their_own_request_only(owner: Owner, client: Client) -> None:
    asked = "SELECT getSetting('max_result_rows')"
    assert client.query(asked, settings={"max_result_rows": 17}).result_rows == [(17,)]
    assert client.query(asked).result_rows == [(0,)]
    unknown = get(owner.address, "/?query=SELECT+1&no_such_setting=1", headers=keys(owner.address))
    assert (unknown.status, unknown.headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    injected = get(owner.address, "/?query=SELECT+1&a%3D1,readonly=1", headers=keys(owner.address))
    assert injected.headers["X-ClickHouse-Exception-Code"] == "115"


def test_a_read_only_request_leaves_the_next_one_free_to_write(client: Client) -> None:
    assert refusal_of(client, "INSERT INTO numbers_seen VALUES (1, 'a')", settings={"readonly": 1}).code == 164
    client.command("INSERT INTO numbers_seen VALUES (1, 'a')")
    assert client.command("SELECT count() FROM numbers_seen", settings={"readonly": 1}) == 1


def test_read_only_means_neither_files_nor_other_peoples_statements(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    for sql in (f"SELECT 1 INTO OUTFILE '{file}' FORMAT CSV", "KILL QUERY WHERE 1", "SELECT * FROM file('x', 'CSV')"):
        with pytest.raises(DatabaseError) as caught:
            client.command(sql, settings={"readonly": 1})
        assert caught.value.code == 164
    assert not file.exists()


def test_limits_end_a_statement(client: Client) -> None:
    endless = "SELECT sum(sipHash64(number)) FROM system.numbers"
    assert refusal_of(client, endless, settings={"max_execution_time": 0.2}).code == 159
    assert refusal_of(client, "SELECT number FROM numbers(9)", settings={"max_result_rows": 5}).code == 396


def test_a_link_changes_nothing(owner: Owner, client: Client) -> None:
    answer = get(owner.address, "/?query=DROP+TABLE+numbers_seen", headers=keys(owner.address))
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert get(owner.address, "/?query=SELECT+1", headers=keys(owner.address)).data == b"1\n"


def test_three_ways_to_give_the_password_and_no_way_without(owner: Owner) -> None:
    address = owner.address
    basic = urllib3.make_headers(basic_auth=f"{address.user}:{address.password}")
    path = "/?query=SELECT+1"
    assert get(address, path, headers=keys(address)).data == b"1\n"
    assert get(address, path, headers=basic).data == b"1\n"
    assert get(address, f"{path}&user={address.user}&password={address.password}").data == b"1\n"
    for headers in (
        {},
        keys(address) | {"X-ClickHouse-Key": "guessed"},
        keys(address) | {"X-ClickHouse-User": "default"},
        urllib3.make_headers(basic_auth=f"{address.user}:"),
        {"Authorization": "Basic no-base64"},
        {"Authorization": "Bearer x"},
    ):
        refused = get(address, path, headers=headers)
        assert (refused.status, refused.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
        assert address.password not in refused.data.decode()


def test_it_listens_on_loopback_and_answers_a_ping_without_password(owner: Owner) -> None:
    assert owner.address.host == "127.0.0.1"
    assert get(owner.address, "/ping").data == b"Ok.\n"


def test_a_body_that_is_not_what_its_header_says_is_refused(owner: Owner) -> None:
    headers = keys(owner.address) | {"Content-Encoding": "lz4"}
    answer = get(owner.address, "/", "POST", headers=headers, body=b"SELECT 1")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "33"
    answer = get(owner.address, "/", "POST", headers=keys(owner.address), body=b"SELECT '\xff'")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "62"


def test_rows_may_follow_the_statement_in_other_formats_too(owner: Owner, client: Client) -> None:
    headers = keys(owner.address)
    statement = b'INSERT INTO numbers_seen (n, "word") FORMAT JSONEachRow\n{"n": 1, "word": "a FORMAT CSV\\n"}'
    assert get(owner.address, "/", "POST", headers=headers, body=statement).status == 200
    path = "/?query=INSERT%20INTO%20numbers_seen%20FORMAT%20CSV"
    assert get(owner.address, path, "POST", headers=headers, body=b'2,"b"\n').status == 200
    body = b"INSERT INTO numbers_seen VALUES (3, 'c FORMAT CSV\n')"
    assert get(owner.address, "/", "POST", headers=headers, body=body).status == 200
    found = client.query("SELECT * FROM numbers_seen ORDER BY n").result_rows
    assert found == [(1, "a FORMAT CSV\n"), (2, "b"), (3, "c FORMAT CSV\n")]


@pytest.mark.slow
def test_eight_threads_ask_one_client_while_another_one_inserts(owner: Owner, client: Client) -> None:
    blocks, rows_each = 20, 100

    def insert() -> None:
        for block in range(blocks):
            rows = [[block * rows_each + n, "x"] for n in range(rows_each)]
            client.insert("numbers_seen", rows, ["n", "word"])

    def ask(_: int) -> list[int]:
        return [client.query("SELECT count() FROM numbers_seen").result_rows[0][0] for _ in range(25)]

    with ThreadPoolExecutor(9) as threads:
        inserting = threads.submit(insert)
        counts = list(threads.map(ask, range(8)))
        inserting.result()
    for seen in counts:
        assert seen == sorted(seen)
        assert all(count % rows_each == 0 for count in seen)
    assert client.command("SELECT count() FROM numbers_seen") == blocks * rows_each


# --- opening, closing --------------------------------------------------------------------------------


def test_the_same_directory_can_be_opened_again_and_another_one_after_it(tmp_path: Path) -> None:
    for directory in (tmp_path / "one", tmp_path / "one", tmp_path / "ü two #&%"):
        owner = claimed(directory)
        owner.close()
        owner.close()


def test_a_second_directory_at_the_same_time_is_one_clear_error(owner: Owner, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(StoreError, match="can open only one chDB directory"):
        claim(other)
    assert OwnerLock(other).acquire(), "the lock was not given back"


def test_closing_ends_a_statement_that_will_not_end(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "store")
    server = Server(engine, "user", "password", patience_s=0.2)
    address = Address("127.0.0.1", server.port, "user", "password", os.getpid(), stays=False)
    body = b"SELECT sum(sipHash64(number)) FROM system.numbers"
    with ThreadPoolExecutor(1) as threads:
        endless = threads.submit(get, address, "/", "POST", headers=keys(address), body=body)
        while engine.run(Statement("SELECT count() FROM system.processes")).body == b"1\n":
            time.sleep(0.01)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 5
        engine.close()
        assert isinstance(endless.exception(), urllib3.exceptions.HTTPError)


def test_a_busy_port_is_one_clear_error(owner: Owner, tmp_path: Path) -> None:
    engine = owner._engine
    with pytest.raises(StoreUnavailable, match=f"cannot listen on 127.0.0.1:{owner.address.port}"):
        Server(engine, "user", "password", owner.address.port)


def test_a_place_that_cannot_be_a_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="LEDGENT_STORE"):
        claim(tmp_path / "file")
    with pytest.raises(StoreUnavailable, match="LEDGENT_STORE"):
        claim(tmp_path / "file" / "store")


def test_an_unreadable_directory_says_what_brings_it_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "store"
    owner = claimed(directory)
    owner._engine.run(Statement("CREATE DATABASE ledgent ENGINE = Atomic"))
    owner.close()
    (directory / "metadata" / "ledgent.sql").write_bytes(b"\xff\x00garbage")
    with pytest.raises(StoreCorrupt, match=r"ledgent\.sql.*`ledgent store rebuild`"):
        claim(directory)
    assert capfd.readouterr().err == "", "the engine wrote to the terminal"
    assert OwnerLock(directory).acquire(), "the lock was not given back"


def test_rows_that_the_engine_set_aside_are_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    owner = claimed(directory)
    for sql in (
        "CREATE DATABASE ledgent ENGINE = Atomic",
        "CREATE TABLE ledgent.seen (n UInt64) ENGINE = MergeTree ORDER BY n",
        "INSERT INTO ledgent.seen SELECT number FROM numbers(1000)",
    ):
        owner._engine.run(Statement(sql))
    owner.close()
    (columns,) = directory.glob("store/*/*/all_1_1_0/columns.txt")
    columns.write_bytes(b"garbage")
    with pytest.raises(StoreCorrupt, match=r"files of ledgent\.seen cannot be read"):
        claim(directory)


# --- who may open it ---------------------------------------------------------------------------------


def test_only_one_can_own_a_directory_and_tells_where_it_answers(owner: Owner) -> None:
    assert claim(owner.directory) is None
    lock = OwnerLock(owner.directory)
    assert lock.address() == owner.address
    file = owner.directory.with_name("store.address.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert owner.address.password not in repr(owner.address)
    owner.close()
    assert lock.address() is None
    assert lock.acquire()
    lock.release()


def test_a_dead_owners_address_is_gone_as_soon_as_the_lock_is_taken(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path / "store")
    assert lock.acquire()
    lock.publish(Address("127.0.0.1", 1, "ledgent", "old", 1, stays=True))
    lock.release()  # without withdrawing it, as a killed process would
    assert lock.acquire()
    assert lock.address() is None
    lock.release()


HOLD = """
import sys, time
from pathlib import Path
from ledgent.processors.clickhouse.engine import Statement
from ledgent.processors.clickhouse.lock import OwnerLock
from ledgent.processors.clickhouse.owner import Owner
directory = Path(sys.argv[1])
lock = OwnerLock(directory)
assert lock.acquire()
owner = Owner(lock, directory, stays=False)
for sql in ("CREATE DATABASE IF NOT EXISTS ledgent ENGINE = Atomic",
            "CREATE TABLE IF NOT EXISTS ledgent.seen (n UInt64) ENGINE = MergeTree ORDER BY n"):
    owner._engine.run(Statement(sql))
n = 0
while True:
    owner._engine.run(Statement(f"INSERT INTO ledgent.seen VALUES ({n})"))
    print(n, flush=True)
    n += 1
"""


@pytest.mark.slow
def test_a_killed_owner_is_followed_at_once_and_its_acknowledged_rows_are_there(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    acknowledged = 0
    for _ in range(3):
        with run_python(HOLD, directory) as process:
            assert process.stdout is not None
            for _ in range(25):
                process.stdout.readline()
            assert claim(directory) is None
            process.kill()
            acknowledged += 25 + len(process.stdout.read().splitlines())
        assert OwnerLock(directory).address() is not None, "it left nothing behind, so it was not killed in time"
        started = time.monotonic()
        owner = claimed(directory)
        assert time.monotonic() - started < 2
        rows = int(owner._engine.run(Statement("SELECT count() FROM ledgent.seen")).body)
        owner.close()
        # The last one of each life may have been stored and not yet been told.
        assert acknowledged <= rows <= acknowledged + 3


FORK = """
import os, signal, sys, time
from pathlib import Path
from ledgent.processors.clickhouse.lock import OwnerLock
lock = OwnerLock(Path(sys.argv[1]))
assert lock.acquire()
if os.fork() == 0:
    time.sleep(60)
print("forked", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_child_does_not_keep_its_dead_parents_lock(tmp_path: Path) -> None:
    process = run_python(FORK, tmp_path / "store", start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        process.wait()
        lock = OwnerLock(tmp_path / "store")
        deadline = time.monotonic() + 5  # the child drops it as soon as it runs
        while not lock.acquire():
            assert time.monotonic() < deadline, "the child keeps the lock"
            time.sleep(0.01)
        lock.release()
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


@pytest.mark.slow
def test_the_interpreter_ends_cleanly_with_an_owner_left_open(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from ledgent.processors.clickhouse.engine import Statement
from ledgent.processors.clickhouse.lock import OwnerLock
from ledgent.processors.clickhouse.owner import Owner
directory = Path(sys.argv[1])
lock = OwnerLock(directory)
assert lock.acquire()
owner = Owner(lock, directory, stays=False)
owner._engine.run(Statement("SELECT 1"))
"""
    process = run_python(code, tmp_path / "store")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_statement_under_an_open_engine_keeps_its_own_refusals(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "store")
    with pytest.raises(StoreQueryRefused) as caught:
        engine.run(Statement("INSERT INTO nowhere (n)", data_format="Native", data=b"\x01"))
    assert caught.value.code == 60
    assert engine.run(Statement("SELECT 1")).body == b"1\n"
    engine.close()
