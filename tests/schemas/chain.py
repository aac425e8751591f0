"""Runs written by hand, for tests: records with fixed ids and times, each continuing the one before it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ledgent.schemas.acceptance import Guard, advance
from ledgent.schemas.agents import AgentSpec, Limits, ModelSpec, ToolSpec
from ledgent.schemas.codec import Envelope, Stored, encode, read_envelope, span_id_of, trace_id_of
from ledgent.schemas.events import AnyEvent, ModelCallStarted, RunClaimed, RunCompleted, RunStarted, RunSuspended
from ledgent.schemas.run import replay
from ledgent.schemas.state import RunState
from ledgent.schemas.values import ToolRequest

RUN = "0197f0a2-7c1e-7d43-8a90-3f5b6c7d8e9f"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SPEC = AgentSpec(
    name="clerk",
    instructions="Be brief.",
    model=ModelSpec(provider="scripted", name="script"),
    tools=(
        ToolSpec(name="look_up", description="", parameters={}, idempotent=True, attempts=3),
        ToolSpec(name="pay", description="", parameters={}, attempts=3),
        ToolSpec(name="hang_up", description="", parameters={}, ends_run=True),
    ),
    limits=Limits(),
)


class Chain:
    """One run's records so far, a second apart, by the writer that holds it."""

    def __init__(self, run_id: str = RUN, writer: str = "host/1") -> None:
        self.run_id = run_id
        self.records: list[Stored] = []
        self.guard = Guard(writer=writer)

    def next(self, event: AnyEvent, *, cause: int | None = None, seconds: float = 1.0, **envelope: object) -> Stored:
        """The record that would come next, not added; a claim has the next epoch. `envelope`: fields that differ."""
        last = read_envelope(self.records[-1].body).at if self.records else NOON
        place: dict[str, Any] = {
            "run_id": self.run_id,
            "seq": self.guard.seq + 1,
            "epoch": max(1, self.guard.epoch + isinstance(event, RunClaimed)),
            "writer": self.guard.writer,
            "at": last + timedelta(seconds=seconds),
            "cause": cause,
            "trace_id": trace_id_of(self.run_id),
            "span_id": span_id_of(self.run_id),
            "type": event.type,
            "version": event.version,
            "previous": self.guard.digest,
        }
        return encode(Envelope(**{**place, **envelope}), event)

    def add(self, event: AnyEvent, *, cause: int | None = None, seconds: float = 1.0) -> Stored:
        """The record that comes next, added."""
        stored = self.next(event, cause=cause, seconds=seconds)
        self.records.append(stored)
        self.guard = advance(read_envelope(stored.body), stored.digest)
        return stored

    def claim(self, writer: str | None = None) -> Stored:
        """A claim by the same writer, or by another one that takes over."""
        self.guard = self.guard._replace(writer=writer or self.guard.writer)
        return self.add(RunClaimed(reason="taken_over" if self.records else "started"))

    def start(self, input: str | None = "hello", spec: AgentSpec = SPEC, limits: Limits | None = None) -> Stored:
        return self.add(
            RunStarted(request_id="request-1", agent=spec, input=input, limits=limits or spec.limits), cause=1
        )

    def suspend(self) -> Stored:
        return self.add(RunSuspended(reason="input"), cause=self.guard.seq)

    def complete(self) -> Stored:
        return self.add(RunCompleted(output="done"), cause=self.guard.seq)

    def ask(self, number: int = 1, attempt: int = 1) -> Stored:
        """A model call's start."""
        return self.add(
            ModelCallStarted(
                call_id=f"m{number}", attempt=attempt, provider="scripted", model="script", request_digest="0" * 64
            )
        )

    def other(self) -> "Chain":
        """A copy that can go its own way."""
        copy = Chain(self.run_id)
        copy.records, copy.guard = list(self.records), self.guard
        return copy

    @property
    def state(self) -> RunState:
        return replay(self.run_id, self.records).state


def begun(run_id: str = RUN, writer: str = "host/1", spec: AgentSpec = SPEC) -> Chain:
    """A run that has been claimed and started."""
    chain = Chain(run_id, writer)
    chain.claim()
    chain.start(spec=spec)
    return chain


def asked(name: str, call_id: str = "m1.t0", arguments: str = "{}") -> ToolRequest:
    return ToolRequest(call_id=call_id, provider_id=f"provider-{call_id}", name=name, arguments=arguments)
