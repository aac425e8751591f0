"""Exports read back: held against what they say of themselves, and put into a log. Knows no terminal."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from ledgent.agent.importing import import_chat
from ledgent.schemas.codec import EVENT_MARK, Stored, import_line, read_envelope
from ledgent.schemas.errors import BrokenExport, RecordTooLarge, UsageError
from ledgent.schemas.exports import Anchors, ExportCheck, listed_in, read_anchors
from ledgent.schemas.ports import Log

APPENDED_AT_ONCE = 200
"""Records of one run in a commit."""


class Imported(NamedTuple):
    """What an import found and did."""

    runs: int
    new: int
    """Runs of which the log had nothing."""
    records: int
    """That the log did not have."""


def lines_of(path: Path) -> Iterator[bytes]:
    """The file's lines, unpacked where its name ends with `.gz`. Raises UsageError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def anchors_in(path: Path) -> Anchors:
    """The heads that the file holds, by run and seq. Raises UsageError, UnreadableRecord."""
    known: dict[str, dict[int, str]] = {}
    for head in read_anchors(lines_of(path)):
        known.setdefault(head.run_id, {})[head.seq] = head.digest
    return known


def check_files(paths: Sequence[Path], anchors: Anchors) -> dict[Path, ExportCheck]:
    """What is wrong with the exports in the files. An anchored record may be in any of them.

    Raises UsageError where one cannot be read.
    """
    found: dict[Path, ExportCheck] = {}
    for path in dict.fromkeys(paths):
        check = found[path] = ExportCheck(listed_in(lines_of(path)), anchors)
        for line in lines_of(path):
            check.add(line)
        check.finish()
    faulty = {fault.run_id for check in found.values() for fault in check.faults}
    there = {place for check in found.values() for place in check.anchored}
    for run_id, known in anchors.items():
        for seq in sorted(known):
            if run_id not in faulty and (run_id, seq) not in there:
                found[paths[-1]].miss(run_id, seq)
    return found


async def import_records(log: Log, path: Path) -> Imported:
    """Puts the export's runs into the log, byte for byte; what is there already stays as it is.

    Nothing is written where the file is not what was exported, or where the log holds one of its runs with other
    records. Raises BrokenExport, UsageError, LogFull, LogUnavailable.
    """
    check = check_files([path], {})[path]
    if check.faults:
        raise BrokenExport(f"{path} is not what was exported, nothing was imported: {check.faults[0]}")
    known = {run_id: _already_there(log, run_id, records, path) for run_id, records in _by_run(path)}
    written = 0
    for run_id, records in _by_run(path):
        fresh = islice(records, known[run_id], None)
        while batch := list(islice(fresh, APPENDED_AT_ONCE)):
            await log.append(batch)
            written += len(batch)
    return Imported(len(known), sum(count == 0 for count in known.values()), written)


def _already_there(log: Log, run_id: str, records: Iterable[Stored], path: Path) -> int:
    """How many of the run's first records the log has. Raises UsageError where it has others."""
    count = 0
    for mine, given in zip(log.records(run_id), records, strict=False):
        count += 1
        if mine != given:
            raise UsageError(
                f"run {run_id} is in this log with other records than in {path}, from record {count} on; nothing was "
                "imported (`ledgent run verify` says whether the log's are whole)"
            )
    return count


def _by_run(path: Path) -> Iterator[tuple[str, Iterator[Stored]]]:
    """The runs of an export that is known to be good, each with its records."""
    lines = (line for line in lines_of(path) if EVENT_MARK in line)
    return groupby(map(import_line, lines), key=lambda stored: read_envelope(stored.body).run_id)


async def import_chats(log: Log, path: Path) -> tuple[Imported, list[str]]:
    """Puts the runs of a file with chat-completions messages, one a line, into the log as imported ones.

    What was done, and the lines that were refused, with the reason. Raises UsageError, LogFull, LogUnavailable.
    """
    runs, new, written, refused, now = 0, 0, 0, list[str](), datetime.now(UTC)
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            _, records = await import_chat(log, line, now)
        except (UsageError, RecordTooLarge, ValidationError) as error:
            refused.append(f"{path}, line {number}: {error}")
            continue
        runs, new, written = runs + 1, new + (records > 0), written + records
    return Imported(runs, new, written), refused
