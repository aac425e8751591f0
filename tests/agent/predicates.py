"""Predicates over a run's state, as people write them: other processes find them by name."""

import time

from ledgent.schemas.state import RunState


def said(state: RunState, word: str) -> bool:
    return state.output is not None and word in state.output


def after(state: RunState, steps: int) -> str:
    return f"{steps} steps are enough" if state.spent.steps >= steps else ""


def broken(state: RunState) -> bool:
    raise ZeroDivisionError("the predicate divides by zero")


def at_the_time(state: RunState) -> str:
    """No pure function: it looks at the clock."""
    return f"it is {time.time_ns()}"


def this_year(state: RunState) -> bool:
    """No pure function, although it seldom shows."""
    return time.gmtime(time.time()).tm_year > 1970 and LATER in (state.output or "")


LATER = "done"
