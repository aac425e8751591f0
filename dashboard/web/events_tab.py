"""One run record by record, with the payload and envelope of the chosen one."""

from datetime import datetime
from typing import Any

import streamlit as st

from ledgent.dashboard.timeline import Timeline
from ledgent.dashboard.web import detail
from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.address import RunAddress, run_address
from ledgent.dashboard.web.components import events_list
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.history import History
from ledgent.dashboard.web.icons import tone
from ledgent.dashboard.web.library import EVENTS_PER_PAGE, EventPage, Library
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.panels import sections
from ledgent.dashboard.web.url import go, query
from ledgent.processors.reads import EventRead
from ledgent.processors.runs import RunRow
from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import BadRecord

KEY = "events"


def show(shelf: Library, run: RunRow, address: RunAddress) -> None:
    """The tab."""
    pages = max(-(-run.events // EVENTS_PER_PAGE), 1)
    page = min(address.page or max(address.seq - 1, 0) // EVENTS_PER_PAGE + 1, pages)
    found = shelf.events(run.run_id, page)
    history = shelf.history(run)
    with history.turn:
        rows = [_describe(read, history, _began_at(history, run)) for read in found]
    chosen = _chosen(found, address.seq)
    left, right = st.columns([64, 36], gap="small")
    with left:
        _show_cuts(found, run, page, pages)
        events_list({"rows": rows, "chosen": _key(chosen) if chosen else ""}, key=KEY, on_seq=_choose)
    with right, st.container(height=592, border=True, key="detail"):
        if chosen is None:
            render(tag("div", "Choose a record to read its payload, its cause and its digest.", cls="lg-hint"))
            return
        place = tag("div", f"record {chosen.seq}", cls="lg-muted lg-small")
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            render(tag("div", tag("div", chosen.type, cls="lg-headline lg-mono"), place))
            if chosen.verdict == Verdict.ACCEPTED:
                st.button("Replay", key="to_replay", on_click=_replay, icon=":material/history:", type="tertiary")
        render(sections(detail.of_record(chosen)))


def _show_cuts(found: EventPage, run: RunRow, page: int, pages: int) -> None:
    if pages > 1:
        first = (page - 1) * EVENTS_PER_PAGE + 1
        last = min(page * EVENTS_PER_PAGE, run.events)
        with st.container(horizontal=True, vertical_alignment="center"):
            render(tag("div", f"Records {first:,} to {last:,} of {run.events:,} are shown.", cls="lg-cut"))
            st.session_state["event_page"] = page
            st.pagination(pages, key="event_page", on_change=_turn)
    if found.cut:
        said = f"Only the first {len(found):,} records of this page are shown: too many of them were not accepted."
        render(tag("div", said, cls="lg-cut"))


def _chosen(found: EventPage, seq: int) -> EventRead | None:
    """The record with this seq, or the very one that was clicked where several have it."""
    here = [read for read in found if read.seq == seq]
    picked = st.session_state.get("event_picked", "")
    accepted = next((read for read in here if read.verdict == Verdict.ACCEPTED), None)
    return next((read for read in here if _key(read) == picked), accepted or (here[0] if here else None))


def _key(read: EventRead) -> str:
    return f"{read.seq}/{read.partition}/{read.offset}"


def _choose() -> None:
    picked = st.session_state[KEY].seq
    if picked:
        st.session_state["event_picked"] = picked
        go(run_address(query())._replace(seq=int(picked.partition("/")[0]), page=0).params())


def _turn() -> None:
    go(run_address(query())._replace(page=st.session_state["event_page"], seq=0).params())


def _replay() -> None:
    go(run_address(query())._replace(tab="replay", page=0).params())


def _began_at(history: History, run: RunRow) -> datetime | None:
    return history.records[0].at if history.records else run.started_at


def _describe(read: EventRead, history: History, began_at: datetime | None) -> dict[str, Any]:
    """A row for the browser."""
    accepted = read.verdict == Verdict.ACCEPTED
    took, row_tone = None, "plain"
    if accepted and 0 < read.seq <= len(history.lines):
        line = history.lines[read.seq - 1]
        what, took, row_tone = line.what, line.took_ms, line.tone
    else:
        what = _what_alone(read)
    since = (read.at - began_at).total_seconds() * 1_000 if began_at else 0.0
    return {
        "key": _key(read),
        "seq": read.seq,
        "offset": f"{since / 1_000:+.3f}",
        "type": read.type,
        "call": read.call_id,
        "what": what,
        "took": figures.duration(took) if took is not None else "",
        "tone": row_tone,
        "verdict": "" if accepted else read.verdict,
        "verdict_tone": tone(read.verdict),
    }


def _what_alone(read: EventRead) -> str:
    """What a record says that is not part of the run's history."""
    try:
        return Timeline().line(decode(read.stored)).what
    except BadRecord as error:
        return read.reason or str(error)
