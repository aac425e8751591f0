"""Worker processes over one log on Kafka, and what must hold of their runs, whatever happened to them."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from ledgent.agent.verify import verify
from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.topics import admin_of, create
from ledgent.producers.kafka.wire import Address
from ledgent.producers.submit import start_run
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Recorded, decode, read_envelope
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    ModelCallCompleted,
    ModelCallStarted,
    RunClaimed,
    RunCompleted,
    RunStarted,
    ToolCallCompleted,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.settings import KafkaSettings
from tests.simulation.kafka_workers import ANSWER, CALLS, Plan

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0
LOOK_S = 0.1


class Effect(NamedTuple):
    """A line that a tool wrote."""

    what: str
    key: str
    pid: int


class WorkerProcess:
    """One of a fleet's."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        self.writer = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_writer(self) -> None:
        assert self.process.stdout is not None
        self.writer = self.process.stdout.readline().strip()
        assert self.writer, "the worker did not start"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def stopped(self) -> bool:
        """Whether the process stands still."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def end(self) -> None:
        """Whatever it is doing."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Submitted(NamedTuple):
    """A run that has been asked for."""

    run_id: str
    at: datetime


class Fleet:
    """Workers with their topics and the file of their effects."""

    def __init__(self, address: Address, folder: Path, stack: ExitStack) -> None:
        create(address, KafkaSettings())
        self.address = address
        self.effects_file = folder / "effects.txt"
        self.log = KafkaLog(address, KafkaSettings())
        self.submitted: list[Submitted] = []
        self._stack = stack
        stack.callback(self.log.close)

    def start(self, *plans: Plan) -> list[WorkerProcess]:
        """Workers that are about to join the group."""
        workers = []
        for plan in plans:
            arguments = (self.address.url, str(self.effects_file), json.dumps(plan._asdict()))
            workers.append(WorkerProcess([sys.executable, "-m", "tests.simulation.kafka_workers", *arguments]))
            self._stack.callback(workers[-1].end)
        for worker in workers:
            worker.read_writer()
        return workers

    def shares(self) -> list[set[int]]:
        """The partitions of each member of the workers' group; of none while a new broker has no groups yet."""
        group = f"{self.address.prefix}.workers"
        try:
            with admin_of(self.address, KafkaSettings()) as admin:
                members = admin.describe_groups([group])[group]["members"]
        except LogUnavailable:
            return []
        assigned = [(member["member_assignment"] or {}).get("assigned_partitions", ()) for member in members]
        return [{number for topic in topics for number in topic["partitions"]} for topics in assigned]

    async def joined(self, count: int) -> None:
        """Waits until the partitions are shared out among so many members."""

        def shared() -> bool:
            shares = self.shares()
            all_of_them = list(range(KafkaSettings().partitions))
            return len(shares) == count and all(shares) and sorted(chain(*shares)) == all_of_them

        await until(shared, f"{count} workers have not joined")

    async def submit(self, count: int) -> None:
        at = datetime.now(UTC)
        run_ids = await asyncio.gather(*(start_run(self.log, "errands", "go") for _ in range(count)))
        self.submitted += [Submitted(run_id, at) for run_id in run_ids]

    def effects(self) -> list[Effect]:
        if not self.effects_file.exists():
            return []
        lines = [line.split() for line in self.effects_file.read_text().splitlines()]
        return [Effect(what, key, int(pid)) for what, key, pid in lines]

    async def effects_by(self, pid: int, count: int) -> None:
        """Waits until a process has done so much."""
        await until(lambda: sum(e.pid == pid for e in self.effects()) >= count, f"{pid} did not do {count} things")

    def folded(self) -> "Folded":
        """Everything that stands in the log, judged by hand."""
        return Folded(self.log)

    async def all_ended(self) -> "Folded":
        """Waits until all runs that were asked for have ended; the log then."""
        run_ids = [each.run_id for each in self.submitted]
        folded = self.folded()

        def ended() -> bool:
            folded.read_on()
            return all(folded.guards[run_id].ended for run_id in run_ids)

        await until(ended, "runs stand still")
        return folded

    def check(self, folded: "Folded") -> None:
        """Each run ended once, with each call's outcome once and no effect more often than the log says."""
        effects = Counter(effect.key for effect in self.effects())
        assert sorted(folded.records) == sorted(each.run_id for each in self.submitted)
        for run_id, records in folded.records.items():
            check_calls(run_id, records, effects)
            certificate = verify(self.log, run_id)
            assert certificate.ok, certificate
            assert certificate.complete
            assert certificate.records == len(records), "a fold and the log differ in what is accepted"


