"""The store as the pages read it: what was read once is not read again, and what is new comes in."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledgent.dashboard.web.address import RunsAddress
from ledgent.dashboard.web.events_tab import _describe
from ledgent.dashboard.web.library import EVENTS_PER_PAGE, Library
from ledgent.dashboard.web.run_list import as_data
from ledgent.processors.sink import Sink
from ledgent.processors.store import Store, open_store
from ledgent.schemas.errors import StoreUnavailable
from ledgent.schemas.ports import Positioned
from tests.processors import chain as chains

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path / 'store'}") as store:
        yield store


class Writing:
    """A log that goes into the store record by record."""

    def __init__(self, store: Store) -> None:
        self.offset = 0
        self._sink = Sink(chains.ListFeed([]), store)

    def write(self, *records: object) -> None:
        placed = [Positioned(0, self.offset + n, stored) for n, stored in enumerate(records)]  # type: ignore[arg-type]
        self.offset += len(placed)
        self._sink.write(placed)


def test_a_store_without_tables_holds_no_runs(store: Store) -> None:
    library = Library(store)
    assert library.runs(RunsAddress()).total == 0
    assert library.run("r1") is None


def test_a_run_is_followed_as_it_grows(store: Store) -> None:
    library, log = Library(store), Writing(store)
    chain = chains.Chain("run-1")
    chains.with_retries(chain)
    log.write(*chain.records[:5])
    run = library.run("run-1")
    assert run is not None
    history = library.history(run)
    assert len(history.records) == 5
    assert library.spans(run) is library.spans(run)
    log.write(*chain.records[5:])
    run = library.run("run-1")
    assert run is not None
    assert library.history(run) is history
    assert history.stored == chain.records
    assert {span.kind for span in library.spans(run)} == {"run", "model_call", "tool_call", "retry_wait"}


def test_a_run_is_found_by_the_beginning_of_its_id_if_it_is_the_only_one(store: Store) -> None:
    library, log = Library(store), Writing(store)
    for chain in chains.runs(3):
        log.write(*chain.records)
    found = library.run("019300000002")
    assert found is not None
    assert found.run_id == "019300000002"
    assert library.run("0193") is None
    assert library.run("") is None


def test_what_was_left_out_is_among_the_events_and_marked(store: Store) -> None:
    library, log = Library(store), Writing(store)
    chain = chains.Chain("run-1")
    chains.taken_over(chain)
    log.write(*chain.records[:5], *chains.zombies_of(chain), *chain.records[5:])
    run = library.run("run-1")
    assert run is not None
    history = library.history(run)
    rows = [_describe(read, history, chains.START) for read in library.events("run-1", 1)]
    assert [row["verdict"] for row in rows if row["verdict"]] == ["fenced", "fenced"]
    assert len(rows) == len(chain.records) + 2
    assert {row["what"] for row in rows if row["verdict"]} == {"timeout: no luck", "another worker took it over"}


def test_events_come_in_pages_of_fixed_places(store: Store) -> None:
    library, log = Library(store), Writing(store)
    chain = chains.Chain("run-1").start()
    for number in range(1, EVENTS_PER_PAGE):
        chain.asks(f"m{number}")
        chain.answers(f"m{number}", "and")
    log.write(*chain.records)
    first, second = library.events("run-1", 1), library.events("run-1", 2)
    assert [first[0].seq, first[-1].seq, second[0].seq] == [1, EVENTS_PER_PAGE, EVENTS_PER_PAGE + 1]
    assert not first.cut
    assert library.events("run-1", 9) == []


def test_the_list_counts_what_it_leaves_out(store: Store) -> None:
    library, log = Library(store), Writing(store)
    for chain in chains.runs(10):
        log.write(*chain.records)
    address = RunsAddress(statuses=("failed",))
    data = as_data(library.runs(address), address, NOW)
    assert (data["matching"], data["total"]) == ("2", "10")
    assert {facet["value"]: facet["count"] for facet in data["statuses"]} == {
        "completed": "2",
        "running": "2",
        "failed": "2",
        "limited": "2",
        "cancelled": "2",
    }
    assert [facet["chosen"] for facet in data["statuses"] if facet["value"] == "failed"] == [True]
    assert {row["trouble"] for row in data["rows"]} == {"auth: bad key"}


def test_a_facet_that_is_chosen_stays_although_it_matches_nothing(store: Store) -> None:
    library, log = Library(store), Writing(store)
    log.write(*chains.runs(1)[0].records)
    address = RunsAddress(statuses=("limited",), agents=("nobody",))
    data = as_data(library.runs(address), address, NOW)
    assert ("limited", "0", True) in [(f["value"], f["count"], f["chosen"]) for f in data["statuses"]]
    assert ("nobody", "0", True) in [(f["value"], f["count"], f["chosen"]) for f in data["agents"]]


def test_a_store_that_has_gone_is_a_clear_error(tmp_path: Path) -> None:
    url = f"chdb:///{tmp_path / 'store'}"
    with open_store(url):
        library = Library(open_store(url, join_only=True, patience_s=0.1))
    with pytest.raises(StoreUnavailable, match="`ledgent up`"):
        library.runs(RunsAddress())
    library.store.close()
