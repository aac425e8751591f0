"""The replay stepper: the state after each record, folded from the records alone, and what the record changed."""

import streamlit as st

from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.address import RunAddress, run_address
from ledgent.dashboard.web.connection import render
from ledgent.dashboard.web.history import Step
from ledgent.dashboard.web.json_view import lines_of
from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.markup import tag
from ledgent.dashboard.web.panels import change_list, json_lines
from ledgent.dashboard.web.url import go, query
from ledgent.processors.runs import RunRow


def show(shelf: Library, run: RunRow, address: RunAddress) -> None:
    """The tab; without a seq in the URL it stands after the last record."""
    history = shelf.history(run)
    with history.turn:
        last = len(history.records)
        seq = min(address.seq or last, last)
        step = history.step(seq)
        unread = history.unread
    if unread is not None:
        render(tag("div", f"The replay ends at record {last}: {unread}", cls="lg-cut"))
    if step is None:
        render(tag("div", "There is no record to step through yet.", cls="lg-hint"))
        return
    _show_controls(seq, last)
    _show_record(step)
    left, right = st.columns([58, 42], gap="small")
    with left, st.container(height=540, border=False, key="state"):
        render(tag("h3", f"State after record {seq}", cls="lg-label"))
        render(json_lines(lines_of(step.state, step.changed)))
    with right, st.container(height=540, border=False, key="changes"):
        render(tag("h3", f"Changed by record {seq}", cls="lg-label"))
        render(change_list(step.changed))


def _show_controls(seq: int, last: int) -> None:
    moves = (
        ("First", "first_page", 1, "Home"),
        ("Previous", "chevron_left", max(seq - 1, 1), "Left"),
        ("Next", "chevron_right", min(seq + 1, last), "Right"),
        ("Last", "last_page", last, "End"),
    )
    with st.container(horizontal=True, vertical_alignment="center", key="stepper"):
        for label, icon, target, shortcut in moves:
            st.button(
                label,
                key=f"step_{label.lower()}",
                on_click=_step_to,
                args=(target,),
                icon=f":material/{icon}:",
                disabled=target == seq,
                shortcut=shortcut,
            )
        if last > 1:
            st.session_state["step"] = seq
            st.slider("Record", 1, last, key="step", on_change=_slide, label_visibility="collapsed", width="stretch")
        render(tag("div", f"{seq:,} of {last:,}", cls="lg-muted lg-place"))


def _show_record(step: Step) -> None:
    line = step.line
    parts = [
        tag("b", line.type),
        tag("span", line.call_id, cls="lg-mono lg-muted") if line.call_id else None,
        tag("span", figures.offset(line.offset_s * 1_000), cls="lg-muted"),
        tag("span", line.what, cls="lg-muted"),
    ]
    render(tag("div", *parts, cls="lg-event"))


def _step_to(seq: int) -> None:
    go(run_address(query())._replace(seq=seq).params())


def _slide() -> None:
    _step_to(int(st.session_state["step"]))