class Folded:
    """What stands in a log, by the rule alone; reads on when asked to."""

    def __init__(self, log: KafkaLog) -> None:
        self.guards: defaultdict[str, Guard] = defaultdict(Guard)
        self.records: defaultdict[str, list[Recorded]] = defaultdict(list)
        """The accepted ones of each run."""
        self.verdicts: defaultdict[str, Counter[Verdict]] = defaultdict(Counter)
        """How often each fell on a run's records."""
        self.fenced: list[Recorded] = []
        self._log = log
        self._positions: dict[int, int] = {}

    def read_on(self) -> None:
        while found := self._log.read(self._positions, 10_000):
            for place in found:
                self._positions[place.partition] = place.offset
                envelope, recorded = read_envelope(place.stored.body), decode(place.stored)
                run_id = envelope.run_id
                digests = {each.seq: each.digest for each in self.records[run_id]}
                verdict = judge(self.guards[run_id], envelope, place.stored, digests.get)
                self.verdicts[run_id][verdict] += 1
                if verdict is Verdict.ACCEPTED:
                    self.guards[run_id] = advance(envelope, place.stored.digest)
                    self.records[run_id].append(recorded)
                elif verdict is Verdict.FENCED:
                    self.fenced.append(recorded)

    @property
    def count(self) -> Counter[Verdict]:
        return sum(self.verdicts.values(), Counter())

    def claims(self, run_id: str) -> list[tuple[str, str]]:
        """Who took the run up, one after the other, and why."""
        return [
            (record.envelope.writer, record.event.reason)
            for record in self.records[run_id]
            if isinstance(record.event, RunClaimed)
        ]

    def uncertain(self, run_id: str) -> set[str]:
        """The calls of which nobody knows whether they happened."""
        events = (record.event for record in self.records[run_id])
        return {event.call_id for event in events if isinstance(event, ToolCallUncertain)}

    def held_by(self, writer: str) -> set[str]:
        """The runs that it is at work on."""
        return {
            run_id
            for run_id, guard in self.guards.items()
            if guard.writer == writer and not guard.ended and self.records[run_id][-1].event.type != "run.suspended"
        }

    def longest_standing_s(self, submitted: Sequence[Submitted]) -> float:
        """The longest time in which nothing happened to a run that was not over."""
        return max(
            (later - earlier).total_seconds()
            for run_id, at in submitted
            for earlier, later in pairwise([at, *(record.at for record in self.records[run_id])])
        )

    def wait_s(self, run_id: str) -> float:
        """From when the run was handed over until it was taken up."""
        suspended, claimed = next(
            (before, after) for before, after in pairwise(self.records[run_id]) if before.event.type == "run.suspended"
        )
        return (claimed.at - suspended.at).total_seconds()

    def longest_take_up_s(self, run_ids: Iterable[str], since: datetime) -> float:
        """The longest time from then on until one of the runs was taken up."""
        return max(
            (record.at - since).total_seconds()
            for run_id in run_ids
            for record in [next(r for r in self.records[run_id] if isinstance(r.event, RunClaimed) and r.at > since)]
        )


def check_calls(run_id: str, records: Sequence[Recorded], effects: Counter[str]) -> None:
    """What must hold of one run. `effects`: how often each call's key took effect."""
    events = [record.event for record in records]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.seq for record in records if record.event.type in TERMINAL_TYPES] == [len(records)]
    assert sum(isinstance(event, RunStarted) for event in events) == 1
    assert events[-1] == RunCompleted(output=ANSWER)
    attempts = Counter[str]()
    done = Counter[str]()
    tools = dict[str, str]()
    for event in events:
        if isinstance(event, ModelCallStarted | ToolCallStarted):
            assert not done[event.call_id], "a call that is over was made again"
            attempts[event.call_id] += 1
            if isinstance(event, ToolCallStarted):
                tools[event.call_id] = event.name
        elif isinstance(event, ModelCallCompleted | ToolCallCompleted | ToolCallUncertain):
            done[event.call_id] += 1
    assert done == Counter(dict.fromkeys(attempts, 1)), "a call without its one outcome"
    assert len(tools) == CALLS
    uncertain = {event.call_id for event in events if isinstance(event, ToolCallUncertain)}
    for call_id, name in tools.items():
        times = effects[f"{run_id}/{call_id}"]
        if name == "pay":
            assert attempts[call_id] == 1, "an effect that is not idempotent was tried again"
            assert times == 1 or (times == 0 and call_id in uncertain), f"{name} happened {times} times"
        else:
            assert 1 <= times <= attempts[call_id], f"{name} happened {times} times in {attempts[call_id]} attempts"


async def until(condition: Callable[[], object], otherwise: str, patience_s: float = PATIENCE_S) -> None:
    """Returns once the condition, which may ask a broker, holds."""
    deadline = time.monotonic() + patience_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"{otherwise} after {patience_s:g} s"
        await asyncio.sleep(LOOK_S)
