"""What a page shows stands in its URL, and comes back from it."""

from datetime import UTC, datetime, timedelta

import pytest

from ledgent.dashboard.web.address import RunAddress, RunsAddress, run_address, runs_address
from ledgent.processors.reads import RunOrder

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def listed(params: dict[str, str | list[str]]) -> dict[str, list[str]]:
    return {name: [value] if isinstance(value, str) else value for name, value in params.items()}


@pytest.mark.parametrize(
    "address",
    [
        RunsAddress(),
        RunsAddress(("failed", "limited"), ("shop", "two words & more"), 'it\'s "so"', "24h", RunOrder.COST, False, 7),
        RunsAddress(order=RunOrder.AGENT, descending=True),
        RunsAddress(order=RunOrder.AGENT, descending=False),
        RunsAddress(order=RunOrder.TOOL_ERRORS),
    ],
)
def test_a_list_comes_back_from_its_url(address: RunsAddress) -> None:
    assert runs_address(listed(address.params())) == address


@pytest.mark.parametrize(
    "address", [RunAddress("r1"), RunAddress("r1", "replay", 12), RunAddress("r1", "events", 3, "s", 2)]
)
def test_a_run_comes_back_from_its_url(address: RunAddress) -> None:
    assert run_address(listed(address.params())) == address


def test_what_goes_without_saying_is_not_in_the_url() -> None:
    assert RunsAddress().params() == {}
    assert RunAddress("r1").params() == {"run": "r1"}


def test_nonsense_in_a_url_is_left_out() -> None:
    nonsense = {
        "status": ["failed", "no such", "failed"],
        "since": ["yesterday"],
        "sort": ["started_at; DROP TABLE runs"],
        "dir": ["sideways"],
        "page": ["-1"],
    }
    assert runs_address(nonsense) == RunsAddress(statuses=("failed",))
    run = run_address({"run": ["r1"], "tab": ["secrets"], "seq": ["1e9"], "page": ["\N{SUPERSCRIPT TWO}"]})
    assert run == RunAddress("r1")


def test_since_is_counted_from_the_present() -> None:
    assert RunsAddress(since="1h").filter(NOW).since == NOW - timedelta(hours=1)
    assert RunsAddress().filter(NOW).since is None
