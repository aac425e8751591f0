"""The store as the pages read it: what was read once is kept while it is true. Knows no Streamlit."""

import threading
from collections import OrderedDict
from datetime import UTC, datetime

from ledgent.dashboard.web.address import RUNS_PER_PAGE, RunsAddress
from ledgent.dashboard.web.history import History
from ledgent.processors import reads
from ledgent.processors.reads import EventRead, RunPage
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import SpanRow
from ledgent.processors.store import Store
from ledgent.schemas.errors import StoreQueryRefused

HISTORIES = 8
SPAN_LISTS = 16
"""How many are kept, the latest used ones."""

EVENTS_PER_PAGE = 500
"""Places in the run; records that were not accepted come on top."""
EVENTS_READ = 4 * EVENTS_PER_PAGE
"""Records that a page of events may hold at most."""

_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81


class EventPage(list[EventRead]):
    """The records of one page, in order of seq."""

    def __init__(self, found: list[EventRead], cut: bool) -> None:
        super().__init__(found)
        self.cut = cut
        """Whether there are more of these places than were read."""


class Library:
    """Reads for all sessions of this process. Raises StoreUnavailable, StoreQueryRefused."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._turn = threading.Lock()
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._spans: OrderedDict[tuple[str, int, int], tuple[SpanRow, ...]] = OrderedDict()

    def runs(self, address: RunsAddress) -> RunPage:
        """The runs that are asked for; none while the store has no tables yet."""
        try:
            return reads.list_runs(
                self.store,
                address.filter(datetime.now(UTC)),
                address.order,
                descending=address.descending,
                limit=RUNS_PER_PAGE,
                offset=(address.page - 1) * RUNS_PER_PAGE,
            )
        except StoreQueryRefused as error:
            if not _is_new(error):
                raise
            return RunPage((), 0, 0, {}, {})

    def run(self, run_id: str) -> RunRow | None:
        """The run with this id, or the only one whose id begins like this; None for neither."""
        try:
            found = reads.get_run(self.store, run_id)
            if found is None and run_id:
                candidates = reads.find_runs(self.store, run_id, limit=2)
                found = reads.get_run(self.store, candidates[0]) if len(candidates) == 1 else None
        except StoreQueryRefused as error:
            if not _is_new(error):
                raise
            return None
        return found

    def spans(self, run: RunRow) -> tuple[SpanRow, ...]:
        """The run's spans, at least as new as the row: the sink writes spans before runs."""
        key = (run.run_id, run.last_offset, run.events)
        with self._turn:
            known = self._spans.get(key)
        if known is not None:
            return known
        found = reads.spans_of(self.store, run.run_id)
        with self._turn:
            self._spans[key] = found
            while len(self._spans) > SPAN_LISTS:
                self._spans.popitem(last=False)
        return found

    def history(self, run: RunRow) -> History:
        """The run's records so far. Hold its `turn` while using it."""
        with self._turn:
            history = self._histories.setdefault(run.run_id, History(run.run_id))
            self._histories.move_to_end(run.run_id)
            while len(self._histories) > HISTORIES:
                self._histories.popitem(last=False)
        with history.turn:
            # The row comes before its events into the store, so there may be fewer yet than it says.
            if len(history.stored) < run.events:
                history.extend(reads.run_records(self.store, run.run_id, after_seq=len(history.stored)))
        return history

    def events(self, run_id: str, page: int) -> EventPage:
        """The records at the places of this page, those left out by every reader among them."""
        first = (page - 1) * EVENTS_PER_PAGE
        found = reads.events_of(self.store, run_id, after_seq=first, limit=EVENTS_READ)
        here = [read for read in found if read.seq <= first + EVENTS_PER_PAGE]
        return EventPage(here, cut=len(here) == len(found) and len(found) >= EVENTS_READ)


def _is_new(error: StoreQueryRefused) -> bool:
    """Whether nothing has been put into the store yet."""
    return error.code in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE)
