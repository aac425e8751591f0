"""The sink: whatever comes in between, the store's tables are what the log says."""

import threading
import time
from collections.abc import Iterator

import pytest

from ledgent.processors import reads
from ledgent.processors.clickhouse import schema
from ledgent.processors.rebuild import check, rebuild
from ledgent.processors.sink import Sink
from ledgent.processors.store import Store, open_store
from ledgent.schemas.codec import Stored, decode, digest_of
from ledgent.schemas.errors import StoreError, StoreUnavailable, UnknownEventType
from ledgent.schemas.events import ToolCallCompleted
from ledgent.schemas.ports import Positioned
from ledgent.schemas.run import replay
from tests.processors.chain import Chain, ListFeed, mixed, runs, taken_over, with_tools
from tests.processors.stores import BreakingStore, Rows, tables_of


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('sink')}/store") as store:
        yield store


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    yield opened
    schema.drop(opened)


def made_at_once(store: Store, log: list[Stored]) -> Rows:
    """The tables that one undisturbed pass over the log makes."""
    rebuild(ListFeed(log), store)
    tables = tables_of(store)
    schema.drop(store)
    return tables


def verdicts_of(store: Store) -> list[str]:
    return [row["verdict"] for row in store.query("SELECT verdict FROM events FINAL ORDER BY `offset`")]


def test_every_record_has_a_row_and_the_rows_are_the_folds(store: Store) -> None:
    chains = runs(10)
    log = mixed(chains, seed=1)
    assert Sink(ListFeed(log), store).catch_up() == len(log)
    tables = tables_of(store)
    assert [row["offset"] for row in sorted(tables["events"], key=lambda row: row["offset"])] == list(range(len(log)))
    assert set(verdicts_of(store)) == {"accepted"}
    for chain in chains:
        row = reads.get_run(store, chain.run_id)
        state = replay(chain.run_id, chain.records).state
        assert row is not None
        assert (row.status, row.events, row.cost_usd) == (state.status, len(chain.records), state.spent.cost_usd)
        assert reads.run_records(store, chain.run_id) == chain.records


def test_the_call_and_the_attempt_that_a_record_is_about_have_columns(store: Store) -> None:
    log = [stored for chain in runs(5) for stored in chain.records]
    Sink(ListFeed(log), store).catch_up()
    events = [decode(stored).event for stored in log]
    rows = store.query("SELECT call_id, attempt FROM events FINAL ORDER BY `offset`")
    assert [(row["call_id"], row["attempt"]) for row in rows] == [
        (getattr(event, "call_id", ""), getattr(event, "attempt", 0)) for event in events
    ]
    assert {row["attempt"] for row in rows} == {0, 1, 2}


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 4, 50])
def test_blocks_of_any_size_make_the_same_tables(store: Store, size: int) -> None:
    log = mixed(runs(5), seed=2, duplicates=0.1, zombies=True)
    expected = made_at_once(store, log)
    Sink(ListFeed(log), store, block_records=size).catch_up()
    assert tables_of(store) == expected


@pytest.mark.slow
def test_a_sink_that_remembers_nothing_makes_the_same_tables(store: Store) -> None:
    log = mixed(runs(5), seed=3, duplicates=0.1, zombies=True)
    expected = made_at_once(store, log)
    Sink(ListFeed(log), store, block_records=6, known_runs=0).catch_up()
    assert tables_of(store) == expected


def test_duplicates_and_fenced_records_change_no_run(store: Store) -> None:
    chains = runs(10)
    log = mixed(chains, seed=4, duplicates=0.1, zombies=True)
    tables = made_at_once(store, log)
    Sink(ListFeed(mixed(chains, seed=5)), store).catch_up()
    undisturbed = tables_of(store)
    verdicts = [row["verdict"] for row in tables["events"]]
    assert verdicts.count("accepted") == sum(len(chain.records) for chain in chains)
    assert verdicts.count("duplicate") > len(log) * 0.05
    assert verdicts.count("fenced") >= 2 * len(chains)
    moves = {"last_offset", "fenced"}
    for name in ("runs", "spans"):
        for one, other in zip(tables[name], undisturbed[name], strict=True):
            assert {k: v for k, v in one.items() if k not in moves} == {
                k: v for k, v in other.items() if k not in moves
            }
    fenced = [row["run_id"] for row in tables["events"] if row["verdict"] == "fenced"]
    assert [row["fenced"] for row in tables["runs"]] == [fenced.count(chain.run_id) for chain in chains]


