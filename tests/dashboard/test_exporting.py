"""Exports: whatever is changed in one is found, from the file alone, and the right record is named."""

import asyncio
import gzip
import random
from pathlib import Path
from typing import NamedTuple

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.dashboard.exporting import anchor_lines, append_lines, export_lines
from ledgent.dashboard.importing import anchors_in, check_files, import_records
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.codec import decode, import_line, read_envelope
from ledgent.schemas.errors import BrokenExport, UnreadableRecord, UsageError
from ledgent.schemas.events import ModelCallCompleted
from ledgent.schemas.exports import ExportCheck, Fault, listed_in, read_anchors
from tests.schemas.chain import Chain

CHANGES = 1_000


@tool
async def look(what: str) -> str:
    """Looks."""
    return f"{what}: “nothing”"


class Exported(NamedTuple):
    lines: list[bytes]
    places: list[tuple[str | None, int | None]]
    """Run and seq of the record in each line; no seq for a head, no run for the list."""
    log: MemoryLog


@pytest.fixture(scope="module")
def exported() -> Exported:
    """Runs that have ended, and conversations that have not."""

    async def fill() -> MemoryLog:
        log = MemoryLog()
        for number in range(3):
            await Agent("looker", ScriptedModel([Call("look", what="a"), "done"]), tools=[look]).run("go", log=log)
            await Agent("talker", ScriptedModel(["hi"] * 9), conversational=True).run(f"{number}", log=log)
        return log

    log = asyncio.run(fill())
    lines, places = list(export_lines(log, log.run_ids())), list[tuple[str | None, int | None]]()
    for line in lines:
        try:
            envelope = read_envelope(import_line(line).body)
            places.append((envelope.run_id, envelope.seq))
        except UnreadableRecord:
            places.append((None if line.startswith(b'{"heads"') else (places[-1][0]), None))
    return Exported(lines, places, log)


def faults_of(content: bytes) -> list[Fault]:
    lines = content.splitlines(keepends=True)
    check = ExportCheck(listed_in(lines))
    for line in lines:
        check.add(line)
    check.finish()
    return check.faults


def changed(content: bytes, kind: str, dice: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = dice.randrange(len(content))
    match kind:
        case "byte":
            return content[:place] + bytes([content[place] ^ dice.randrange(1, 256)]) + content[place + 1 :]
        case "bytes cut out":
            return content[:place] + content[place + dice.randrange(1, 300) :]
        case "tail":
            return content[:place]
        case "tail of lines":
            return b"".join(lines[: dice.randrange(len(lines))])
        case "lines":
            first = dice.randrange(len(lines))
            return b"".join(lines[:first] + lines[first + dice.randrange(1, 12) :])
        case "swap":
            one, other = sorted(dice.sample(range(len(lines)), 2))
            lines[one], lines[other] = lines[other], lines[one]
            return b"".join(lines)
        case "line put in":
            lines.insert(dice.randrange(len(lines) + 1), dice.choice([dice.choice(lines), dice.randbytes(80) + b"\n"]))
            return b"".join(lines)
        case _:
            return content[:place] + dice.randbytes(dice.randrange(1, 40)) + content[place:]


KINDS = ("byte", "bytes cut out", "tail", "tail of lines", "lines", "swap", "line put in", "bytes put in")


def split(content: bytes) -> list[bytes]:
    return content.split(b"\n")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_changed_is_found_and_the_right_record_named(exported: Exported, seed: int) -> None:
    dice, content = random.Random(seed), b"".join(exported.lines)
    assert faults_of(content) == []
    made = 0
    while made < CHANGES // 8:
        kind = dice.choice(KINDS)
        other = changed(content, kind, dice)
        if other == content:
            continue
        made += 1
        before, after = split(content), split(other)
        first = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after) - 1)
        run_id, seq = exported.places[first] if first < len(exported.places) else (None, None)
        faults = faults_of(other)
        assert faults, (kind, first)
        fault = faults[0]
        if fault.run_id is None and first >= len(after) - 1:
            continue  # what is cut off between two runs has no name any more
        assert fault.run_id == run_id, (kind, first, fault)
        if seq is not None:
            assert fault.seq == seq, (kind, first, fault)
        assert fault.line == first + 1, (kind, fault)


def test_every_byte_of_heads_and_of_their_list_counts(exported: Exported) -> None:
    for number, (run_id, seq) in enumerate(exported.places):
        line = exported.lines[number]
        for place in range(len(line)) if seq is None else (len(line) - 1,):
            other = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            faults = faults_of(b"".join([*exported.lines[:number], other, *exported.lines[number + 1 :]]))
            assert faults, (number, place)
            assert faults[0].run_id == run_id
            assert faults[0].line == number + 1


def test_what_stands_twice_or_after_the_end_is_found_although_it_is_whole(exported: Exported) -> None:
    heads = [at for at, (_, seq) in enumerate(exported.places) if seq is None]
    first = exported.lines[: heads[0] + 1]
    after = faults_of(b"".join([*exported.lines, *first]))
    assert after[0] == (len(exported.lines) + 1, None, None, "this line stands after the list of heads")
    twice = faults_of(b"".join([*exported.lines[:-1], *first, exported.lines[-1]]))
    assert twice[0] == (len(exported.lines), None, None, f"run {exported.places[0][0]} was there before")


