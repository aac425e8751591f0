"""Figures as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from ledgent.dashboard.web import format as figures
from ledgent.processors.runs import RunRow

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
THIN = "\N{NARROW NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("dollars", "known", "text"),
    [
        (None, True, "unknown"),
        (0.0, False, "unknown"),
        (0.0, True, DASH),
        (0.0021, True, "$0.0021"),
        (0.000042, True, "$0.000042"),
        (12.3456, True, "$12.3456"),
        (1234.5, True, "$1,234.50"),
        (0.5, False, "≥ $0.5000"),
    ],
)
def test_money_says_when_it_is_not_all(dollars: float | None, known: bool, text: str) -> None:
    assert figures.money(dollars, known=known) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, DASH), (999, "999"), (9_999, f"9{THIN}999"), (12_345, "12.3k"), (2_500_000, "2.50M")]
)
def test_tokens_are_shortened_from_ten_thousand_on(number: int, text: str) -> None:
    assert figures.tokens(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (59, "59 s ago"), (61, "1 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago"), (-5, "just now")],
)
def test_ago_is_one_unit(seconds: int, text: str) -> None:
    assert figures.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_nothing_is_a_dash() -> None:
    assert {figures.duration(None), figures.clock(None), figures.moment(None), figures.ago(None, NOW)} == {DASH}


def test_a_run_at_work_lasts_until_now_and_a_waiting_one_does_not() -> None:
    run = RunRow("r", status="running", started_at=NOW - timedelta(seconds=5), duration_ms=1_000)
    assert figures.duration_so_far(run, NOW) == 5_000
    assert figures.duration_so_far(run._replace(status="suspended"), NOW) == 1_000
    assert figures.duration_so_far(run, NOW - timedelta(seconds=60)) == 1_000
    assert figures.is_live(run)
    assert not figures.is_live(run._replace(status="limited"))