@pytest.mark.parametrize(
    ("done", "next_size"),
    [
        pytest.param(False, 40, id="nothing was stored"),
        pytest.param(True, 40, id="it was stored all the same", marks=pytest.mark.slow),
        pytest.param(False, 3, id="nothing was stored, smaller blocks follow", marks=pytest.mark.slow),
        pytest.param(True, 3, id="it was stored all the same, smaller blocks follow", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_stop_at_any_insert_leaves_nothing_wrong_for_the_next_sink(store: Store, done: bool, next_size: int) -> None:
    log = mixed(runs(5), seed=6, duplicates=0.1, zombies=True)
    expected = made_at_once(store, log)
    counting = BreakingStore(store)
    Sink(ListFeed(log), counting.as_store(), block_records=30).catch_up()
    assert tables_of(store) == expected
    assert counting.inserts >= 9
    for n in range(1, counting.inserts + 1):
        schema.drop(store)
        breaking = BreakingStore(store, n, done=done)
        with pytest.raises(StoreUnavailable):
            Sink(ListFeed(log), breaking.as_store(), block_records=30).catch_up()
        Sink(ListFeed(log), store, block_records=next_size, known_runs=2).catch_up()
        assert tables_of(store) == expected, f"stopped at insert {n}"


def test_a_sink_that_failed_goes_on_itself(store: Store) -> None:
    log = mixed(runs(5), seed=7)
    expected = made_at_once(store, log)
    breaking = BreakingStore(store, 2, 7, 9, 13, done=True)
    one = Sink(ListFeed(log), breaking.as_store(), block_records=13)
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            one.catch_up()
    one.catch_up()
    assert tables_of(store) == expected


def test_a_redelivered_block_is_left_out(store: Store) -> None:
    log = mixed(runs(5), seed=8)
    block = [Positioned(0, offset, stored) for offset, stored in enumerate(log)]
    expected = made_at_once(store, log)
    again = Sink(ListFeed(log), store)
    again.write(block[:30])
    again.write(block[:30])
    again.write(block[10:40])
    Sink(ListFeed(log), store).write(block[20:])
    Sink(ListFeed(log), store).write(block)
    assert tables_of(store) == expected
    assert store.query("SELECT count() AS rows FROM events")[0]["rows"] == len(log), "not even as a replaced row"


def test_two_sinks_that_write_the_same_block_do_not_double_it(store: Store) -> None:
    log = mixed(runs(5), seed=9, duplicates=0.1)
    expected = made_at_once(store, log)
    one, other = Sink(ListFeed(log), store), Sink(ListFeed(log), store, block_records=11)
    one.write([])
    other.write([])
    assert one.catch_up() == len(log)
    block = [Positioned(0, offset, stored) for offset, stored in enumerate(log)]
    other.write(block)
    assert tables_of(store) == expected


def test_a_sink_that_is_slower_than_its_successor_does_no_harm(store: Store) -> None:
    log = mixed(runs(5), seed=9, duplicates=0.1, zombies=True)
    block = [Positioned(0, offset, stored) for offset, stored in enumerate(log)]
    expected = made_at_once(store, log)
    slow, successor = (Sink(ListFeed(log), store, known_runs=0) for _ in range(2))
    slow.write(block[:25])
    successor.write(block[:60])
    slow.write(block[25:45])
    successor.write(block[60:])
    slow.write(block[45:])
    assert tables_of(store) == expected


@pytest.mark.slow
def test_partitions_are_followed_each_on_its_own(store: Store) -> None:
    chains = runs(10)
    halves = [mixed(chains[::2], seed=1), mixed(chains[1::2], seed=2)]
    breaking = BreakingStore(store, 5, done=True)
    with pytest.raises(StoreUnavailable):
        Sink(ListFeed(*halves), breaking.as_store(), block_records=17).catch_up()
    Sink(ListFeed(*halves), store, block_records=17).catch_up()
    for chain in chains:
        row = reads.get_run(store, chain.run_id)
        assert row is not None
        assert row.events == len(chain.records)
    assert check(ListFeed(*halves), store).differences == ()


def test_a_zombie_is_fenced_and_shown_as_such(store: Store) -> None:
    chain = Chain("r")
    taken_over(chain)
    zombie = chain.branch()
    zombie.records, zombie.writer, zombie.epoch = zombie.records[:5], "w1", 1
    late = zombie.put(ToolCallCompleted(call_id="m1.t0", result="paid", duration_ms=1.0), "m1.t0", 1)
    log = [*chain.records[:6], late, *chain.records[6:]]
    Sink(ListFeed(log), store).catch_up()
    shown = reads.events_of(store, "r")
    assert [event.verdict for event in shown if event.stored == late] == ["fenced"]
    assert [event.seq for event in shown] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10]
    row = reads.get_run(store, "r")
    assert row is not None
    assert (row.fenced, row.status) == (1, "failed")
    assert reads.run_records(store, "r") == chain.records
    assert [span.status for span in reads.spans_of(store, "r") if span.name == "pay"] == ["uncertain"]


def test_a_record_with_a_wrong_digest_is_broken(store: Store) -> None:
    chain = Chain("r").start()
    chain.asks("m1")
    *before, last = chain.records
    Sink(ListFeed([*before, Stored(last.body, "f" * 64)]), store).catch_up()
    assert verdicts_of(store) == ["accepted", "accepted", "broken"]
    row = reads.get_run(store, "r")
    assert row is not None
    assert (row.broken, row.events) == (1, 2)


def test_bytes_that_are_no_record_are_kept_with_the_reason_and_the_rest_goes_on(store: Store) -> None:
    chain = Chain("r").start()
    noise = [Stored(b"\xff\x00 no record \x80", "e" * 64), Stored(b"", ""), Stored(b'{"seq": 1}', "x")]
    told: list[tuple[int, bytes]] = []
    feed = ListFeed([chain.records[0], *noise, chain.records[1]])
    Sink(feed, store, on_unreadable=lambda place, _: told.append((place.offset, place.stored.body))).catch_up()
    assert told == [(1, noise[0].body), (2, noise[1].body), (3, noise[2].body)]
    assert verdicts_of(store) == ["accepted", "unreadable", "unreadable", "unreadable", "accepted"]
    kept = store.query("SELECT hex(body) AS bytes, reason FROM events FINAL WHERE run_id = '' ORDER BY `offset`")
    assert [bytes.fromhex(row["bytes"]) for row in kept] == [stored.body for stored in noise]
    assert all(row["reason"].startswith("the bytes are no record: ") for row in kept)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (b'"seq":2', b'"seq":0'),
        (b'"seq":2', b'"seq":99999999999999999999'),
        (b'"epoch":1', b'"epoch":-1'),
        (b'"cause":1', b'"cause":-1'),
        (b'"version":1', b'"version":4294967296'),
        (b'"2026-11-20T12:00:00.010000Z"', b'"2026-11-20T12:00:00.010000"'),
        (b'"at":"2026', b'"at":"9999'),
        (b'"run_id":"r"', b'"run_id":""'),
    ],
)
def test_an_envelope_that_no_column_can_hold_is_unreadable(store: Store, part: bytes, changed: bytes) -> None:
    first, second = Chain("r").start().records
    assert part in second.body
    Sink(ListFeed([first, Stored(second.body.replace(part, changed, 1), second.digest), second]), store).catch_up()
    assert verdicts_of(store) == ["accepted", "unreadable", "accepted"]


