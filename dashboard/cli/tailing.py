"""Events on the terminal as they come: of the whole log, or of one run."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from ledgent.dashboard.cli.interrupting import ctrl_c_held_back
from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import write_line, write_rows
from ledgent.dashboard.cli.run_pages import event_as_json, text_line
from ledgent.dashboard.timeline import Timeline, short_id
from ledgent.schemas.codec import Recorded, decode
from ledgent.schemas.events import TERMINAL_TYPES
from ledgent.schemas.ports import Log

AT_ONCE = 500
WAIT_S = 1.0
"""For the next record: as long an interruption may take."""


def write_tail(log: Log, run_id: str | None, limit: int, follow: bool, output: Output) -> None:
    """The last records there are and, when following, those that come; of one run until it has ended."""
    ends = log.ends()
    there = latest(log, ends, limit) if run_id is None else latest_of_run(log, run_id, limit)
    coming: Iterator[Recorded] = iter(())
    if follow and run_id is None:
        coming = followed(log, ends)
    elif follow and run_id is not None:
        coming = run_followed(log, run_id, there[-1].seq if there else _stands_at(log, run_id))
    if output is Output.JSON and not follow:
        write_rows(map(event_as_json, there), output)
    elif output is not Output.TABLE:
        write_rows(map(event_as_json, chain(there, coming)), Output.JSONL)
    else:
        write_as_lines(log, chain(there, coming), named=run_id is None)


def latest(log: Log, ends: dict[int, int], limit: int) -> list[Recorded]:
    """The last records of the log."""
    found: list[Recorded] = []
    for partition, end in ends.items():
        places = log.read({**ends, partition: max(end - limit, -1)}, limit) if limit else []
        found += [decode(place.stored) for place in places if place.partition == partition]
    return sorted(found, key=lambda record: record.at)[-limit:] if limit else []


def latest_of_run(log: Log, run_id: str, limit: int) -> list[Recorded]:
    """The last records of a run."""
    return [decode(stored) for stored in deque(log.records(run_id), maxlen=limit)]


def followed(log: Log, after: dict[int, int]) -> Iterator[Recorded]:
    """The records after these offsets as they are appended, until Ctrl-C."""
    positions = dict(after)
    with ctrl_c_held_back() as check:
        while True:
            check()
            for place in log.read(positions, AT_ONCE, timeout_s=WAIT_S):
                positions[place.partition] = place.offset
                yield decode(place.stored)
                check()


def run_followed(log: Log, run_id: str, after_seq: int, until: frozenset[str] = TERMINAL_TYPES) -> Iterator[Recorded]:
    """The run's records after this one as they are appended, up to one of these types or the end of the run."""
    positions = log.ends()
    with ctrl_c_held_back() as check:
        while True:
            for stored in log.records(run_id, after_seq):
                record = decode(stored)
                yield record
                check()
                after_seq = record.seq
                if record.event.type in until:
                    return
            head = log.head(run_id)
            if head is not None and head.guard.ended and head.guard.seq == after_seq:
                return
            check()
            for place in log.read(positions, AT_ONCE, timeout_s=WAIT_S):
                positions[place.partition] = place.offset


def _stands_at(log: Log, run_id: str) -> int:
    head = log.head(run_id)
    return head.guard.seq if head else 0


def write_as_lines(log: Log, records: Iterable[Recorded], *, named: bool) -> None:
    """A line for each record; `named`: with the end of its run's id."""
    timelines: dict[str, Timeline] = {}
    for record in records:
        timeline = timelines.get(record.run_id)
        if timeline is None:
            timeline = timelines[record.run_id] = _told_so_far(log, record)
        line = timeline.line(record)
        before = f"{line.at.astimezone():%H:%M:%S} " + (f"{short_id(record.run_id)} " if named else "")
        write_line(text_line(line, before))
        if record.event.type in TERMINAL_TYPES:
            del timelines[record.run_id]


def _told_so_far(log: Log, record: Recorded) -> Timeline:
    """What the run's earlier records have named, for a line that comes in the middle."""
    timeline = Timeline()
    for stored in log.records(record.run_id):
        earlier = decode(stored)
        if earlier.seq >= record.seq:
            break
        timeline.line(earlier)
    return timeline
