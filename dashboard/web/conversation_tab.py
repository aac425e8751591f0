"""One run as the talk it was."""

import streamlit as st

from ledgent.dashboard.web.address import RunAddress, run_address
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.conversation import TURNS_PER_PAGE, turns_of
from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.panels import turn
from ledgent.dashboard.web.url import go, query
from ledgent.processors.runs import RunRow


def show(shelf: Library, run: RunRow, address: RunAddress) -> None:
    """The tab. Each turn is an element of its own, so that one that is new moves none that is being read."""
    history = shelf.history(run)
    with history.turn:
        turns = turns_of(history.records)
        unread = history.unread
    pages = max(-(-len(turns) // TURNS_PER_PAGE), 1)
    page = min(address.page or 1, pages)
    first = (page - 1) * TURNS_PER_PAGE
    if pages > 1:
        last = min(first + TURNS_PER_PAGE, len(turns))
        with st.container(horizontal=True, vertical_alignment="center"):
            render(tag("div", f"Turns {first + 1:,} to {last:,} of {len(turns):,} are shown.", cls="lg-cut"))
            st.session_state["turn_page"] = page
            st.pagination(pages, key="turn_page", on_change=_turn_page)
    with st.container(gap="xsmall", key="talk"):
        for said in turns[first : first + TURNS_PER_PAGE]:
            render(turn(said))
    if not turns:
        render(tag("div", "Nothing has been said yet.", cls="lg-hint"))
    if unread is not None:
        render(tag("div", f"The conversation ends here because a record cannot be read: {unread}", cls="lg-cut"))


def _turn_page() -> None:
    go(run_address(query())._replace(page=st.session_state["turn_page"]).params())
