"""The pages' own components: lists of runs and of records, a waterfall. Mounts them; what they show is passed in."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from ledgent.dashboard.web.icons import icon_css

_STATIC = Path(__file__).with_name("static")

Callback = Callable[[], None]


def style_sheet() -> str:
    """The pages' CSS."""
    return _shared_css() + _read("page.css")


def runs_list(data: dict[str, Any], *, key: str, on_go: Callback, on_open: Callback) -> Any:
    """Mounts the list; its result's `go` is another query for the URL, `open` the id of a run, each for one pass."""
    return _component("runs")(key=key, data=data, on_go_change=on_go, on_open_change=on_open)


def waterfall(data: dict[str, Any], *, key: str, on_span: Callback) -> Any:
    """Mounts the waterfall; its result's `span` is the id of the span just chosen."""
    return _component("waterfall")(key=key, data=data, on_span_change=on_span)


def events_list(data: dict[str, Any], *, key: str, on_seq: Callback) -> Any:
    """Mounts the list of records; its result's `seq` is the key of the record just chosen."""
    return _component("events")(key=key, data=data, on_seq_change=on_seq)


@cache
def _component(name: str) -> ComponentRenderer:
    return st.components.v2.component(
        f"ledgent_{name}",
        css=_shared_css() + _read(f"{name}.css"),
        js=_read("common.js") + _read(f"{name}.js"),
    )


@cache
def _shared_css() -> str:
    return icon_css() + _read("tokens.css")


@cache
def _read(name: str) -> str:
    return (_STATIC / name).read_text()
