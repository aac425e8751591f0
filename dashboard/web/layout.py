"""Where the spans of a run stand in its waterfall: which row, how deep, from when to when. Pure: spans in, rows out.

What a span is, and when it began and ended, is decided in processors/spans.py.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ledgent.processors.span_rows import Kind, SpanRow, SpanStatus

SPANS_PER_PAGE = 2_000


class Bar(NamedTuple):
    """One row of the waterfall."""

    span: SpanRow
    depth: int
    """0: the run itself."""
    children: int
    """Spans directly beneath it."""
    start_ms: float
    """Since the run began."""
    length_ms: float | None
    """None: it goes on."""
    lead_ms: float
    """Of that, before the call itself began: the intent was being made durable."""


class Waterfall(NamedTuple):
    """The rows of one page, and the time they span."""

    bars: tuple[Bar, ...]
    began_at: datetime | None
    total_ms: float
    """From the beginning of the run to the last that is known of it."""
    page: int
    pages: int
    spans: int
    """Beneath the run, on all pages."""
    first: int
    """The number of the first of them on this page, from 1 on."""

    @property
    def cut(self) -> bool:
        """Whether there is more than is shown."""
        return self.pages > 1


def waterfall(spans: Sequence[SpanRow], *, page: int = 0, chosen: str = "", size: int = SPANS_PER_PAGE) -> Waterfall:
    """A page of the waterfall: the one asked for, else the one with the chosen span, else the first.

    The run's own row leads every page, so that each has something to hang from.
    """
    if not spans:
        return Waterfall((), None, 0.0, 1, 1, 0, 1)
    began_at = min((span.started_at for span in spans if span.started_at), default=None)
    last_at = max((at for span in spans if (at := span.ended_at or span.started_at)), default=None)
    total_ms = (last_at - began_at).total_seconds() * 1_000 if began_at and last_at else 0.0
    rows = _in_order(spans)
    pages = max(-(-(len(rows) - 1) // size), 1)
    if not page:
        place = next((index for index, row in enumerate(rows) if row[0].span_id == chosen), 0)
        page = max(place - 1, 0) // size + 1
    page = min(page, pages)
    first = (page - 1) * size + 1
    bars = tuple(_bar(*row, began_at) for row in (rows[0], *rows[first : first + size]))
    return Waterfall(bars, began_at, total_ms, page, pages, len(rows) - 1, first)


def as_data(fall: Waterfall, now: datetime, describe: Callable[[Bar], Any]) -> dict[str, Any]:
    """The page's rows for the browser: plain values, texts made by `describe(bar)`."""
    live = any(bar.length_ms is None for bar in fall.bars)
    now_ms = (now - fall.began_at).total_seconds() * 1_000 if fall.began_at else 0.0
    from_ms, until_ms = _range_ms(fall)
    return {
        "from_ms": from_ms,
        "until_ms": until_ms,
        "now_ms": max(now_ms, fall.total_ms) if live and fall.page == fall.pages else None,
        "bars": [describe(bar) for bar in fall.bars],
    }


def _range_ms(fall: Waterfall) -> tuple[float, float]:
    """What the axis covers: the whole run, or of a run in pages the time of what is on this one."""
    if not fall.cut or not fall.bars[1:]:
        return 0.0, fall.total_ms
    ends = [bar.start_ms + (bar.length_ms or 0.0) for bar in fall.bars[1:]]
    return min(bar.start_ms for bar in fall.bars[1:]), max(ends)


def _in_order(spans: Sequence[SpanRow]) -> list[tuple[SpanRow, int, int]]:
    """Each span after its parent and in order of beginning, with its depth and the number of its children.

    A span whose parent is not there, as when it could not be read, hangs from the run.
    """
    root = next((span for span in spans if span.kind == Kind.RUN), spans[0])
    known = {span.span_id for span in spans}
    beneath: defaultdict[str, list[SpanRow]] = defaultdict(list)
    for span in spans:
        if span is not root:
            adopted = span.parent_span_id not in known or span.parent_span_id == span.span_id
            beneath[root.span_id if adopted else span.parent_span_id].append(span)
    for children in beneath.values():
        children.sort(key=lambda span: (span.started_seq, span.span_id))
    placed: list[tuple[SpanRow, int, int]] = []
    waiting = [(root, 0)]
    while waiting:
        span, depth = waiting.pop()
        children = beneath.pop(span.span_id, [])
        placed.append((span, depth, len(children)))
        waiting += [(child, depth + 1) for child in reversed(children)]
    return placed


def _bar(span: SpanRow, depth: int, children: int, began_at: datetime | None) -> Bar:
    start_ms = (span.started_at - began_at).total_seconds() * 1_000 if span.started_at and began_at else 0.0
    length_ms = _length_ms(span)
    calls = span.kind in (Kind.MODEL_CALL, Kind.TOOL_CALL)
    lead_ms = max(length_ms - span.duration_ms, 0.0) if calls and length_ms and span.duration_ms is not None else 0.0
    return Bar(span, depth, children, start_ms, length_ms, lead_ms)


def _length_ms(span: SpanRow) -> float | None:
    """By the log's clock, so that a parent is never shorter than what is beneath it; 0 where nothing is known."""
    if span.open:
        return None
    if span.started_at and span.ended_at:
        return max((span.ended_at - span.started_at).total_seconds() * 1_000, 0.0)
    return span.duration_ms or 0.0


def is_failure(span: SpanRow) -> bool:
    """Whether it went wrong."""
    return span.status in (SpanStatus.ERROR, SpanStatus.REJECTED, SpanStatus.UNCERTAIN)
