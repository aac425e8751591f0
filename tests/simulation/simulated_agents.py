"""Agents whose models and tools do what dice say: answer, fail with any code, hang, take effect; all of it is counted.

Agents are the same for all seeds; which world they act in, the running task's context tells.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from pydantic import BaseModel

from ledgent.agent import Agent, Delta, Limits, RetryPolicy, ToolContext, ToolError, tool
from ledgent.agent.models.port import AskedTool, ModelFailure, ModelReply, ModelRequest
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.recovery import RETRYABLE
from ledgent.schemas.values import Usage
from tests.simulation.simulated_log import Storage
from tests.simulation.simulated_loop import SimulatedLoop

WORLD: "contextvars.ContextVar[World]" = contextvars.ContextVar("WORLD")
RUN: contextvars.ContextVar[str] = contextvars.ContextVar("RUN")
"""The run that a task works on."""

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
FOREVER_S = 1e6
CODES = tuple(code for code in ErrorCode if code not in (ErrorCode.INTERRUPTED, ErrorCode.UNCERTAIN))


class Moods(NamedTuple):
    """How likely it is of a call."""

    model_fails: float = 0.0
    model_hangs: float = 0.0
    model_breaks: float = 0.0
    tool_fails: float = 0.0
    tool_hangs: float = 0.0


class World:
    """What there is outside the processes: models, tools and how often each did something, for whom."""

    def __init__(self, loop: SimulatedLoop, dice: Random, storage: Storage, moods: Moods) -> None:
        self.loop = loop
        self.dice = dice
        self.storage = storage
        self.moods = moods
        self.effects: Counter[str] = Counter()
        """How often each idempotency key took effect."""
        self.began: Counter[tuple[str, str]] = Counter()
        """How often each call of each run reached the outside."""
        self.wrong: list[str] = []

    def begins(self, run_id: str, call_id: str) -> None:
        """A call comes in: its intent must be in the log, and must not have begun before."""
        self.began[run_id, call_id] += 1
        if self.began[run_id, call_id] > self.storage.started[run_id, call_id]:
            self.wrong.append(f"{run_id}/{call_id} began more often than the log has intents of it")


class ProcessClock:
    """Of one process: it may be wrong, and may jump; how long something took it always knows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew_s = 0.0

    def now(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=round(self._world.loop.now + self.skew_s, 6))

    def monotonic(self) -> float:
        return self._world.loop.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._world.loop.call_later(delay_s, callback)

    def draw(self, least: float, most: float) -> float:
        return self._world.dice.uniform(least, most)


ARGUMENTS = {
    "pay": ('{"amount":1}',) * 5 + ('{"amount":"x"}', "not JSON"),
    "book": ('{"what":"a"}', '{"what":"b"}', "{}"),
    "flaky": ("{}",),
    "refund": ('{"amount":1}',),
    "leave": ("{}",),
    "nobody": ("{}",),
}
ANSWERS = ("done", '{"total": 3}', "", "Thought: hm\nFinal Answer: done", "stop")


class SimulatedModel:
    """Says anything."""

    def __init__(self, stream: bool = False) -> None:
        self._spec = ModelSpec(
            provider="simulated",
            name="dice",
            stream=stream,
            timeout_s=20.0,
            retry=RetryPolicy(attempts=4, first_s=0.5, max_s=8.0),
        )

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def priced(self) -> bool:
        return True

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        world = WORLD.get()
        dice, moods = world.dice, world.moods
        world.begins(RUN.get(), request.call_id)
        names = [dice.choice(sorted(ARGUMENTS)) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        calls = tuple(AskedTool(f"c{n % 2}", name, dice.choice(ARGUMENTS[name])) for n, name in enumerate(names))
        if self._spec.stream and on_call is not None:
            for call in calls:
                await asyncio.sleep(dice.choice((0.0, 0.3, 2.0)))
                on_call(call)
        if dice.random() < moods.model_hangs:
            await asyncio.sleep(FOREVER_S)
        await asyncio.sleep(dice.choice((0.0, 0.3, 2.0)))
        if dice.random() < moods.model_breaks:
            raise RuntimeError("the adapter has a defect")
        if dice.random() < moods.model_fails:
            code = dice.choice(CODES)
            after_s = dice.choice((None, None, 0.1, 12.0))
            raise ModelFailure(
                ErrorInfo(code=code, message=code, retryable=code in RETRYABLE, retry_after_s=after_s),
                Usage(input_tokens=dice.choice((0, 20))),
            )
        return ModelReply(
            dice.choice(ANSWERS) if not names or dice.random() < 0.2 else None,
            calls,
            usage=Usage(input_tokens=dice.randint(1, 80), output_tokens=dice.randint(0, 40)),
            cost_usd=dice.choice((0.0, 0.01, 0.1)),
        )

    async def aclose(self) -> None:
        pass


async def _act(context: ToolContext) -> None:
    """Takes effect, at some moment of a call that may fail or hang before or after it."""
    world = WORLD.get()
    dice, moods = world.dice, world.moods
    world.begins(context.run_id, context.call_id)
    effect_first = dice.random() < 0.5
    if effect_first:
        world.effects[context.idempotency_key] += 1
    if dice.random() < moods.tool_hangs:
        await asyncio.sleep(FOREVER_S)
    await asyncio.sleep(dice.choice((0.0, 0.1, 3.0, 9.0)))
    if dice.random() < moods.tool_fails:
        raise dice.choice((ToolError("no"), ConnectionError("reset"), TimeoutError("late"), asyncio.CancelledError()))
    if not effect_first:
        world.effects[context.idempotency_key] += 1


@tool(timeout_s=15)
async def pay(amount: int, context: ToolContext) -> str:
    await _act(context)
    return f"paid {amount}"


@tool(timeout_s=15, approval=True)
async def refund(amount: int, context: ToolContext) -> str:
    await _act(context)
    return f"refunded {amount}"


@tool(idempotent=True, timeout_s=15)
async def book(what: str, context: ToolContext) -> str:
    await _act(context)
    return f"booked {what}"


@tool(idempotent=True, attempts=3, timeout_s=5)
async def flaky(context: ToolContext) -> str:
    await _act(context)
    return "up"


@tool(idempotent=True, ends_run=True)
async def leave(context: ToolContext) -> str:
    await _act(context)
    return "left"


class Receipt(BaseModel):
    total: int


IDEMPOTENT = frozenset({"book", "flaky", "leave"})
TOOLS = (pay, refund, book, flaky, leave)
BOUNDED = Limits(steps=6)
AGENTS = {
    agent.name: agent
    for agent in (
        Agent("shop", SimulatedModel(), "Sell.", TOOLS, BOUNDED),
        Agent("talk", SimulatedModel(stream=True), "Talk.", TOOLS, BOUNDED, conversational=True),
        Agent("react", SimulatedModel(), "Think.", TOOLS, BOUNDED, policy="react"),
        Agent("typed", SimulatedModel(), "Add.", TOOLS, BOUNDED, output=Receipt),
    )
}
