"""Runs as records, written as a worker would write them: one chain for each run, and logs that mix several."""

import time
from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from ledgent.schemas.agents import AgentSpec, Limits, ModelSpec, ToolSpec
from ledgent.schemas.codec import Envelope, Recorded, Stored, decode, encode, span_id_of
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    AnyEvent,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    RetryScheduled,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunStarted,
    RunSuspended,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.ports import Positioned
from ledgent.schemas.values import ToolRequest, Usage

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP = timedelta(milliseconds=10)
SHOP = AgentSpec(
    name="shop",
    instructions="You sell bicycles.",
    model=ModelSpec(provider="openai", name="small"),
    tools=(
        ToolSpec(name="find", description="Finds.", parameters={"type": "object"}, idempotent=True, attempts=2),
        ToolSpec(name="pay", description="Pays.", parameters={"type": "object"}),
    ),
)


class Chain:
    """A run's records so far; `at` moves on by STEP with each."""

    def __init__(self, run_id: str, writer: str = "w1", at: datetime = START) -> None:
        self.run_id = run_id
        self.writer = writer
        self.at = at
        self.epoch = 0
        self.records: list[Stored] = []

    def put(self, event: AnyEvent, *span: str | int, previous: str | None = None) -> Stored:
        """Appends a record whose span is named by these parts; none for the run's own."""
        if isinstance(event, RunClaimed):
            self.epoch += 1
        last = self.records[-1].digest if self.records else "0" * 64
        seq = len(self.records) + 1
        envelope = Envelope(
            run_id=self.run_id,
            seq=seq,
            epoch=self.epoch,
            writer=self.writer,
            at=self.at,
            cause=seq - 1 or None,
            trace_id="a" * 32,
            span_id=span_id_of(self.run_id, *span),
            type=event.type,
            version=1,
            previous=last if previous is None else previous,
        )
        self.at += STEP
        stored = encode(envelope, event)
        self.records.append(stored)
        return stored

    def branch(self) -> "Chain":
        """The same run as another process sees it, to go on differently."""
        other = copy(self)
        other.records = list(self.records)
        return other

    def start(self, text: str | None = "hello", agent: AgentSpec = SHOP, **more: Any) -> "Chain":
        self.put(RunClaimed(reason="started"))
        self.put(RunStarted(request_id=f"r-{self.run_id}", agent=agent, input=text, limits=agent.limits, **more))
        return self

    def asks(self, call_id: str, attempt: int = 1) -> None:
        event = ModelCallStarted(
            call_id=call_id, attempt=attempt, provider="openai", model="small", request_digest="d" * 64
        )
        self.put(event, call_id, attempt)

    def wants(self, call_id: str, name: str, number: int = 0, attempt: int = 1) -> None:
        """The model has asked for a tool call, and is still answering."""
        request = ToolRequest(call_id=f"{call_id}.t{number}", provider_id=f"p{number}", name=name, arguments='{"n": 1}')
        self.put(ModelCallToolRequested(call_id=call_id, attempt=attempt, request=request), call_id, attempt)

    def answers(
        self, call_id: str, text: str | None = None, tools: Iterable[str] = (), attempt: int = 1, first: int = 0
    ) -> None:
        requests = tuple(
            ToolRequest(call_id=f"{call_id}.t{n}", provider_id=f"p{n}", name=name, arguments='{"n": 1}')
            for n, name in enumerate(tools, first)
        )
        event = ModelCallCompleted(
            call_id=call_id,
            attempt=attempt,
            text=text,
            tool_calls=requests,
            usage=Usage(input_tokens=100, output_tokens=20, cached_tokens=10, reasoning_tokens=5),
            cost_usd=0.001,
            duration_ms=9.5,
        )
        self.put(event, call_id, attempt)

    def calls(self, call_id: str, name: str = "find", attempt: int = 1) -> None:
        event = ToolCallStarted(call_id=call_id, attempt=attempt, name=name, arguments='{"n": 1}', idempotency_key="k")
        self.put(event, call_id, attempt)

    def returns(self, call_id: str, result: str = "found", attempt: int = 1) -> None:
        self.put(ToolCallCompleted(call_id=call_id, attempt=attempt, result=result, duration_ms=4.0), call_id, attempt)

    def recorded(self) -> list[Recorded]:
        return [decode(stored) for stored in self.records]


