"""What a batch of one partition's records adds to the processors' tables. Pure: no clock, no ids, no I/O.

Nothing here knows what hosts the tables: they are given as mappings of bytes, as they are on Kafka.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from ledgent.processors import metrics, run_states
from ledgent.processors.metrics import Window, WindowKey, decode_window, encode_key, encode_window, window_of
from ledgent.processors.run_states import Judged, RunEntry, decode_entry, encode_entry
from ledgent.processors.stalled import alert_on_broken, alert_over
from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.codec import read_envelope
from ledgent.schemas.errors import UnreadableRecord
from ledgent.schemas.events import AnyEvent
from ledgent.schemas.ports import Positioned
from ledgent.schemas.snapshots import Marker, decode_snapshot, encode_snapshot, marker_key
from ledgent.schemas.system_events import AlertRaised, AlertResolved


class Unreadable(NamedTuple):
    """A record for the dead letters."""

    offset: int
    reason: str
    run_id: str | None


class Batch:
    """What becomes of a partition's tables, record by record in the order of the log."""

    def __init__(self, partition: int, runs: Mapping[bytes, bytes], windows: Mapping[bytes, bytes]) -> None:
        self.partition = partition
        self.alerts: list[AlertRaised | AlertResolved] = []
        self.unreadable: list[Unreadable] = []
        self.entries: dict[str, RunEntry] = {}
        """The runs that it has touched."""
        self._runs = runs
        self._windows = windows
        self._touched: dict[bytes, Window] = {}
        self.marker = marker_in(runs, partition)
        """As it was before."""
        self.folded_to = self.marker

    def add(self, place: Positioned, at: datetime) -> None:
        """Takes in the next record, which the broker had `at` that time.

        Raises UnknownEventType, with nothing changed.
        """
        if place.offset <= self.marker:
            return
        try:
            envelope = read_envelope(place.stored.body)
        except UnreadableRecord as error:
            self.unreadable.append(Unreadable(place.offset, str(error), None))
            self._count(place, window_of(self.partition, at, None), None, None)
            return
        entry = self._entry(envelope.run_id)
        folded = run_states.fold(entry, place, envelope, self.marker)
        if folded is not None:
            self.entries[envelope.run_id] = folded.entry
            if folded.reason:
                self.unreadable.append(Unreadable(place.offset, folded.reason, envelope.run_id))
            if folded.judged.verdict is Verdict.BROKEN:
                self.alerts.append(alert_on_broken(envelope.run_id, envelope.seq, self.partition, place.offset))
            if entry is not None and entry.alert and not folded.entry.alert:
                self.alerts.append(alert_over(entry))
            when = envelope.at if folded.judged.verdict is Verdict.ACCEPTED else at
            key = window_of(self.partition, when, folded.judged)
            self._count(place, key, folded.judged, folded.event)
        self.folded_to = place.offset

    def _entry(self, run_id: str) -> RunEntry | None:
        touched = self.entries.get(run_id)
        return touched if touched is not None else entry_in(self._runs, run_id)

    def _count(self, place: Positioned, key: WindowKey | None, judged: Judged | None, event: AnyEvent | None) -> None:
        self.folded_to = place.offset
        if key is None:
            return
        name = encode_key(key)
        window = self._touched.get(name)
        if window is None and (kept := self._windows.get(name)) is not None:
            window = decode_window(kept)
        window = metrics.fold(key, window, place.offset, judged, event)
        if window is not None:
            self._touched[name] = window

    def run_records(self) -> dict[bytes, bytes]:
        """What is to be written of runs."""
        return {run_id.encode(): encode_entry(entry) for run_id, entry in self.entries.items()}

    def window_records(self) -> dict[bytes, bytes]:
        """What is to be written of windows."""
        return {key: encode_window(window) for key, window in self._touched.items()}

    def marker_record(self) -> dict[bytes, bytes]:
        """What is to be written last, once all else is durable."""
        return {marker_key(self.partition): encode_snapshot(Marker(self.folded_to))}


def entry_in(runs: Mapping[bytes, bytes], run_id: str) -> RunEntry | None:
    """The run's entry in a table; None for an unknown run."""
    value = runs.get(run_id.encode())
    return None if value is None else decode_entry(value)


def marker_in(runs: Mapping[bytes, bytes], partition: int) -> int:
    """Up to which offset the partition is folded, by its marker; -1 where it has not begun."""
    key = marker_key(partition)
    value = runs.get(key)
    marker = None if value is None else decode_snapshot(key, value)
    return marker.folded_to if isinstance(marker, Marker) else -1
