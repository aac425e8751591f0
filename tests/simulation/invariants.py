"""What must hold of a simulated day, whatever went wrong in it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ledgent.agent.loop import RunLoop
from ledgent.agent.verify import verify
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Envelope, Recorded, Stored, read_envelope
from ledgent.schemas.errors import BadRecord
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    RunFailed,
    RunStarted,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.requests import SendMessage, StartRun
from ledgent.schemas.run import evolve, replay
from ledgent.schemas.state import RunState
from ledgent.schemas.state_json import as_json
from tests.simulation.simulated_agents import IDEMPOTENT, World
from tests.simulation.simulated_log import SimulatedLog, Storage
from tests.simulation.simulated_loop import Process

Raw = Sequence[tuple[Envelope, Stored]]
"""Everything that came to the log of one run."""


def violations(storage: Storage, world: World, loops: Sequence[RunLoop]) -> list[str]:
    """Each as a line."""
    found = []
    raw: dict[str, list[tuple[Envelope, Stored]]] = {}
    for stored in storage.topic:
        envelope = read_envelope(stored.body)
        raw.setdefault(envelope.run_id, []).append((envelope, stored))
    for request in storage.requests.values():
        if isinstance(request, StartRun):
            records = storage.records.get(request.run_id, [])
            said = _of_run(storage, world, request.run_id, records, raw.get(request.run_id, []))
            found += [f"{request.run_id}: {text}" for text in said]
        elif isinstance(request, SendMessage):
            found += _of_message(storage, request)
        if request.request_id not in storage.done:
            found.append(f"request {request.request_id} was left open")
    states = _states(storage)
    for loop in loops:
        found += _of_live(loop, states)
    return found


def _of_run(storage: Storage, world: World, run_id: str, records: Sequence[Recorded], raw: Raw) -> Iterator[str]:
    if [record.seq for record in records] != list(range(1, len(records) + 1)):
        yield "its seqs have gaps"
    if [record.seq for record in records if record.event.type in TERMINAL_TYPES] != [len(records)]:
        yield "it has not exactly one terminal event, at its end"
    if sum(isinstance(record.event, RunStarted) for record in records) != 1:
        last = records[-1].event if records else None
        if not (isinstance(last, RunFailed) and len(records) == 2):
            yield "it has not started exactly once"
    if any(later.at < earlier.at for earlier, later in pairwise(records)):
        yield "time goes back"
    last = records[-1].event if records else None
    if isinstance(last, RunFailed) and last.error.message.startswith("a defect stopped"):
        yield last.error.message
    yield from _calls(world, run_id, records)
    yield from _budgets(records)
    yield from _folds(storage, run_id, records, raw)


def _calls(world: World, run_id: str, records: Sequence[Recorded]) -> Iterator[str]:
    """Each attempt has one intent and one outcome at most, none follows a completed one, effects happen once."""
    begun: dict[str, int] = {}
    names: dict[str, str] = {}
    over: set[tuple[str, int]] = set()
    settled: set[str] = set()
    completed: set[str] = set()
    for event in (record.event for record in records):
        if isinstance(event, ModelCallStarted | ToolCallStarted):
            if event.call_id in settled:
                yield f"{event.call_id} was made again after it was settled"
            if event.attempt != begun.get(event.call_id, 0) + 1:
                yield f"{event.call_id}: attempt {event.attempt} follows attempt {begun.get(event.call_id, 0)}"
            if begun.get(event.call_id) and (event.call_id, begun[event.call_id]) not in over:
                yield f"{event.call_id}: attempt {event.attempt} began before the one before it was over"
            begun[event.call_id] = event.attempt
            if isinstance(event, ToolCallStarted):
                names[event.call_id] = event.name
        elif isinstance(
            event, ModelCallCompleted | ModelCallFailed | ToolCallCompleted | ToolCallFailed | ToolCallUncertain
        ):
            if (event.call_id, event.attempt) in over:
                yield f"{event.call_id}: attempt {event.attempt} has two outcomes"
            if event.attempt != begun.get(event.call_id):
                yield f"{event.call_id}: an outcome of attempt {event.attempt}, which is not under way"
            over.add((event.call_id, event.attempt))
            if isinstance(event, ModelCallCompleted | ToolCallCompleted | ToolCallUncertain):
                settled.add(event.call_id)
            if isinstance(event, ToolCallCompleted):
                completed.add(event.call_id)
    for call_id, name in names.items():
        times = world.effects[f"{run_id}/{call_id}"]
        if name not in IDEMPOTENT and times > 1:
            yield f"{call_id}: {name} took effect {times} times"
        if name not in IDEMPOTENT and begun[call_id] > 1:
            yield f"{call_id}: {name} was tried {begun[call_id]} times"
        if call_id in completed and not times:
            yield f"{call_id}: {name} completed without an effect"


def _budgets(records: Sequence[Recorded]) -> Iterator[str]:
    """No call begins once a bound has been reached; so a bound is overrun by one call at most."""
    start = next((record for record in records if isinstance(record.event, RunStarted)), None)
    if start is None or not isinstance(start.event, RunStarted):
        return
    limits = start.event.limits
    tokens, cost_usd, steps, tool_calls, before = 0, 0.0, set[str](), set[str](), start
    for record in records[start.seq :]:
        event = record.event
        if isinstance(event, ModelCallStarted):
            steps.add(event.call_id)
            if limits.tokens is not None and tokens >= limits.tokens:
                yield f"{event.call_id} began after {tokens} of {limits.tokens} tokens"
            if limits.cost_usd is not None and cost_usd >= limits.cost_usd:
                yield f"{event.call_id} began after {cost_usd} of {limits.cost_usd} USD"
            if limits.seconds is not None and (before.at - start.at).total_seconds() >= limits.seconds:
                yield f"{event.call_id} began after the deadline of {limits.seconds} s"
        elif isinstance(event, ToolCallStarted):
            tool_calls.add(event.call_id)
        elif isinstance(event, ModelCallCompleted | ModelCallFailed):
            tokens += event.usage.input_tokens + event.usage.output_tokens
            cost_usd += event.cost_usd or 0.0
        before = record
    if limits.steps is not None and len(steps) > limits.steps:
        yield f"{len(steps)} steps of {limits.steps}"
    if limits.tool_calls is not None and len(tool_calls) > limits.tool_calls:
        yield f"{len(tool_calls)} tool calls of {limits.tool_calls}"


def _folds(storage: Storage, run_id: str, records: Sequence[Recorded], raw: Raw) -> Iterator[str]:
    """Whoever reads the run, from wherever, comes to the same; and this code would decide it again."""
    reader = SimulatedLog(storage, Process(storage.loop, "reader"))
    live = RunState(run_id)
    for record in records:
        live = evolve(live, record)
    try:
        accepted = replay(run_id, storage.runs.get(run_id, []))
    except BadRecord as error:
        yield f"it cannot be folded: {error}"
        return
    if accepted.state != live or as_json(accepted.state) != as_json(live) or accepted.skipped:
        yield "its fold is not its state"
    guard, kept = Guard(), list[str]()
    for envelope, stored in raw:
        verdict = judge(guard, envelope, stored)
        if verdict is Verdict.ACCEPTED:
            guard = advance(envelope, stored.digest)
            kept.append(stored.digest)
        elif verdict is Verdict.BROKEN:
            yield f"its record {envelope.seq} by {envelope.writer} is broken"
    if guard != accepted.guard or kept != [record.digest for record in records]:
        yield "who reads all that came to the log accepts other records"
    if records:
        certificate = verify(reader, run_id)
        if not certificate.ok or not certificate.complete or certificate.records != len(records):
            yield f"verify: {certificate}"


def _of_message(storage: Storage, request: SendMessage) -> Iterator[str]:
    """It arrives once, or is refused."""
    records = storage.records.get(request.run_id, [])
    times = sum(isinstance(r.event, MessageReceived) and r.event.request_id == request.request_id for r in records)
    if times > 1:
        yield f"{request.request_id} was taken in {times} times"
    if not times and request.request_id in storage.done and storage.done[request.request_id] is None:
        yield f"{request.request_id} was finished without being taken in"


def _states(storage: Storage) -> dict[str, RunState]:
    """Of each run, after each of its records, by their digests."""
    states = {}
    for run_id, records in storage.records.items():
        state = RunState(run_id)
        for record in records:
            state = states[record.digest] = evolve(state, record)
    return states


def _of_live(loop: RunLoop, states: dict[str, RunState]) -> Iterator[str]:
    """What a process held of a run is what the log has, if the log took all its records."""
    writer = loop._writer
    folded = states.get(writer._digest)
    if folded is not None and folded != writer.state:
        yield f"{folded.run_id}: the state that its holder had at {folded.seq} is not the fold of the log"
