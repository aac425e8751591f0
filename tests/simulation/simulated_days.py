"""A day in the life of some processes and runs, all of it from one seed: what goes wrong when, and what must hold.

python -m tests.simulation.simulated_days SEED             plays one seed and prints its log
python -m tests.simulation.simulated_days FIRST COUNT      plays many; each that fails is printed
"""

import asyncio
import contextvars
import hashlib
import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ledgent.agent.loop import RunLoop
from ledgent.agent.worker import Worker
from ledgent.agent.writing import OnRecord
from ledgent.schemas.agents import Limits
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import LedgentError, RequestRefused
from ledgent.schemas.requests import (
    AnyRequest,
    ApproveCall,
    CancelRun,
    DenyCall,
    EndConversation,
    SendMessage,
    StartRun,
)
from ledgent.schemas.run import replay
from ledgent.schemas.state import Phase
from tests.simulation.invariants import violations
from tests.simulation.simulated_agents import AGENTS, RUN, WORLD, Moods, ProcessClock, World
from tests.simulation.simulated_log import LogFaults, SimulatedLog, Storage
from tests.simulation.simulated_loop import Process, SimulatedLoop, StandsStill

BUSY_S = 35.0
"""As long as runs are likely to be at work, processes die, stop and leave."""
CALM_AT_S = 60.0
"""From here on nothing goes wrong any more."""
STARTED_S = 8.0
"""By then all runs have been asked for."""
LATEST_S = 3_000.0
"""By then every run must have ended."""
SETTLED_S = 40.0
"""So long after the last end, late records may still come."""


KINDS = (
    *("lost", "doubled", "reordered", "late", "unavailable", "redelivered"),
    *("model fails", "model hangs", "model breaks", "tool fails", "tool hangs"),
    *("kill", "kill at append", "pause", "jump", "move", "leave", "another"),
    *("users", "late requests"),
)
"""Of what can go wrong; of each day about half."""


class Day(NamedTuple):
    """What one seed came to."""

    seed: int
    violations: list[str]
    digest: str
    """Of every byte that came to the log, in order."""
    faults: list[str]
    """What went wrong when."""
    storage: Storage
    world: World