def error(code: ErrorCode, message: str = "no luck") -> ErrorInfo:
    return ErrorInfo(code=code, message=message, retryable=True)


def with_tools(chain: Chain) -> None:
    """Two tools in parallel, one rejected call, then an answer."""
    chain.start(session="s1", labels={"tier": "gold"})
    chain.asks("m1")
    chain.answers("m1", tools=("find", "pay", "fnd"))
    chain.calls("m1.t0")
    chain.calls("m1.t1", "pay")
    chain.put(ToolCallRejected(call_id="m1.t2", name="fnd", reason="unknown_tool", message="No tool fnd."), "m1.t2", 1)
    chain.returns("m1.t1")
    chain.returns("m1.t0")
    chain.asks("m2")
    chain.answers("m2", "Here you are.")
    chain.put(RunCompleted(output="Here you are."))


def with_retries(chain: Chain) -> None:
    """A rate limit, a wait, a second attempt; a tool that fails once; then a limit."""
    chain.start()
    chain.asks("m1")
    chain.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.RATE_LIMITED), duration_ms=3.0), "m1", 1)
    wait = chain.put(RetryScheduled(call_id="m1", attempt=2, delay_s=0.5, code=ErrorCode.RATE_LIMITED), "m1", 2, "wait")
    chain.put(TimerFired(timer_seq=decode(wait).seq), "m1", 2, "wait")
    chain.asks("m1", 2)
    chain.answers("m1", tools=("find",), attempt=2)
    chain.calls("m1.t0")
    chain.put(ToolCallFailed(call_id="m1.t0", error=error(ErrorCode.TIMEOUT)), "m1.t0", 1)
    wait = chain.put(
        RetryScheduled(call_id="m1.t0", attempt=2, delay_s=0.1, code=ErrorCode.TIMEOUT), "m1.t0", 2, "wait"
    )
    chain.put(TimerFired(timer_seq=decode(wait).seq), "m1.t0", 2, "wait")
    chain.calls("m1.t0", attempt=2)
    chain.returns("m1.t0", attempt=2)
    chain.put(RunLimited(limit="steps", bound=1, used=1))


def taken_over(chain: Chain) -> None:
    """Its process dies while it pays; another goes on."""
    chain.start()
    chain.asks("m1")
    chain.answers("m1", tools=("pay",))
    chain.calls("m1.t0", "pay")
    chain.writer = "w2"
    chain.put(RunClaimed(reason="taken_over"))
    chain.put(ToolCallUncertain(call_id="m1.t0", message="It may have happened."), "m1.t0", 1)
    chain.asks("m2")
    chain.put(ModelCallFailed(call_id="m2", error=error(ErrorCode.AUTH, "bad key"), duration_ms=1.0), "m2", 1)
    chain.put(RunFailed(error=error(ErrorCode.AUTH, "bad key")))


def conversation(chain: Chain) -> None:
    """Waits for input, is handed over, is ended."""
    chain.start(None, SHOP.model_copy(update={"conversational": True, "limits": Limits()}))
    chain.put(RunSuspended(reason="input"))
    chain.put(MessageReceived(request_id="q1", text="Do you have\n  bells?"))
    chain.asks("m1")
    chain.put(RunSuspended(reason="handed_over"))
    chain.writer = "w2"
    chain.put(RunClaimed(reason="resumed"))
    maybe = Usage(input_tokens=400, output_tokens=100)
    lost = error(ErrorCode.INTERRUPTED)
    chain.put(ModelCallFailed(call_id="m1", error=lost, maybe_usage=maybe, maybe_cost_usd=0.0005), "m1", 1)
    chain.put(RetryScheduled(call_id="m1", attempt=2, delay_s=9, code=ErrorCode.INTERRUPTED), "m1", 2, "wait")
    chain.put(RunCancelRequested(request_id="q2", reason="changed my mind"))
    chain.put(RunCancelled(reason="changed my mind"))


