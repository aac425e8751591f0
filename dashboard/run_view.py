"""One run as its records tell it: summed up, line by line, and stepped through. No I/O of its own."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ledgent.dashboard.timeline import Line, Timeline
from ledgent.processors.runs import RunRow, project
from ledgent.schemas.codec import Recorded, Stored, decode
from ledgent.schemas.errors import BadRecord, UsageError
from ledgent.schemas.events import CheckpointSaved, ToolCallCompleted, ToolCallReused
from ledgent.schemas.ports import Blobs
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState
from ledgent.schemas.state_json import as_json


class RunView(NamedTuple):
    """A run to look at."""

    row: RunRow
    """As the store sums it up."""
    records: tuple[Recorded, ...]
    lines: tuple[Line, ...]
    output: str | None
    """The last answer, whole."""
    unread: BadRecord | None
    """Why the records end here although there are more."""


class Step(NamedTuple):
    """A run after one of its records."""

    record: Recorded
    state: dict[str, Any]
    changed: dict[str, Any]
    """By the path of the field, as in `model_call.phase`: `{"before": ..., "after": ...}`, or `{"added": [...]}`."""


def view_of(run_id: str, records: Iterable[Stored]) -> RunView:
    """The run, as far as its records can be read."""
    row, state, timeline = RunRow(run_id), RunState(run_id), Timeline()
    read: list[Recorded] = []
    lines: list[Line] = []
    unread: BadRecord | None = None
    try:
        for stored in records:
            record = decode(stored)
            row, state = project(row, record), evolve(state, record)
            read.append(record)
            lines.append(timeline.line(record))
    except BadRecord as error:
        unread = error
    return RunView(row, tuple(read), tuple(lines), state.output, unread)


def step_to(run_id: str, records: Iterable[Stored], at: int | str) -> Step:
    """The state after the record with this seq, or at this checkpoint, and what the record changed.

    Raises UsageError when the run has no such record or checkpoint, UnreadableRecord, UnknownEventType.
    """
    state, found = RunState(run_id), None
    for stored in records:
        record = decode(stored)
        before, state = state, evolve(state, record)
        if record.seq == at or (isinstance(record.event, CheckpointSaved) and record.event.name == at):
            found = record, as_json(state), dict(changes(as_json(before), as_json(state)))
            if record.seq == at:
                break
    if found is not None:
        return Step(*found)
    if isinstance(at, str):
        raise UsageError(f"run {run_id} has no checkpoint {at!r}: {', '.join(state.checkpoints) or 'it has none'}")
    raise UsageError(f"run {run_id} has records 1 to {state.seq}, and none numbered {at}")


def whole_result(run_id: str, records: Iterable[Stored], call_id: str, blobs: Blobs) -> bytes:
    """What a tool call gave, in UTF-8. Raises UsageError where none of the run has returned under this id, BlobLost."""
    found = None
    returned: list[str] = []
    for stored in records:
        event = decode(stored).event
        if isinstance(event, ToolCallCompleted | ToolCallReused):
            returned.append(event.call_id)
            if event.call_id == call_id:
                found = event
    if found is None:
        raise UsageError(f"run {run_id}: no call {call_id} has returned; these have: {', '.join(returned) or 'none'}")
    return blobs.get(found.whole.sha256) if found.whole else found.result.encode()


def changes(before: Any, after: Any, path: str = "") -> list[tuple[str, Any]]:
    """Where two JSON values differ: the path of each place, and what it was and is."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[tuple[str, Any]] = []
        for name in {**before, **after}:
            within = f"{path}.{name}" if path else str(name)
            found += changes(before.get(name), after.get(name), within)
        return found
    if isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before:
        return [(path, {"added": after[len(before) :]})]
    return [(path, {"before": before, "after": after})]