class ProcessWorker(Worker):
    """Keeps the loops that it has had, for the comparison with the log."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.loops: list[RunLoop] = []
        self.stop = asyncio.Event()

    async def _claimed(self, request: AnyRequest) -> RunLoop | None:
        RUN.set(request.run_id)
        loop = await super()._claimed(request)
        if loop is not None:
            self.loops.append(loop)
        return loop


class Play:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)
        self.loop = SimulatedLoop()
        self.kinds = {kind for kind in KINDS if dice.random() < 0.45}
        log_faults = LogFaults(
            lost=self._rate("lost", 0.2),
            doubled=self._rate("doubled", 0.4),
            reordered=self._rate("reordered", 0.3),
            late=self._rate("late", 0.2),
            unavailable=self._rate("unavailable", 0.02),
            redelivered=self._rate("redelivered", 0.02),
        )
        moods = Moods(
            model_fails=self._rate("model fails", 0.4),
            model_hangs=self._rate("model hangs", 0.15),
            model_breaks=self._rate("model breaks", 0.05),
            tool_fails=self._rate("tool fails", 0.4),
            tool_hangs=self._rate("tool hangs", 0.2),
        )
        self.storage = Storage(self.loop, dice, refuses=dice.random() < 0.4, faults=log_faults)
        self.world = World(self.loop, dice, self.storage, moods)
        self.processes: list[tuple[Process, SimulatedLog, ProcessWorker, ProcessClock]] = []
        self.faults = [f"kinds: {', '.join(sorted(self.kinds))}", f"{self.storage.refuses=}", str(moods)]
        self._asked = 0

    def _rate(self, kind: str, most: float) -> float:
        return self.dice.uniform(0.0, most) if kind in self.kinds else 0.0

    def _note(self, text: str) -> None:
        self.faults.append(f"{self.loop.now:9.3f} {text}")

    def day(self) -> Day:
        """Plays it."""
        WORLD.set(self.world)
        found = self.world.wrong
        try:
            try:
                self.loop.run_until_complete(self._play())
            except StandsStill:
                found.append("nothing is left that could happen, and a run has not ended")
            found += self.loop.problems
            found += violations(self.storage, self.world, [loop for _, _, w, _ in self.processes for loop in w.loops])
        finally:
            self._bury()
            self.loop.close()
        topic = hashlib.sha256(b"".join(stored.body for stored in self.storage.topic)).hexdigest()
        return Day(self.seed, found, topic, self.faults, self.storage, self.world)

    async def _play(self) -> None:
        for _ in range(self.dice.randint(1, 3)):
            self._start_process()
        for number in range(self.dice.randint(1, 4)):
            self._user(f"run-{self.seed}-{number}")
        if self._process_kinds():
            for _ in range(self.dice.randint(2, 12)):
                self.loop.outside(self.dice.uniform(0.0, BUSY_S), self._in_context(self._something_happens))
        while self.loop.now < CALM_AT_S and not self._all_ended():
            await asyncio.sleep(2.0)
            if not any(process.task and not process.task.done() and not process.dead for process, *_ in self.processes):
                self._start_process()
        self._calm_down()
        while not self._all_ended():
            if self.loop.now > LATEST_S:
                self.world.wrong.append("runs stand still")
                return
            await asyncio.sleep(3.0)
            self._help_to_the_end()
        await asyncio.sleep(SETTLED_S)

    def _process_kinds(self) -> list[str]:
        return sorted(self.kinds & {"kill", "kill at append", "pause", "jump", "move", "leave", "another"})

    def _in_context(self, action: Callable[[], None]) -> Callable[[], None]:
        context = contextvars.copy_context()
        return lambda: context.run(action)

    def _start_process(self) -> None:
        process = Process(self.loop, f"p{len(self.processes)}")
        log, clock = SimulatedLog(self.storage, process), ProcessClock(self.world)
        if "jump" in self.kinds:
            clock.skew_s = self.dice.uniform(-5.0, 5.0)
        told = self._told_of(process)
        worker = ProcessWorker(log, AGENTS, concurrency=self.dice.randint(1, 6), clock=clock, on_record=told)

        async def main() -> None:
            log.beat()
            try:
                await worker.work(stop=worker.stop, drain_s=4.0)
            except LedgentError as error:
                self._note(f"{process.name} stops: {error}")
            finally:
                process.kill()  # what has ended is gone: its heart beats no more

        self.processes.append((process, log, worker, clock))
        self._note(f"{process.name} starts")
        if "kill at append" in self.kinds and self.dice.random() < 0.6 and self.loop.now < CALM_AT_S:
            log.dies_at = (self.dice.randint(1, 25), self.dice.choice(("before", "after", "acknowledged")))
            self._note(f"{process.name} will die at {log.dies_at}")
        process.start(main())

    def _told_of(self, process: Process) -> OnRecord:
        def told(record: Recorded) -> None:
            if not self.storage.holds_digest(record.run_id, record.seq, record.digest):
                self.world.wrong.append(f"{process.name} told of {record.run_id} {record.seq} before it was accepted")

        return told

    def _something_happens(self) -> None:
        living = [each for each in self.processes if not each[0].dead]
        if self.loop.now >= CALM_AT_S or not living:
            return
        kind = self.dice.choice(self._process_kinds())
        process, log, worker, clock = self.dice.choice(living)
        self._note(f"{process.name} {kind}")
        match kind:
            case "kill":
                process.kill()
                self.loop.outside(self.dice.uniform(0.0, 20.0), self._in_context(self._start_process))
            case "pause":
                process.pause()
                self.loop.outside(self.dice.choice((0.5, 3.0, 15.0, 60.0)), process.wake)
                self._start_process()
            case "jump":
                clock.skew_s += self.dice.choice((-300.0, -1.0, 1.0, 300.0))
            case "move":
                for run_id, guard in self.storage.guards.items():
                    if guard.writer == log.writer and self.dice.random() < 0.7:
                        self.storage.moved.setdefault(log.writer, set()).add(run_id)
                        if self.dice.random() < 0.3:
                            self.storage.up_for_grabs.add(run_id)
            case "leave":
                if self.dice.random() < 0.6:
                    worker.stop.set()
                elif process.task is not None:
                    process.task.cancel()
                self._start_process()
            case "another":
                self._start_process()

    def _user(self, run_id: str) -> None:
        """Asks for a run, and says things to it."""
        dice = self.dice
        agent = dice.choice(sorted(AGENTS))
        bounds: dict[str, float] = {
            "steps": dice.randint(1, 6),
            "tokens": dice.randint(1, 300),
            "cost_usd": dice.choice((0.01, 0.1, 0.3)),
            "seconds": dice.choice((1.0, 10.0, 60.0)),
            "tool_calls": dice.randint(1, 4),
            "repeats": dice.randint(1, 2),
            "idle_steps": dice.randint(1, 2),
        }
        chosen = dice.sample(sorted(bounds), dice.choice((0, 0, 1, 2)))
        limits = Limits(**{name: bounds[name] for name in chosen})  # type: ignore[arg-type]
        start_s = dice.uniform(0.0, STARTED_S)
        input = None if agent == "talk" and dice.random() < 0.3 else "go"
        later: list[AnyRequest] = [
            self._later(run_id, agent) for _ in range(dice.choice((0, 0, 1, 2, 3)) if "users" in self.kinds else 0)
        ]
        start = StartRun(request_id=f"q-{run_id}", run_id=run_id, agent=agent, input=input, limits=limits)
        self.loop.outside(start_s, self._submit, start)
        for request in later:
            self.loop.outside(start_s + dice.uniform(0.0, 40.0), self._submit, request)

    def _later(self, run_id: str, agent: str) -> AnyRequest:
        self._asked += 1
        id = f"q{self._asked}-{run_id}"
        if agent == "talk" and self.dice.random() < 0.7:
            if self.dice.random() < 0.2:
                return EndConversation(request_id=id, run_id=run_id)
            return SendMessage(request_id=id, run_id=run_id, text=f"more {id}")
        if self.dice.random() < 0.3:
            return SendMessage(request_id=id, run_id=run_id, text="not wanted")
        return CancelRun(request_id=id, run_id=run_id, reason="enough")

    def _submit(self, request: AnyRequest) -> None:
        late_s = self.dice.uniform(0.0, 15.0) if "late requests" in self.kinds and self.dice.random() < 0.4 else 0.0
        try:
            self.storage.submit(request, late_s)
        except RequestRefused:
            pass

    def _calm_down(self) -> None:
        self._note("from now on nothing goes wrong")
        self.storage.faults = LogFaults()
        self.world.moods = Moods()
        self.storage.moved.clear()
        self.storage.up_for_grabs.clear()
        for process, log, _, _ in self.processes:
            log.dies_at = (0, "")
            if process.paused:
                process.wake()
        self._start_process()

    def _all_ended(self) -> bool:
        storage = self.storage
        asked = [request for request in storage.requests.values() if isinstance(request, StartRun)]
        if self.loop.now < STARTED_S or not all(storage.guards.get(r.run_id) for r in asked):
            return False
        return all(storage.guards[r.run_id].ended for r in asked) and all(id in storage.done for id in storage.requests)

    def _help_to_the_end(self) -> None:
        """What people do sooner or later: they decide, and they hang up."""
        for run_id, guard in list(self.storage.guards.items()):
            if guard.ended:
                continue
            state = replay(run_id, self.storage.runs[run_id]).state
            for call_id, call in state.tool_calls.items():
                if call.phase is Phase.HELD:
                    kind = self.dice.choice((ApproveCall, DenyCall))
                    self._submit(kind(request_id=f"d-{run_id}-{call_id}", run_id=run_id, call_id=call_id))
            if state.suspended == "input":
                self._submit(EndConversation(request_id=f"e-{run_id}", run_id=run_id))

    def _bury(self) -> None:
        """Ends all that is left, so that nothing is said about it when it is forgotten."""
        for process, *_ in self.processes:
            process.kill()
            process.bury()
        left = asyncio.all_tasks(self.loop)
        for _ in range(5):
            if not left:
                return
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(left, timeout=60.0))
            left = asyncio.all_tasks(self.loop)


def play(seed: int) -> Day:
    """The day of this seed; the same whenever it is played."""
    return contextvars.Context().run(lambda: Play(seed).day())


def told(day: Day) -> str:
    """All there is to know of a day."""
    lines = [f"seed {day.seed}: {len(day.violations)} violations, log {day.digest[:16]}"]
    lines += [f"  VIOLATED {text}" for text in day.violations]
    lines += [f"  {text}" for text in day.faults]
    for run_id, records in sorted(day.storage.records.items()):
        lines.append(f"  {run_id}")
        for record in records:
            e = record.envelope
            lines.append(f"    {e.seq:3} {e.epoch}/{e.writer} {e.at:%H:%M:%S.%f} <-{e.cause} {str(record.event)[:200]}")
    lines.append(f"  reproduce: python -m tests.simulation.simulated_days {day.seed}")
    return "\n".join(lines)


def failing(seeds: range) -> Iterator[str]:
    """What is told of each seed that fails."""
    for seed in seeds:
        day = play(seed)
        if day.violations:
            yield told(day)


def _chunk(seeds: range) -> list[str]:
    return list(failing(seeds))


def main(first: str, count: str = "") -> int:
    if not count:
        day = play(int(first))
        print(told(day))
        return bool(day.violations)
    seeds = range(int(first), int(first) + int(count))
    chunks = [seeds[at : at + 100] for at in range(0, len(seeds), 100)]
    failed = 0
    with multiprocessing.Pool(min(os.cpu_count() or 1, 8)) as pool:
        for number, found in enumerate(pool.imap_unordered(_chunk, chunks), 1):
            failed += len(found)
            for text in found:
                print(text, flush=True)
            print(f"{number * 100:,} of {len(seeds):,} seeds played, {failed} failed", file=sys.stderr, flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
