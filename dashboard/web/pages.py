"""The script that Streamlit runs for every pass: the frame, and in it what the URL names: a run, or the list of runs.

Both are one page to Streamlit: going from one to the other is then one step in the browser's history, there and back.
"""

import streamlit as st

from ledgent.dashboard.web import run_list, run_page
from ledgent.dashboard.web.components import style_sheet
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.url import go, query

_ABOUT = "**ledgent**: every model call, tool call, retry and failure of an agent, as events on a log."


def main() -> None:
    """One pass."""
    st.set_page_config(page_title="Runs - ledgent", layout="wide", menu_items={"About": _ABOUT})
    st.html(f"<style>{style_sheet()}</style>")
    shows_run = "run" in query()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="topline"):
        render(tag("a", "ledgent", href="./", target="_self", cls="lg-brand"), width="content")
        if shows_run:
            st.button("Runs", type="tertiary", icon=":material/arrow_back:", key="back", on_click=_back_to_list)
    if shows_run:
        run_page.show()
    else:
        run_list.show()


def _back_to_list() -> None:
    go(st.session_state.get(run_list.LAST_QUERY, {}))


main()
