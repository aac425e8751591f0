"""Days of simulated processes, each from one seed: whatever goes wrong in them, what is promised holds.

The 20,000 of `make simulate` are the same days, further on. One that fails is printed with the command that plays it
again: python -m tests.simulation.simulated_days SEED
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import EVENT_CLASSES, ModelCallFailed
from tests.simulation.simulated_days import Day, failing, play, told

CHECKOUT = Path(__file__).resolve().parents[2]
FEW = 4
"""For every check."""
CHUNK = 55
_PEOPLE = ("question.", "checkpoint.", "history.", "tool_call.reused")
_ELSEWHERE = (*_PEOPLE, "context.", "memory.", "model.fell_back", "rate_limit.")
ELSEWHERE = {name for name in EVENT_CLASSES if name.startswith(_ELSEWHERE)}
"""What people, long contexts, memories, fallbacks and allowances bring about, not what happens to processes."""


def test_nothing_that_is_promised_breaks_on_a_few_days() -> None:
    for text in failing(range(FEW)):
        pytest.fail(text, pytrace=False)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, 1_000, CHUNK))
def test_nothing_that_is_promised_breaks_on_a_thousand_days(first: int) -> None:
    for text in failing(range(first, first + CHUNK)):
        pytest.fail(text, pytrace=False)


def test_a_seed_gives_the_same_log_byte_for_byte() -> None:
    for seed in (3, 7):
        once, again = play(seed), play(seed)
        assert once.storage.topic, "nothing happened"
        assert (once.digest, once.faults) == (again.digest, again.faults)


@pytest.mark.slow
def test_a_seed_gives_the_same_log_in_every_process() -> None:
    seeds = (1, 2, 5, 8)
    for seed in seeds:
        command = [sys.executable, "-m", "tests.simulation.simulated_days", str(seed)]
        printed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        assert f"log {play(seed).digest[:16]}" in printed


def test_a_failing_day_is_told_with_the_command_that_plays_it_again() -> None:
    day = play(4)
    text = told(day._replace(violations=["something broke"]))
    assert text.startswith("seed 4: 1 violations")
    assert "VIOLATED something broke" in text
    assert "python -m tests.simulation.simulated_days 4" in text


@pytest.mark.slow
def test_the_days_have_in_them_what_they_are_made_for() -> None:
    days = [play(seed) for seed in range(120)]
    types = Counter(record.event.type for record in _records(days))
    assert not EVENT_CLASSES.keys() - ELSEWHERE - types.keys()
    assert types["tool_call.uncertain"] >= 5
    missing, seed = set(ErrorCode) - {ErrorCode.UNKNOWN_AGENT, ErrorCode.UNCERTAIN}, 0
    while missing:
        assert seed < 1_000, f"no model call failed with {', '.join(missing)}"
        failed = [record.event for record in _records([play(seed)]) if isinstance(record.event, ModelCallFailed)]
        missing -= {event.error.code for event in failed}
        seed += 1
    verdicts = sum((day.storage.verdicts for day in days), Counter[Verdict]())
    assert verdicts[Verdict.FENCED] >= 50
    assert verdicts[Verdict.DUPLICATE] >= 50
    assert not verdicts[Verdict.BROKEN]
    happened = "\n".join(line for day in days for line in day.faults)
    for fault in ("kill", "will die at", "pause", "jump", "move", "leave", "another", "stops: the log does not answer"):
        assert f" {fault}" in happened, fault


def _records(days: list[Day]) -> list[object]:
    return [record for day in days for records in day.storage.records.values() for record in records]
