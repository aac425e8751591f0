"""What a keeper makes of batches that come in pieces, twice, out of order and with crashes in between. No Kafka."""

import math
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from ledgent.processors.folding import Batch, marker_in
from ledgent.processors.keeping import Keeper, Message, PassedOver
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import address_of, headers_of_stored, partition_of, stored_of
from ledgent.schemas.codec import Stored, read_envelope
from ledgent.schemas.ports import Positioned
from ledgent.schemas.settings import ProcessorSettings
from tests.processors.chain import START, Chain, mixed, runs, with_tools
from tests.processors.faust_process import progress
from tests.processors.tables import Rows, entries_of, windows_of

PARTITIONS = 2
GARBAGE = Stored(b"\xff not a record", "")
NEXT_DAY = START + timedelta(days=1)
"""When the broker has the records: what is not accepted is in windows much younger than those of the rest."""


RUN = "a"
PLACE = partition_of(RUN, PARTITIONS)


class Crash(Exception):
    """The process has died."""


class Disk:
    """The changelogs of both tables, and how many more records they take before the process dies."""

    def __init__(self, random: Random) -> None:
        self.changelogs: dict[str, list[tuple[bytes, bytes]]] = {"runs": [], "windows": []}
        self.room = 0.0
        self._random = random

    def write(self, name: str, records: dict[bytes, bytes]) -> None:
        """All of them; or, where there is no room for all, any."""
        some = list(records.items())
        if len(some) > self.room:
            self.changelogs[name] += self._random.sample(some, int(self.room))
            raise Crash
        self.room -= len(some)
        self.changelogs[name] += some