def test_a_payload_that_cannot_be_read_still_advances_its_run(store: Store) -> None:
    chain = Chain("r").start()
    chain.asks("m1")
    defect = chain.records[-1].body.replace(b'"attempt":1', b'"attempt":-')
    chain.records[-1] = Stored(defect, digest_of(chain.records[-2].digest, defect))
    chain.answers("m1", "hi")
    Sink(ListFeed(chain.records), store).catch_up()
    assert verdicts_of(store) == ["accepted"] * 4
    unread = reads.events_of(store, "r")[2]
    assert unread.stored.body == defect
    assert unread.reason.startswith("the payload of a model_call.started record cannot be read")
    row = reads.get_run(store, "r")
    assert row is not None
    assert (row.events, row.output) == (4, "hi")


def test_any_changed_byte_is_stored_as_it_is(store: Store) -> None:
    chain = Chain("r")
    with_tools(chain)
    log = []
    for n, stored in enumerate(chain.records):
        for place in range(n % 5, stored.body.index(b',"event":') + 9, 5):
            changed = bytearray(stored.body)
            changed[place] ^= 1 << (place % 8)
            log.append(Stored(bytes(changed), stored.digest))
        log.append(stored)
    Sink(ListFeed(log), store).catch_up()
    kept = store.query("SELECT hex(body) AS bytes FROM events FINAL ORDER BY `offset`")
    assert [bytes.fromhex(row["bytes"]) for row in kept] == [stored.body for stored in log]
    assert reads.run_records(store, "r") == chain.records
    assert verdicts_of(store).count("accepted") == len(chain.records)


