"""One run as a tree and a waterfall of spans, with what there is to read about the chosen one."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from ledgent.dashboard.web import detail
from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.address import RunAddress, run_address
from ledgent.dashboard.web.components import waterfall as waterfall_component
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.icons import SPAN_WORDS
from ledgent.dashboard.web.layout import Bar, Waterfall, as_data, is_failure, waterfall
from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.panels import sections
from ledgent.dashboard.web.url import go, query
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import Kind, SpanRow

KEY = "waterfall"
UNASKED_EVENTS = 5_000
"""In a run with more than these nothing is read out before a span is chosen: all its records would have to be read."""


def show(shelf: Library, run: RunRow, address: RunAddress) -> None:
    """The tab."""
    spans = shelf.spans(run)
    fall = waterfall(spans, page=address.page, chosen=address.span)
    if not spans:
        render(tag("div", "No span has begun yet.", cls="lg-hint"))
        return
    chosen = next((span for span in spans if span.span_id == address.span), fall.bars[0].span)
    left, right = st.columns([64, 36], gap="small")
    with left:
        if fall.cut:
            _show_pages(fall)
        data = as_data(fall, datetime.now(UTC), _describe)
        waterfall_component({**data, "chosen": chosen.span_id}, key=KEY, on_span=_choose)
        render(tag("div", _KEYS, cls="lg-hint lg-small"))
    with right, st.container(height=592, border=True, key="detail"):
        if not address.span and run.events > UNASKED_EVENTS:
            render(tag("div", "Choose a span to read what was sent and what came back.", cls="lg-hint"))
        else:
            _show_detail(shelf, run, chosen)


_KEYS = "Arrow keys move and fold, Enter chooses; a double click or Z zooms to a span, Escape shows all again."


def _choose() -> None:
    now = run_address(query())
    go(now._replace(span=st.session_state[KEY].span or now.span).params())


def _show_pages(fall: Waterfall) -> None:
    def turn() -> None:
        go(run_address(query())._replace(page=st.session_state["span_page"], span="").params())

    last = fall.first + len(fall.bars) - 2
    with st.container(horizontal=True, vertical_alignment="center"):
        render(tag("div", f"Spans {fall.first:,} to {last:,} of {fall.spans:,} are shown.", cls="lg-cut"))
        st.session_state["span_page"] = fall.page
        st.pagination(fall.pages, key="span_page", on_change=turn)


def _show_detail(shelf: Library, run: RunRow, span: SpanRow) -> None:
    history = shelf.history(run)
    with history.turn:
        found = detail.of_span(span, history)
    attempt = f", attempt {span.attempt}" if span.attempt > 1 else ""
    title = f"{SPAN_WORDS.get(span.kind, span.kind)} {span.call_id}{attempt}"
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        render(
            tag("div", tag("div", span.name or title, cls="lg-headline"), tag("div", title, cls="lg-muted lg-small"))
        )
        for label, tab, icon in (("Events", "events", "list"), ("Replay", "replay", "history")):
            st.button(
                label,
                key=f"to_{tab}",
                on_click=_look,
                args=(tab, span.ended_seq or span.started_seq),
                icon=f":material/{icon}:",
                type="tertiary",
            )
    render(sections(found))


def _look(tab: str, seq: int) -> None:
    go(run_address(query())._replace(tab=tab, seq=seq, page=0).params())


def _describe(bar: Bar) -> dict[str, Any]:
    """A row for the browser."""
    span = bar.span
    used = span.input_tokens + span.output_tokens
    note = f"{figures.tokens(used)} tokens" if used and span.kind == Kind.MODEL_CALL else ""
    label = SPAN_WORDS.get(span.kind, span.kind) if span.kind in _WAITS else span.name or span.kind
    label += ", summary" if span.purpose == "summary" else ""
    return {
        "id": span.span_id,
        "depth": bar.depth,
        "children": bar.children,
        "kind": span.kind,
        "label": label,
        "call": span.call_id,
        "attempt": span.attempt,
        "state": span.status,
        "start": bar.start_ms,
        "length": bar.length_ms,
        "lead": bar.lead_ms,
        "first": span.first_token_ms,
        "took": figures.duration(span.duration_ms) if span.duration_ms is not None else "",
        "note": note,
        "error": (span.error_code or span.status) if is_failure(span) and span.kind != Kind.RUN else "",
        "title": f"{label}: {span.status}"
        + (f", {span.error_code}: {span.error_message[:300]}" if span.error_code else ""),
    }


_WAITS = (Kind.RETRY_WAIT, Kind.INPUT_WAIT, Kind.HANDOVER_WAIT)
