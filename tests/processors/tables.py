"""Logs as the processors read them, and their tables: no Kafka."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from ledgent.processors.folding import Batch
from ledgent.processors.metrics import Window, decode_window
from ledgent.processors.run_states import RunEntry, decode_entry
from ledgent.schemas.codec import Stored
from ledgent.schemas.ports import Positioned

Rows = dict[bytes, bytes]
READ_AT = datetime(2026, 11, 20, 13, tzinfo=UTC)
"""When the broker had each record."""


def places(log: Iterable[Stored], partition: int = 0) -> list[Positioned]:
    return [Positioned(partition, offset, stored) for offset, stored in enumerate(log)]


def folded(batch: Iterable[Positioned], runs: Rows, windows: Rows, partition: int = 0) -> Batch:
    """The tables after the batch; the batch for what else came of it."""
    done = Batch(partition, runs, windows)
    for place in batch:
        done.add(place, READ_AT)
    runs |= done.run_records() | done.marker_record()
    windows |= done.window_records()
    return done


def entries_of(runs: Mapping[bytes, bytes]) -> dict[str, RunEntry]:
    """The runs in a table, without what only their keeper needs: it depends on where batches end."""
    entries = (decode_entry(value) for key, value in runs.items() if not key.startswith(b"partition:"))
    return {entry.run_id: replace(entry, judged=(), alert="") for entry in entries}


def windows_of(windows: Mapping[bytes, bytes]) -> dict[bytes, Window]:
    return {key: decode_window(value) for key, value in windows.items()}
