"""The page with the list of runs."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.address import RUNS_PER_PAGE, SINCE, RunAddress, RunsAddress, runs_address
from ledgent.dashboard.web.components import runs_list
from ledgent.dashboard.web.connection import guarded, library, render
from ledgent.dashboard.web.icons import STATUS_WORDS, tone
from ledgent.dashboard.web.panels import notice
from ledgent.dashboard.web.url import go, query
from ledgent.processors.reads import RunPage
from ledgent.processors.runs import RunRow

REFRESH_S = 2.0
KEY = "runs"
LAST_QUERY = "last_query"
"""Where the session keeps which list was looked at, for the way back to it."""


def show() -> None:
    """The list, renewed by itself."""
    st.fragment(_list, run_every=REFRESH_S)()


def _list() -> None:
    guarded(_show_list)


def _show_list() -> None:
    if "run" in query():
        st.rerun()  # one has just been opened
    address = runs_address(query())
    st.session_state[LAST_QUERY] = address.params()
    page = library().runs(address)
    if not page.total:
        render(
            notice("No runs yet", "Whatever an agent does here will be in this list within two seconds.", _FIRST_STEPS)
        )
        return
    runs_list(as_data(page, address, datetime.now(UTC)), key=KEY, on_go=_follow, on_open=_open)


_FIRST_STEPS = (
    "`make demo` (or `ledgent demo`) makes one run of each kind, without a key or a server.",
    '`ledgent run start AGENT "..." --agents your.module` starts a run of your own agent.',
    "Runs of another log show up where LEDGENT_LOG and LEDGENT_STORE name it.",
)


def _open() -> None:
    run_id = st.session_state[KEY].open
    if run_id:
        go(RunAddress(run_id).params())


def _follow() -> None:
    """Takes over what the list asks for: a part of the query, in which a new filter leads to the first page."""
    asked: dict[str, list[str]] = st.session_state[KEY].go or {}
    said = runs_address(query()).params()
    kept = {name: value for name, value in said.items() if name != "page"}
    given = {name: [str(value) for value in values if value] for name, values in asked.items()}
    merged = {name: [value] if isinstance(value, str) else value for name, value in {**kept, **given}.items()}
    go(runs_address(merged).params())


def as_data(page: RunPage, address: RunsAddress, now: datetime) -> dict[str, Any]:
    """The page for the browser: plain values and texts."""
    pages = max(-(-page.matching // RUNS_PER_PAGE), 1)
    first = (address.page - 1) * RUNS_PER_PAGE + 1
    return {
        "text": address.text,
        "since": address.since,
        "sinces": [["", "Any time"], *([key, label.capitalize()] for key, (label, _) in SINCE.items())],
        "order": address.order.name.lower(),
        "descending": address.descending,
        "matching": f"{page.matching:,}",
        "total": f"{page.total:,}",
        "page": address.page,
        "pages": pages,
        "from": f"{first:,}",
        "to": f"{first + len(page.runs) - 1:,}",
        "statuses": _statuses(page, address),
        "agents": _agents(page, address),
        "rows": [_row(run, now) for run in page.runs],
    }


def _statuses(page: RunPage, address: RunsAddress) -> list[dict[str, Any]]:
    known = {**dict.fromkeys(STATUS_WORDS, 0), **page.statuses}
    return [
        {
            "value": status,
            "label": STATUS_WORDS.get(status, status),
            "icon": status if status in STATUS_WORDS else "new",
            "tone": tone(status),
            "count": f"{runs:,}",
            "chosen": status in address.statuses,
        }
        for status, runs in known.items()
        if runs or status in address.statuses
    ]


def _agents(page: RunPage, address: RunsAddress) -> list[dict[str, Any]]:
    known = {**dict.fromkeys(address.agents, 0), **page.agents}
    return [
        {"value": agent, "label": agent or "unknown agent", "count": f"{runs:,}", "chosen": agent in address.agents}
        for agent, runs in sorted(known.items(), key=lambda item: (-item[1], item[0]))
    ]


def _row(run: RunRow, now: datetime) -> dict[str, Any]:
    trouble = (
        f"{run.error_code}: {run.error_message}" if run.status == "failed" else run.limit_reached and run.error_message
    )
    return {
        "id": run.run_id,
        "short": run.run_id[-8:],
        "status": run.status if run.status in STATUS_WORDS else "new",
        "word": STATUS_WORDS.get(run.status, run.status),
        "tone": tone(run.status),
        "agent": run.agent or "unknown agent",
        "model": run.model,
        "labels": [f"{name}: {value}" for name, value in sorted(run.labels.items())][:3],
        "preview": run.input or run.output,
        "trouble": trouble or "",
        "trouble_tone": tone(run.status),
        "started": figures.ago(run.started_at, now),
        "started_at": figures.moment(run.started_at),
        "duration": figures.duration(figures.duration_so_far(run, now)),
        "steps": figures.count(run.steps),
        "tools": figures.count(run.tool_calls),
        "tool_errors": run.tool_errors,
        "retries": figures.count(run.retries),
        "tokens": figures.tokens(run.input_tokens + run.output_tokens),
        "cost": figures.money(run.cost_usd, known=run.cost_known),
    }