def ended_conversation(chain: Chain) -> None:
    """Two turns; the second wait is still open."""
    chain.start(None)
    chain.put(MessageReceived(request_id="q1", text="Bells?"))
    chain.asks("m1")
    chain.answers("m1", "Yes.")
    chain.put(RunSuspended(reason="input"))
    chain.put(RunEndRequested(request_id="q2"))
    chain.asks("m2")


def begun_early(chain: Chain) -> None:
    """Two tools begin while the model answers; it is cut off, one fails and is tried again; another answer is whole."""
    chain.start()
    chain.asks("m1")
    chain.wants("m1", "find")
    chain.calls("m1.t0")
    chain.wants("m1", "fnd", 1)
    chain.put(ToolCallRejected(call_id="m1.t1", name="fnd", reason="unknown_tool", message="No tool fnd."), "m1.t1", 1)
    chain.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.CONNECTION), duration_ms=3.0), "m1", 1)
    chain.put(ToolCallFailed(call_id="m1.t0", error=error(ErrorCode.INTERRUPTED)), "m1.t0", 1)
    chain.calls("m1.t0", attempt=2)
    chain.returns("m1.t0", attempt=2)
    chain.asks("m1", 2)
    chain.wants("m1", "pay", 2, attempt=2)
    chain.calls("m1.t2", "pay")
    chain.returns("m1.t2", "paid")
    chain.answers("m1", tools=("pay",), attempt=2, first=2)
    chain.asks("m2")
    chain.wants("m2", "find")


SCENARIOS = (with_tools, with_retries, taken_over, conversation, ended_conversation)


def runs(count: int) -> list[Chain]:
    """So many runs, of each scenario in turn."""
    chains = []
    for n in range(count):
        chain = Chain(f"0193{n:08x}", at=START + n * timedelta(seconds=1))
        SCENARIOS[n % len(SCENARIOS)](chain)
        chains.append(chain)
    return chains


def zombies_of(chain: Chain) -> list[Stored]:
    """What a process that lost the run still writes: its next record, and a claim that comes too late."""
    late = chain.branch()
    late.records = late.records[:4]
    late.writer, late.epoch = "zombie", 1
    written = [late.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.TIMEOUT)), "m1", 1)]
    late.writer = "latecomer"
    return [*written, late.put(RunClaimed(reason="taken_over"))]


def mixed(chains: Iterable[Chain], seed: int, *, duplicates: float = 0.0, zombies: bool = False) -> list[Stored]:
    """One log of all these runs, in a random order that keeps each run's own."""
    random = Random(seed)
    queues = [list(chain.records) for chain in chains]
    late = {id(queue): zombies_of(chain) for queue, chain in zip(queues, chains, strict=True)} if zombies else {}
    log: list[Stored] = []
    while queues:
        queue = random.choice(queues)
        log.append(queue.pop(0))
        if random.random() < duplicates:
            log.append(random.choice(log[-20:]))
        if zombies and len(queue) == 3:
            log += late[id(queue)]
        if not queue:
            queues.remove(queue)
    return log


class ListFeed:
    """A log in a list for each partition."""

    def __init__(self, *partitions: list[Stored]) -> None:
        self.partitions = partitions

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        found = [
            Positioned(partition, offset, stored)
            for partition, records in enumerate(self.partitions)
            for offset, stored in enumerate(records)
            if offset > positions.get(partition, -1)
        ]
        if not found:
            time.sleep(min(timeout_s, 0.01))
        return found[:limit]

    def ends(self) -> dict[int, int]:
        return {partition: len(records) - 1 for partition, records in enumerate(self.partitions)}
