"""Figures as people read them: durations, tokens, money, times. Pure: the present is passed in."""

from datetime import datetime

from ledgent.dashboard.timeline import took
from ledgent.processors.runs import RunRow
from ledgent.schemas.state import TERMINAL, Status

NONE = "\N{EN DASH}"

_BOUNDS = ((60.0, "s"), (3_600.0, "min"), (86_400.0, "h"), (float("inf"), "d"))


def duration(milliseconds: float | None) -> str:
    """A duration in the unit that suits it; a dash for none."""
    return NONE if milliseconds is None else took(milliseconds)


def count(number: int) -> str:
    """A whole number with its thousands apart; a dash for none."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if number else NONE


def tokens(number: int) -> str:
    """A number of tokens, in thousands or millions from 10,000 on; a dash for none."""
    if number < 10_000:
        return count(number)
    return f"{number / 1_000:.1f}k" if number < 999_950 else f"{number / 1_000_000:.2f}M"


def money(dollars: float | None, *, known: bool = True) -> str:
    """US dollars, small sums with four places; `≥` before a sum that leaves something out."""
    if dollars is None or (not dollars and not known):
        return "unknown"
    if not dollars:
        return NONE
    places = 2 if dollars >= 100 else 4 if dollars >= 0.0001 else 6
    return f"{'' if known else '≥ '}${dollars:,.{places}f}"


def clock(time: datetime | None) -> str:
    """The time of day to the millisecond, in UTC; a dash for none."""
    return time.strftime("%H:%M:%S.%f")[:-3] if time else NONE


def moment(time: datetime | None) -> str:
    """Date and time to the millisecond, in UTC; a dash for none."""
    return f"{time:%Y-%m-%d} {clock(time)} UTC" if time else NONE


def ago(time: datetime | None, now: datetime) -> str:
    """How long ago it was, in one unit; a dash for none."""
    if time is None:
        return NONE
    seconds = (now - time).total_seconds()
    if seconds < 2:
        return "just now"
    unit_s = 1.0
    for bound, unit in _BOUNDS:
        if seconds < bound:
            return f"{int(seconds / unit_s)} {unit} ago"
        unit_s = bound
    raise AssertionError("the last bound is infinite")


def offset(milliseconds: float) -> str:
    """The time since the beginning of a run."""
    return f"+{milliseconds / 1_000:.3f} s"


def is_live(run: RunRow) -> bool:
    """Whether more is to come."""
    return run.status not in TERMINAL


def duration_so_far(run: RunRow, now: datetime) -> float:
    """Milliseconds from its start to its end, or to the present while it is at work."""
    if run.status != Status.RUNNING or run.started_at is None:
        return run.duration_ms
    return max((now - run.started_at).total_seconds() * 1_000, run.duration_ms)
