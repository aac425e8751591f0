"""The query of the page's URL, read and written. What it means is in address.py."""

from collections.abc import Mapping

import streamlit as st

from ledgent.dashboard.web.address import Params


def query() -> Params:
    """The URL's query as it is now."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


def go(params: Mapping[str, str | list[str]]) -> None:
    """Puts this query into the URL, and so into the browser's history."""
    st.query_params.from_dict(dict(params))