def test_a_record_without_its_line_break_is_named_itself(exported: Exported) -> None:
    (fault, *_) = faults_of(b"".join(exported.lines[:3]).rstrip(b"\n"))
    assert (fault.line, fault.run_id, fault.seq) == (3, *exported.places[2])
    assert "cut off" in fault.reason


def test_a_chain_made_anew_is_found_by_what_was_anchored(exported: Exported, tmp_path: Path) -> None:
    """Whoever can write the file can write digests, heads and list that fit it; not those that are elsewhere."""
    whole, file = tmp_path / "whole.jsonl", tmp_path / "anchors.jsonl"
    whole.write_bytes(b"".join(exported.lines))
    append_lines(file, anchor_lines(exported.log, "now", {}))
    anchors = anchors_in(file)
    assert list(anchor_lines(exported.log, "now", anchors)) == [], "there is nothing new to anchor"
    assert len(anchors) == 6
    assert check_files([whole], anchors)[whole].faults == []

    forged = MemoryLog()
    for number, run_id in enumerate(exported.log.run_ids()):
        chain = Chain(run_id)
        for stored in list(exported.log.records(run_id))[: -1 if number == 2 else None]:
            record = decode(stored)
            place = {name: getattr(record.envelope, name) for name in ("epoch", "writer", "at", "cause", "span_id")}
            event = record.event
            if number == 1 and isinstance(event, ModelCallCompleted):
                event = event.model_copy(update={"text": "forged"})
            chain.records.append(chain.next(event, **place))
            digest = chain.records[-1].digest
            chain.guard = chain.guard._replace(seq=record.seq, digest=digest)
        if number != 3:
            asyncio.run(forged.append(chain.records))
    whole.write_bytes(b"".join(export_lines(forged, forged.run_ids())))
    assert check_files([whole], {})[whole].faults == []
    faults = check_files([whole], anchors)[whole].faults
    assert [(fault.run_id, fault.seq) for fault in faults] == [
        (run_id, *anchors[run_id]) for run_id in list(exported.log.run_ids())[1:4]
    ]
    assert "anchored" in faults[0].reason


def test_what_is_anchored_may_be_in_any_of_the_files(exported: Exported, tmp_path: Path) -> None:
    runs = list(exported.log.run_ids())
    files = [tmp_path / "one.jsonl.gz", tmp_path / "other.jsonl"]
    files[0].write_bytes(gzip.compress(b"".join(export_lines(exported.log, runs[:2]))))
    files[1].write_bytes(b"".join(export_lines(exported.log, runs[2:])))
    append_lines(tmp_path / "anchors", anchor_lines(exported.log, "now", {}))
    anchors = anchors_in(tmp_path / "anchors")
    assert all(not check.faults for check in check_files(files, anchors).values())
    missing = check_files(files[:1], anchors)[files[0]].faults
    assert {fault.run_id for fault in missing} == set(runs[2:])


def test_an_anchor_that_is_none_is_refused() -> None:
    with pytest.raises(UnreadableRecord, match="line 2"):
        list(read_anchors([b'{"run_id":"a","seq":1,"digest":"b","at":"now"}', b"{}"]))


async def test_an_import_is_byte_identical_idempotent_and_refused_where_the_log_says_otherwise(
    exported: Exported, tmp_path: Path
) -> None:
    whole, changed = tmp_path / "whole.jsonl", tmp_path / "changed.jsonl"
    whole.write_bytes(b"".join(exported.lines))
    log = SqliteLog(tmp_path / "log.db")
    runs = list(exported.log.run_ids())
    assert await import_records(log, whole) == (6, 6, len(exported.log.storage.records))
    assert b"".join(export_lines(log, log.run_ids())) == whole.read_bytes()
    assert all(verify(log, run_id).ok for run_id in runs)
    assert await import_records(log, whole) == (6, 0, 0)

    other = MemoryLog()
    chain = Chain(runs[3])
    chain.claim()
    await other.append(chain.records)
    with pytest.raises(UsageError, match=f"{runs[3]} is in this log with other records .* from record 1 on"):
        await import_records(other, whole)
    assert list(other.run_ids()) == [runs[3]], "nothing is imported where something is refused"

    changed.write_bytes(whole.read_bytes().replace(b'"go"', b'"no"', 1))
    empty = MemoryLog()
    with pytest.raises(BrokenExport, match=f"record 2 of run {runs[0]}"):
        await import_records(empty, changed)
    assert list(empty.run_ids()) == []
    log.close()


async def test_an_import_goes_on_where_the_log_ends(exported: Exported, tmp_path: Path) -> None:
    whole, log = tmp_path / "whole.jsonl", MemoryLog()
    whole.write_bytes(b"".join(exported.lines))
    (run_id, *_) = exported.log.run_ids()
    await log.append(list(exported.log.records(run_id))[:4])
    found = await import_records(log, whole)
    assert found == (6, 5, len(exported.log.storage.records) - 4)
    assert b"".join(export_lines(log, log.run_ids())) == whole.read_bytes()
