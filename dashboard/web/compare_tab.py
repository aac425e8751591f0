"""A run beside another one: which one is in the URL, so that a comparison can be sent to somebody."""

import streamlit as st

from ledgent.dashboard.diff import compare, side_of
from ledgent.dashboard.web.address import RunAddress, RunsAddress, run_address
from ledgent.dashboard.web.comparison import comparison_head, comparison_rows, settings_list
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.format import moment
from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.url import go, query
from ledgent.processors.runs import RunRow

STEPS_PER_PAGE = 200


def show(shelf: Library, run: RunRow, address: RunAddress) -> None:
    """The tab; the other run comes first, as what this one is held against."""
    _show_choice(shelf, run, address)
    other = shelf.run(address.other) if address.other else None
    if other is None:
        hint = (
            f"The store holds no run {address.other!r}." if address.other else "Choose a run to compare this one with."
        )
        render(tag("div", hint, cls="lg-hint"))
        return
    sides = []
    for row in (other, run):
        history = shelf.history(row)
        with history.turn:
            sides.append(side_of(row.run_id, history.records))
            if history.unread is not None:
                render(tag("div", f"Run {row.run_id} ends here early: {history.unread}", cls="lg-cut"))
    compared = compare(*sides)
    render(comparison_head(compared))
    render(settings_list(compared.settings))
    pages = max(-(-len(compared.rows) // STEPS_PER_PAGE), 1)
    page = min(address.page or (compared.parts_at or 0) // STEPS_PER_PAGE + 1, pages)
    if pages > 1:
        st.session_state["compare_page"] = page
        st.pagination(pages, key="compare_page", on_change=_turn_page)
    render(comparison_rows(compared, (page - 1) * STEPS_PER_PAGE, STEPS_PER_PAGE))


def _show_choice(shelf: Library, run: RunRow, address: RunAddress) -> None:
    names = {row.run_id: _name(row) for row in shelf.runs(RunsAddress(agents=(run.agent,))).runs if row != run}
    history = shelf.history(run)
    with history.turn:
        origin = history.state.origin
    offered = [origin.run_id] if origin else []
    offered += [address.other] if address.other else []
    options = list(dict.fromkeys([*offered, *names]))

    def follow() -> None:
        chosen = st.session_state["compare_with"] or ""
        go(run_address(query())._replace(run_id=run.run_id, other=chosen.strip(), page=0).params())

    st.session_state["compare_with"] = address.other or None
    st.selectbox(
        "Compare with",
        options,
        format_func=lambda run_id: (
            f"{names.get(run_id, run_id)}{', where it began' if origin and run_id == origin.run_id else ''}"
        ),
        key="compare_with",
        on_change=follow,
        accept_new_options=True,
        placeholder="A run of this agent, or any run's id",
        label_visibility="collapsed",
    )


def _name(row: RunRow) -> str:
    return f"{row.run_id[-8:]}, {row.status}, {moment(row.started_at)}: {row.input}"


def _turn_page() -> None:
    go(run_address(query())._replace(page=st.session_state["compare_page"]).params())
