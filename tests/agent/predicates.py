"""Predicates over a run's state, as people write them: other processes find them by name."""

from ledgent.schemas.state import RunState


def said(state: RunState, word: str) -> bool:
    return state.output is not None and word in state.output


def after(state: RunState, steps: int) -> str:
    return f"{steps} steps are enough" if state.spent.steps >= steps else ""


def broken(state: RunState) -> bool:
    raise ZeroDivisionError("the predicate divides by zero")
