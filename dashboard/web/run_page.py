"""The page with one run: its head, how it stands or ended, and a tab for each way to look at it."""

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from ledgent.dashboard.web import compare_tab, conversation_tab, events_tab, replay_tab, timeline_tab
from ledgent.dashboard.web.address import TABS, RunAddress, run_address
from ledgent.dashboard.web.connection import begin_again_when, guarded, library, render
from ledgent.dashboard.web.explain import explain
from ledgent.dashboard.web.format import is_live
from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.panels import explanation, notice, run_header
from ledgent.dashboard.web.url import go, query
from ledgent.processors.runs import RunRow
from ledgent.schemas.codec import export_line

REFRESH_S = 1.5

_SHOWN: dict[str, Callable[[Library, RunRow, RunAddress], None]] = {
    "timeline": timeline_tab.show,
    "events": events_tab.show,
    "conversation": conversation_tab.show,
    "replay": replay_tab.show,
    "compare": compare_tab.show,
}


def show() -> None:
    """The run that the URL names."""
    guarded(_show_page)


def _show_page() -> None:
    asked = run_address(query()).run_id
    run = library().run(asked)
    if run is None:
        _show_unknown(asked)
        return
    live = is_live(run)
    st.set_page_config(page_title=f"{run.agent or 'run'} {run.run_id[-8:]} - ledgent")

    def body() -> None:
        guarded(lambda: _show_run(run.run_id, live))

    st.fragment(body, run_every=REFRESH_S if live else None)()


def _show_unknown(asked: str) -> None:
    steps: tuple[str, ...] = ("`ledgent run list` shows the runs there are, and so does the page Runs.",)
    if asked:
        message = f"The store holds no run {asked!r}. If it has only just begun, it will be here in a moment."
        steps = (*steps, "`ledgent doctor` says whether the store is up with the log.")
    else:
        message = "The address of this page names no run."
    render(notice("Unknown run" if asked else "No run chosen", message.replace("`", "'"), steps, kind="bad"))
    if asked:
        begin_again_when(lambda: library().run(asked) is not None)


def _show_run(run_id: str, was_live: bool) -> None:
    shelf = library()
    run = shelf.run(run_id)
    if run is None or is_live(run) != was_live:
        st.rerun()  # it has ended, or the store was made anew: the page begins again, with or without a pulse
    assert run is not None
    address = run_address(query())._replace(run_id=run_id)
    render(run_header(run, datetime.now(UTC)))
    render(explanation(explain(run, shelf.spans(run)), run.status))
    with st.container(horizontal=True, vertical_alignment="center", key="tabline"):
        _show_tabs(address)
        st.space("stretch")
        _show_download(shelf, run)
    _SHOWN[address.tab](shelf, run, address)


def _show_tabs(address: RunAddress) -> None:
    def follow() -> None:
        now = run_address(query())._replace(run_id=address.run_id)
        go(now._replace(tab=st.session_state["tab"] or address.tab, page=0).params())

    st.session_state["tab"] = address.tab
    st.segmented_control(
        "View",
        TABS,
        format_func=str.capitalize,
        key="tab",
        required=True,
        on_change=follow,
        label_visibility="collapsed",
    )


def _show_download(shelf: Library, run: RunRow) -> None:
    def lines() -> bytes:
        history = shelf.history(run)
        with history.turn:
            return b"".join(export_line(stored) for stored in history.stored)

    st.download_button(
        "Download .jsonl",
        lines,
        file_name=f"{run.run_id}.jsonl",
        mime="application/jsonl",
        key="download",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
        help="The accepted records, byte for byte as the log has them, each with its digest.",
    )
