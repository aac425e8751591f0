"""A run's accepted records, read and folded as they come in, to be stepped through. Pure: records in, states out."""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from ledgent.dashboard.run_view import changes
from ledgent.dashboard.timeline import Line, Timeline
from ledgent.schemas.codec import Recorded, Stored, decode
from ledgent.schemas.errors import BadRecord
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState
from ledgent.schemas.state_json import as_json

SNAPSHOT_EVERY = 256
"""Records between two states that are kept; the others are folded anew from the one before."""


class Step(NamedTuple):
    """The run after one of its records."""

    record: Recorded
    line: Line
    state: dict[str, Any]
    changed: tuple[tuple[str, Any], ...]
    """By the path of the field, as in `model_call.phase`: `{"before": ..., "after": ...}`, or `{"added": [...]}`."""


class History:
    """What is known of a run, growing with `extend`. Whoever shares one holds `turn` while using it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.turn = threading.Lock()
        self.stored: list[Stored] = []
        """As the log has them, those that cannot be read included."""
        self.records: list[Recorded] = []
        self.lines: list[Line] = []
        self.unread: BadRecord | None = None
        """Why the records end before `stored` does."""
        self._timeline = Timeline()
        self._state = RunState(run_id)
        self._snapshots: list[RunState] = [self._state]

    def extend(self, more: Sequence[Stored]) -> None:
        """Takes in the records that follow."""
        self.stored += more
        for stored in more:
            if self.unread is not None:
                return
            try:
                record = decode(stored)
            except BadRecord as error:
                self.unread = error
                return
            self._state = evolve(self._state, record)
            self.records.append(record)
            self.lines.append(self._timeline.line(record))
            if len(self.records) % SNAPSHOT_EVERY == 0:
                self._snapshots.append(self._state)

    @property
    def state(self) -> RunState:
        """After the last record that could be read."""
        return self._state

    def state_after(self, seq: int) -> RunState:
        """The state after the record with this seq; before the first record for 0."""
        state = self._snapshots[bisect_right(self._snapshots, seq, key=lambda snapshot: snapshot.seq) - 1]
        for record in self.records[state.seq : seq]:
            state = evolve(state, record)
        return state

    def record(self, seq: int) -> Recorded | None:
        """The record with this seq; None if there is none, or it cannot be read."""
        return self.records[seq - 1] if 0 < seq <= len(self.records) else None

    def step(self, seq: int) -> Step | None:
        """The run after this record; None if there is none, or it cannot be read."""
        record = self.record(seq)
        if record is None:
            return None
        before = self.state_after(seq - 1)
        was, now = as_json(before), as_json(evolve(before, record))
        return Step(record, self.lines[seq - 1], now, tuple(changes(was, now)))
