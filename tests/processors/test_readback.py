"""What a sink reads back: it goes on where each partition stands, whoever has written past it."""

from collections.abc import Iterator, Sequence

import pytest

from ledgent.processors.clickhouse import schema
from ledgent.processors.sink import Sink
from ledgent.processors.store import Store, open_store
from ledgent.schemas.codec import Stored
from ledgent.schemas.errors import StoreUnavailable
from ledgent.schemas.ports import Positioned
from tests.processors.chain import Chain, ListFeed, mixed, runs
from tests.processors.stores import BreakingStore, NotedStore, tables_of


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('readback')}/store") as store:
        yield store


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    yield opened
    schema.drop(opened)


def block_of(*partitions: Sequence[Stored]) -> list[Positioned]:
    """All of these partitions, as one block may hold them."""
    return [
        Positioned(partition, offset, stored)
        for partition, records in enumerate(partitions)
        for offset, stored in enumerate(records)
    ]


def test_runs_are_read_back_each_as_of_the_position_of_its_partition(store: Store) -> None:
    chains = runs(10)
    one, other = mixed(chains[::2], seed=1, zombies=True), mixed(chains[1::2], seed=2)
    Sink(ListFeed(one, other), store).catch_up()
    expected = tables_of(store)
    schema.drop(store)
    slow, successor = (Sink(ListFeed(), store, known_runs=0) for _ in range(2))
    slow.write(block_of(one[:40], other[:5]))
    successor.write(block_of(one[:60], other[:50]))
    slow.write(block_of(one[:45], other[:20]))
    successor.write(block_of(one, other))
    slow.write(block_of(one, other))
    assert tables_of(store) == expected


@pytest.mark.parametrize("n", [2, 3])
def test_rows_that_a_crash_left_ahead_are_so_in_each_partition(store: Store, n: int) -> None:
    chains = runs(10)
    one, other = mixed(chains[::2], seed=1, zombies=True), mixed(chains[1::2], seed=2)
    Sink(ListFeed(one, other), store).catch_up()
    expected = tables_of(store)
    schema.drop(store)
    Sink(ListFeed(), store).write(block_of(one[:40], other[:10]))
    with pytest.raises(StoreUnavailable):
        Sink(ListFeed(), BreakingStore(store, n).as_store()).write(block_of(one[:45], other[:50]))
    Sink(ListFeed(), store).write(block_of(one, other))
    assert tables_of(store) == expected


def test_for_runs_that_begin_in_a_block_the_store_is_asked_once_whatever_their_partitions(store: Store) -> None:
    chains = runs(10)
    Sink(ListFeed(), store).write(block_of(chains[0].records, chains[1].records))
    noted = NotedStore(store)
    one = Sink(ListFeed(), noted.as_store())
    one.write(block_of(chains[0].records, chains[1].records))  # finds out where it stands
    before = noted.asked
    one.write(block_of(*([*chains[n].records, *chains[n + 2].records] for n in range(2))))
    assert noted.asked == before + 1
    assert {row["verdict"] for row in tables_of(store)["events"]} == {"accepted"}
    assert [row["events"] for row in tables_of(store)["runs"]] == [len(chain.records) for chain in chains[:4]]


@pytest.mark.slow
def test_no_query_names_more_runs_than_a_server_takes_in_one_parameter(store: Store) -> None:
    chains = [Chain(f"{n:036}").start() for n in range(4_000)]
    claims, starts = ([chain.records[n] for chain in chains] for n in range(2))
    noted = NotedStore(store)
    one = Sink(ListFeed(), noted.as_store(), known_runs=0)
    one.write(block_of(claims))
    one.write(block_of(claims + starts))
    one.write(block_of(claims + starts + claims))
    verdicts = store.query("SELECT verdict, count() AS n FROM events FINAL GROUP BY verdict ORDER BY verdict")
    assert [(row["verdict"], row["n"]) for row in verdicts] == [("accepted", 8_000), ("duplicate", 4_000)]
    assert 60_000 < noted.longest < 131_072, "http_max_field_value_size of a ClickHouse server"
