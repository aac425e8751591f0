"""What pages and commands are told of runs."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ledgent.processors import reads
from ledgent.processors.reads import RunFilter, RunOrder
from ledgent.processors.sink import Sink
from ledgent.processors.store import Store, open_store
from ledgent.schemas.codec import decode
from ledgent.schemas.run import replay
from tests.processors.chain import START, STEP, Chain, ListFeed, mixed, runs

CHAINS = runs(20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('reads')}/store") as store:
        log = mixed(CHAINS, seed=1, duplicates=0.1, zombies=True)
        Sink(ListFeed(log), store, block_records=40).catch_up()
        for table in ("events", "runs", "spans"):  # twice: what is replaced must not be counted
            store.command(f"INSERT INTO {table} SELECT * FROM {table}")
        yield store


def ids(page: reads.RunPage) -> list[str]:
    return [row.run_id for row in page.runs]


def test_the_newest_runs_come_first_a_page_at_a_time(store: Store) -> None:
    newest = [chain.run_id for chain in reversed(CHAINS)]
    first = reads.list_runs(store, limit=8)
    second = reads.list_runs(store, limit=8, offset=8)
    assert ids(first) + ids(second) == newest[:16]
    assert (first.matching, first.total) == (20, 20)
    assert first.statuses == {"completed": 4, "limited": 4, "failed": 4, "cancelled": 4, "running": 4}
    assert first.agents == {"shop": 20}


def test_a_filter_counts_its_matches_and_what_other_choices_would_give(store: Store) -> None:
    page = reads.list_runs(store, RunFilter(statuses=["failed", "limited"], agents=["shop"]), limit=3)
    assert {row.status for row in page.runs} == {"failed", "limited"}
    assert (len(page.runs), page.matching, page.total) == (3, 8, 20)
    assert sum(page.statuses.values()) == 20
    assert page.agents == {"shop": 8}
    none = reads.list_runs(store, RunFilter(agents=["nobody"]))
    assert (none.runs, none.matching, none.total, none.statuses) == ((), 0, 20, {})


@pytest.mark.parametrize(
    ("text", "matching"),
    [("BAD KEY", 4), ("gold", 4), ("bells?", 8), ("reached its limit", 4), (CHAINS[3].run_id, 1), ("%", 0), ("'", 0)],
)
def test_text_is_found_in_ids_labels_errors_and_previews(store: Store, text: str, matching: int) -> None:
    assert reads.list_runs(store, RunFilter(text=text)).matching == matching


def test_times_bound_the_start_to_the_microsecond(store: Store) -> None:
    third = START + timedelta(seconds=3) + STEP
    on = RunFilter(since=third, until=third + timedelta(microseconds=1))
    assert ids(reads.list_runs(store, on)) == [CHAINS[3].run_id]
    assert reads.list_runs(store, RunFilter(since=third)).matching == 17
    assert reads.list_runs(store, RunFilter(until=third)).matching == 3


@pytest.mark.parametrize("order", RunOrder)
@pytest.mark.parametrize("descending", [True, False])
def test_every_order_sorts_without_losing_or_doubling_a_run(store: Store, order: RunOrder, descending: bool) -> None:
    pages = [
        reads.list_runs(store, order=order, descending=descending, limit=6, offset=offset) for offset in range(0, 24, 6)
    ]
    rows = [row for page in pages for row in page.runs]
    assert sorted(row.run_id for row in rows) == [chain.run_id for chain in CHAINS]
    if order is RunOrder.TOKENS:
        keys = [row.input_tokens + row.output_tokens for row in rows]
    else:
        keys = [getattr(row, order.value) for row in rows]
    assert keys == sorted(keys, reverse=descending)


def test_a_run_is_found_by_its_id_or_the_beginning_of_it(store: Store) -> None:
    row = reads.get_run(store, CHAINS[4].run_id)
    assert row is not None
    assert (row.run_id, row.status, row.events) == (CHAINS[4].run_id, "running", len(CHAINS[4].records))
    assert reads.get_run(store, "nobody") is None
    assert reads.find_runs(store, CHAINS[4].run_id) == (CHAINS[4].run_id,)
    assert reads.find_runs(store, "0193", limit=3) == tuple(chain.run_id for chain in CHAINS[:3])
    assert reads.find_runs(store, "%") == ()


def test_spans_come_in_the_order_in_which_they_began(store: Store) -> None:
    spans = reads.spans_of(store, CHAINS[1].run_id)
    assert [span.kind for span in spans] == [
        "run", "model_call", "retry_wait", "model_call", "tool_call", "retry_wait", "tool_call",
    ]  # fmt: skip
    assert len({span.span_id for span in spans}) == len(spans)
    assert spans[0].started_at == START + timedelta(seconds=1)


def test_records_come_back_byte_for_byte_each_once(store: Store) -> None:
    for chain in CHAINS:
        records = reads.run_records(store, chain.run_id)
        assert records == chain.records
        assert replay(chain.run_id, records).skipped == 0
    assert reads.run_records(store, CHAINS[0].run_id, after_seq=5) == CHAINS[0].records[5:]
    assert reads.run_records(store, "nobody") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_events_lose_none_and_double_none(store: Store, limit: int) -> None:
    chain: Chain = CHAINS[2]
    read: list[reads.EventRead] = []
    while page := reads.events_of(store, chain.run_id, read[-1].seq if read else 0, limit):
        read += page
    places = [(event.partition, event.offset) for event in read]
    assert len(places) == len(set(places))
    counted = store.query("SELECT count() AS n FROM events FINAL WHERE run_id = {id:String}", {"id": chain.run_id})
    assert len(read) == counted[0]["n"]
    assert "fenced" in {event.verdict for event in read}
    accepted = [event for event in read if event.verdict == "accepted"]
    assert [event.stored for event in accepted] == chain.records
    for event in accepted:
        record = decode(event.stored)
        assert (event.seq, event.at, event.type) == (record.seq, record.at, record.event.type)
        assert event.call_id == getattr(record.event, "call_id", "")
