"""The states of a run and its calls: the reducers take just the steps of the tables, and docs/states.md draws them."""

import random
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

from ledgent.schemas.agents import AgentSpec, Limits, OnUncertain, RetryPolicy
from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.state import Status
from ledgent.schemas.transitions import MODEL_CALL, NONE, RUN, TOOL_CALL, document, mermaid
from tests.agent.playing import Play, tools_of
from tests.schemas.chain import SPEC

RUNS = 2_500
STATES = Path(__file__).parents[2] / "docs" / "states.md"


def spec_of(dice: random.Random) -> AgentSpec:
    policy = dice.choice(["react", "tool_loop"])
    return SPEC.model_copy(
        update={
            "tools": tools_of(approval=True),
            "conversational": dice.random() < 0.5,
            "policy": policy,
            "text_protocol": policy == "react" and dice.random() < 0.5,
            "model": SPEC.model.model_copy(
                update={
                    "retry": RetryPolicy(attempts=3),
                    "stream": True,
                    "context_window": dice.choice([None, 400]),
                }
            ),
            "context": dice.choice([None, Trim(), Summarize()]),
            "fallbacks": (SPEC.model,) * dice.choice([0, 1]),
            "on_uncertain": dice.choice(get_args(OnUncertain)),
            "memory": dice.choice([None, "notes"]),
        }
    )


def observed(steps: list[tuple[str, str, str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """A table of what was seen: before, after, event."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for before, after, event in steps:
        found[before, after].add(event)
    return {change: tuple(sorted(events)) for change, events in found.items()}


@pytest.fixture(scope="module")
def seen() -> dict[str, list[tuple[str, str, str]]]:
    steps: dict[str, list[tuple[str, str, str]]] = {"run": [], "model": [], "tool": []}
    for seed in range(RUNS):
        dice = random.Random(seed)
        play = Play(seed, spec_of(dice), Limits(steps=dice.choice([2, 12])))
        play.on()
        for kind, some in play.steps.items():
            steps[kind] += some
    return steps


@pytest.mark.slow
def test_a_run_takes_just_these_steps(seen: dict[str, list[tuple[str, str, str]]]) -> None:
    # The worker fails a run that it cannot begin; no decision does.
    expected = {
        change: tuple(sorted(events)) for change, events in RUN.items() if change != (Status.NEW, Status.FAILED)
    }
    assert observed(seen["run"]) == expected


@pytest.mark.slow
def test_a_model_call_takes_just_these_steps(seen: dict[str, list[tuple[str, str, str]]]) -> None:
    assert observed(seen["model"]) == MODEL_CALL


@pytest.mark.slow
def test_a_tool_call_takes_just_these_steps(seen: dict[str, list[tuple[str, str, str]]]) -> None:
    assert observed(seen["tool"]) == TOOL_CALL


def test_a_table_is_drawn_with_its_ends() -> None:
    drawn = mermaid({(NONE, "on"): ("begun",), ("on", "off"): ("ended", "failed")})
    assert drawn.splitlines() == [
        "stateDiagram-v2",
        "    [*] --> on: begun",
        "    on --> off: ended, failed",
        "    off --> [*]",
    ]


def test_the_page_is_as_the_tables_are() -> None:
    assert STATES.read_text() == document(), "write it with: ledgent schema states > docs/states.md"