class KeptTable:
    """A table as one process has it, read back from its changelog."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk, self._name = disk, name
        self.entries: Rows = {}
        for key, value in disk.changelogs[name]:
            if key not in self.entries or progress(value) >= progress(self.entries[key]):
                self.entries[key] = value

    async def write(self, partition: int, records: dict[bytes, bytes]) -> None:
        self._disk.write(self._name, records)
        self.entries.update(records)


class Unheard(SystemWriter):
    """Nobody listens."""

    def __init__(self) -> None:
        self.address = address_of("kafka://nowhere/test")

    def write(self, event: Any) -> None:
        pass

    def send(self, *record: Any) -> None:
        pass


class Process:
    """The processors from one start to their end."""

    def __init__(self, disk: Disk) -> None:
        self.runs, self.windows = KeptTable(disk, "runs"), KeptTable(disk, "windows")
        settings = ProcessorSettings(stalled_s=1e-9)
        self.keeper = Keeper("events", self.runs, self.windows, Unheard, settings)
        self.keeper.took_over(frozenset(range(PARTITIONS)))

    def marker(self, partition: int) -> int:
        return marker_in(self.runs.entries, partition)


def messages_of(log: list[Stored]) -> list[list[Message]]:
    """The messages of each partition."""
    found: list[list[Message]] = [[] for _ in range(PARTITIONS)]
    for stored in log:
        garbage = stored is GARBAGE
        number = 0 if garbage else partition_of(read_envelope(stored.body).run_id, PARTITIONS)
        offset = len(found[number])
        headers: list[tuple[str, bytes | None]] = [] if garbage else [*headers_of_stored(stored)]
        at = NEXT_DAY + offset * timedelta(seconds=1)
        found[number].append(Message(number, offset, at, None, stored.body, headers))
    return found


def recomputed(messages: list[list[Message]]) -> tuple[Rows, Rows]:
    """The tables from offset zero, each partition in one batch."""
    table: Rows = {}
    windows: Rows = {}
    for number, some in enumerate(messages):
        batch = Batch(number, {}, {})
        for each in some:
            batch.add(Positioned(number, each.offset, stored_of(each.value, each.headers)), each.at)
        table |= batch.run_records() | batch.marker_record()
        windows |= batch.window_records()
    return table, windows


def handed_out(messages: list[Message], marker: int, random: Random) -> list[Message]:
    """A partition's messages as a host may bring them: from before the marker's end, and from there once more.

    The first time some may be passed over, though never the one that is next.
    """
    begin = random.randint(0, marker + 1)
    once = messages[begin : random.randint(begin, len(messages))]
    first, last = sorted(random.randint(marker + 2, len(messages) + 1) for _ in range(2))
    return [each for each in once if not first <= each.offset < last] + messages[begin:]


def batches(sequences: list[list[Message]], random: Random) -> Iterator[list[Message]]:
    """All of them, cut anywhere; each sequence keeps its order."""
    left = [list(sequence) for sequence in sequences if sequence]
    while left:
        batch = []
        for _ in range(random.randint(1, 60)):
            if left:
                sequence = random.choice(left)
                batch.append(sequence.pop(0))
                left = [each for each in left if each]
        yield batch


async def live(process: Process, messages: list[list[Message]], random: Random) -> None:
    """Folds until it dies, or ends because of what the host has passed over, or all is done."""
    sequences = [handed_out(some, process.marker(number), random) for number, some in enumerate(messages)]
    process.keeper.seen({number: len(some) - 1 for number, some in enumerate(messages)})
    try:
        for batch in batches(sequences, random):
            if random.random() < 0.3:
                await process.keeper.tidy()
            await process.keeper.fold(batch)
            await process.keeper.alert()
    except (Crash, PassedOver):
        pass
    assert "never folded" not in process.keeper.health()["trouble"]


def whole_run() -> tuple[Chain, Disk]:
    chain, disk = Chain(RUN), Disk(Random(0))
    with_tools(chain)
    disk.room = math.inf
    return chain, disk


@pytest.mark.parametrize("seed", range(100))
async def test_whatever_befalls_its_processes_the_tables_are_those_of_a_recomputation(seed: int) -> None:
    random = Random(seed)
    log = mixed(runs(random.randint(2, 12)), seed, duplicates=0.1, zombies=True)
    log.insert(random.randint(0, len(log)), GARBAGE)
    messages = messages_of(log)
    disk = Disk(random)
    for _ in range(random.randint(1, 6)):
        disk.room = random.randint(0, 80)
        await live(Process(disk), messages, random)
    disk.room = math.inf
    last = Process(disk)
    for number, some in enumerate(messages):
        await last.keeper.fold(some[random.randint(0, last.marker(number) + 1) :])
    assert "never folded" not in last.keeper.health()["trouble"]
    kept = Process(disk)
    table, windows = recomputed(messages)
    assert entries_of(kept.runs.entries) == entries_of(table)
    assert windows_of(kept.windows.entries) == windows_of(windows)


@pytest.mark.parametrize(("later", "kept"), [((5, 3, 2), 3), ((4, 3), 1)])
async def test_it_folds_what_is_before_records_that_were_passed_over_and_a_new_process_goes_on_there(
    later: tuple[int, ...], kept: int
) -> None:
    chain, disk = whole_run()
    messages = messages_of(chain.records)[PLACE]
    first = Process(disk)
    await first.keeper.fold(messages[:2])
    with pytest.raises(PassedOver, match=f"what follows offset {kept} "):
        await first.keeper.fold([messages[offset] for offset in later])
    second = Process(disk)
    assert second.marker(PLACE) == kept
    await second.keeper.fold(messages[kept + 1 :])
    assert entries_of(second.runs.entries)[RUN].seq == len(messages)
    assert "never folded" not in second.keeper.health()["trouble"]


async def test_what_a_new_process_is_not_handed_either_is_told_in_its_health() -> None:
    chain, disk = whole_run()
    messages = messages_of(chain.records)[PLACE]
    await Process(disk).keeper.fold(messages[:3])
    second = Process(disk)
    await second.keeper.fold(messages[5:])
    assert second.keeper.health()["trouble"] == f"offsets 3 to 4 of partition {PLACE} were never folded"
