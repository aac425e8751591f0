"""The one connection of this process to the store, and what is shown while there is none."""

from collections.abc import Callable
from typing import Literal

import streamlit as st

from ledgent.dashboard.web.library import Library
from ledgent.dashboard.web.markup import Html
from ledgent.dashboard.web.panels import notice
from ledgent.processors.store import open_store
from ledgent.schemas.errors import LedgentError, StoreUnavailable
from ledgent.schemas.settings import Settings

PATIENCE_S = 1.0
"""How long one pass waits for a store that does not answer; the page tries again by itself."""
RETRY_S = 2.0


def library() -> Library:
    """The store as it is read here, in which this process is always a guest. Raises StoreUnavailable, StoreError."""
    return _library(Settings().store)


@st.cache_resource(show_spinner=False, max_entries=1)  # one that is let go of may still be in use elsewhere
def _library(url: str) -> Library:
    return Library(open_store(url, join_only=True, patience_s=PATIENCE_S))


def guarded(show: Callable[[], None]) -> None:
    """Shows it, or what went wrong and what mends it; a store that is back is noticed without a reload."""
    try:
        show()
    except StoreUnavailable as error:
        _library.clear()
        render(notice("The store does not answer", _sentence(error), _STORE_STEPS, kind="bad"))
        begin_again_when(lambda: library() is not None)
    except LedgentError as error:
        render(notice("The store could not be read", _sentence(error), _OTHER_STEPS, kind="bad"))


_STORE_STEPS = (
    "`ledgent up` starts the process that owns the store, and this page with it.",
    "`ledgent doctor` says which component is down. This page tries again every two seconds.",
)
_OTHER_STEPS = ("`ledgent doctor` looks for the reason.",)


def _sentence(error: LedgentError) -> str:
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}."


def render(content: Html, width: Literal["stretch", "content"] = "stretch") -> None:
    """Puts markup of ours onto the page."""
    st.html(content, width=width)


def begin_again_when(it_is_so: Callable[[], bool]) -> None:
    """Looks every two seconds, and runs the page from the beginning once it is so."""
    fresh = [True]

    @st.fragment(run_every=RETRY_S)
    def look() -> None:
        if fresh:
            fresh.clear()  # it has just been looked at
            return
        try:
            so = it_is_so()
        except LedgentError:
            return
        if so:
            st.rerun()

    look()
