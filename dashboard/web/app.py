"""What `streamlit run` is given: the script of the pages, behind what every answer is held to."""

from pathlib import Path
from typing import Any

import streamlit as st

from ledgent.dashboard.web import run_list, run_page
from ledgent.dashboard.web.safety import Wrapping

# Imported here, so that the server does it at its start and no visitor waits for it.
PRELOADED = (run_list, run_page)

_MIDDLEWARE: list[Any] = [Wrapping()]

app = st.App(Path(__file__).with_name("pages.py"), middleware=_MIDDLEWARE)
