"""What a page shows, as its URL says it: the one place where filters, order, tab and selection are kept. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ledgent.dashboard.web.icons import STATUS_WORDS
from ledgent.processors.reads import RunFilter, RunOrder

Params = Mapping[str, Sequence[str]]
"""The query of a URL: each name with its values."""

RUNS_PER_PAGE = 50

SINCE = {
    "15m": ("last 15 minutes", timedelta(minutes=15)),
    "1h": ("last hour", timedelta(hours=1)),
    "24h": ("last 24 hours", timedelta(days=1)),
    "7d": ("last 7 days", timedelta(days=7)),
}

TABS = ("timeline", "events", "conversation", "replay", "compare")

_FIRST = {RunOrder.AGENT, RunOrder.STATUS}
"""Orders that begin with the smallest unless told otherwise."""


class RunsAddress(NamedTuple):
    """The list of runs as it is looked at."""

    statuses: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    text: str = ""
    since: str = ""
    """A key of SINCE; empty: any time."""
    order: RunOrder = RunOrder.STARTED
    descending: bool = True
    page: int = 1

    def filter(self, now: datetime) -> RunFilter:
        """The same for the store."""
        since = now - SINCE[self.since][1] if self.since else None
        return RunFilter(self.statuses, self.agents, self.text, since)

    def params(self) -> dict[str, str | list[str]]:
        """The query of its URL, without what goes without saying."""
        order = self.order.name.lower() if self.order is not RunOrder.STARTED else ""
        direction = "" if self.descending is _goes_down(self.order) else "desc" if self.descending else "asc"
        page = str(self.page) if self.page > 1 else ""
        said: dict[str, str | list[str]] = {
            "status": list(self.statuses),
            "agent": list(self.agents),
            "q": self.text,
            "since": self.since,
            "sort": order,
            "dir": direction,
            "page": page,
        }
        return {name: value for name, value in said.items() if value}


def runs_address(params: Params) -> RunsAddress:
    """What a URL asks for; what makes no sense in it is left out."""
    order = RunOrder.__members__.get(_one(params, "sort").upper(), RunOrder.STARTED)
    direction = _one(params, "dir")
    since = _one(params, "since")
    return RunsAddress(
        statuses=tuple(status for status in dict.fromkeys(params.get("status", ())) if status in STATUS_WORDS),
        agents=tuple(dict.fromkeys(params.get("agent", ()))),
        text=_one(params, "q"),
        since=since if since in SINCE else "",
        order=order,
        descending=direction == "desc" if direction in ("asc", "desc") else _goes_down(order),
        page=_number(params, "page") or 1,
    )


class RunAddress(NamedTuple):
    """One run as it is looked at."""

    run_id: str = ""
    tab: str = TABS[0]
    seq: int = 0
    """The record chosen; 0: none."""
    span: str = ""
    """The span chosen; empty: none."""
    page: int = 0
    """Of the tab; 0: wherever what is chosen stands, else the first."""
    other: str = ""
    """The run that it is compared with; empty: none."""

    def params(self) -> dict[str, str | list[str]]:
        """The query of its URL, without what goes without saying."""
        said: dict[str, str | list[str]] = {
            "run": self.run_id,
            "tab": self.tab if self.tab != TABS[0] else "",
            "seq": str(self.seq) if self.seq else "",
            "span": self.span,
            "page": str(self.page) if self.page else "",
            "with": self.other,
        }
        return {name: value for name, value in said.items() if value}


def run_address(params: Params) -> RunAddress:
    """What a URL asks for; what makes no sense in it is left out."""
    tab = _one(params, "tab").lower()
    return RunAddress(
        run_id=_one(params, "run"),
        tab=tab if tab in TABS else TABS[0],
        seq=_number(params, "seq"),
        span=_one(params, "span"),
        page=_number(params, "page"),
        other=_one(params, "with"),
    )


def _goes_down(order: RunOrder) -> bool:
    return order not in _FIRST


def _one(params: Params, name: str) -> str:
    values = params.get(name, ())
    return values[-1] if values else ""


def _number(params: Params, name: str) -> int:
    given = _one(params, name)
    return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else 0