def test_an_unknown_event_type_stops_the_sink_after_all_that_came_before(store: Store) -> None:
    chain = Chain("r").start()
    body = chain.records[-1].body.replace(b'"type":"run.started","version":1', b'"type":"run.dreamt","version":1', 1)
    chain.records[-1] = Stored(body, digest_of(chain.records[-2].digest, body))
    other = Chain("s").start()
    log = [*other.records, *chain.records]
    one = Sink(ListFeed(log), store)
    for _ in range(2):
        with pytest.raises(UnknownEventType, match=r"run\.dreamt.*upgrade"):
            one.catch_up()
    with pytest.raises(UnknownEventType):
        one.follow(threading.Event())
    assert verdicts_of(store) == ["accepted"] * 3


@pytest.mark.slow
def test_following_shows_a_record_within_two_seconds_and_waits_for_a_store_that_is_down(store: Store) -> None:
    chains = runs(5)
    log = mixed(chains, seed=10)
    growing: list[Stored] = log[:20]
    breaking = BreakingStore(store, 4, 5)
    follower = Sink(ListFeed(growing), breaking.as_store())
    stop = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(stop,))
    thread.start()
    try:
        waited_for(store, 20)
        growing += log[20:40]
        began = time.monotonic()
        while not follower.trouble:
            assert time.monotonic() - began < 5
            time.sleep(0.005)
        assert follower.trouble == "the store went away"
        waited_for(store, 40)
        assert breaking.inserts > 5
        began = time.monotonic()
        growing += log[40:]
        waited_for(store, len(log))
        assert time.monotonic() - began < 2
        assert follower.trouble == ""
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert check(ListFeed(log), store).differences == ()


def waited_for(store: Store, rows: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = store.query(
            "SELECT count() AS n FROM system.tables WHERE database = {d:String} AND name = 'events'",
            {"d": store.database},
        )
        if found[0]["n"] and store.query("SELECT count() AS n FROM events")[0]["n"] >= rows:
            return
        time.sleep(0.01)
    raise AssertionError(f"{rows} rows did not come")


def test_a_rebuild_makes_row_for_row_the_same_tables(store: Store) -> None:
    log = mixed(runs(5), seed=11, duplicates=0.1, zombies=True)
    Sink(ListFeed(log), store, block_records=9, known_runs=3).catch_up()
    before = tables_of(store)
    told: list[tuple[int, int]] = []
    assert rebuild(ListFeed(log), store, lambda done, total: told.append((done, total))) == len(log)
    assert tables_of(store) == before
    assert told[-1] == (len(log), len(log))


def test_a_check_names_each_row_that_is_not_what_the_log_says(store: Store) -> None:
    chains = runs(5)
    log = mixed(chains, seed=12)
    Sink(ListFeed(log), store).catch_up()
    assert check(ListFeed(log), store) == (len(log), 0, ())
    store.command(
        "ALTER TABLE runs UPDATE cost_usd = 7.5 WHERE run_id = {id:String} SETTINGS mutations_sync = 2",
        {"id": chains[0].run_id},
    )
    store.command(
        "ALTER TABLE spans DELETE WHERE run_id = {id:String} AND kind = 'run' SETTINGS mutations_sync = 2",
        {"id": chains[1].run_id},
    )
    row = store.query("SELECT * FROM runs FINAL LIMIT 1")[0]
    store.insert("runs", list(row), [["extra", *list(row.values())[1:]]])
    differences = [str(difference) for difference in check(ListFeed(log), store).differences]
    assert len(differences) == 3
    assert differences[0] == f"runs: run_id {chains[0].run_id}: cost_usd is 7.5, by the log 0.002"
    assert differences[1] == "runs: run_id extra: the row is not in the log"
    assert differences[2].startswith(f"spans: run_id {chains[1].run_id}, span_id ")
    assert differences[2].endswith("the row is missing")
    names = store.query("SELECT name FROM system.tables WHERE database = {d:String}", {"d": store.database})
    assert sorted(row["name"] for row in names) == ["events", "runs", "spans"], "the second set is dropped again"


def test_a_check_of_a_store_that_is_behind_compares_what_it_has(store: Store) -> None:
    log = mixed(runs(5), seed=13)
    Sink(ListFeed(log[:40]), store).catch_up()
    assert check(ListFeed(log), store) == (40, len(log) - 40, ())


def test_a_store_of_another_version_is_refused_with_the_remedy(store: Store) -> None:
    schema.create(store)
    store.command("ALTER TABLE runs MODIFY COMMENT 'ledgent tables, version 0'")
    with pytest.raises(StoreError, match="ledgent store rebuild"):
        Sink(ListFeed([]), store).catch_up()
    rebuild(ListFeed([]), store)
    schema.create(store)
