"""A process dies at each append boundary of a run, before or after the commit, once or twice; another goes on."""

import asyncio
import random
from collections import Counter

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Reply, RetryPolicy, ScriptedModel, ToolContext, ToolError, tool
from ledgent.producers.memory import MemoryLog, MemoryStorage
from ledgent.producers.submit import cancel_run, end_conversation, send_message, start_run
from ledgent.schemas.codec import decode
from ledgent.schemas.events import ModelCallFailed, ModelCallStarted
from ledgent.schemas.state import RunState, Status, ToolResult
from tests.simulation.clock import SimulatedClock
from tests.simulation.crashing import CrashingLog, check, work, work_through_crashes

IDEMPOTENT = frozenset({"book", "flaky"})


def seeds(few: int, slow: int) -> list[object]:
    """A few for every check, many more for the slow tests; a seed that fails is in the test's name."""
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, slow))]


class Shop:
    """Tools with effects that are counted by key, and the agent that uses them; the world outlives every process."""

    def __init__(self, conversational: bool = False) -> None:
        self.effects: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.conversational = conversational

    def agent(self) -> Agent:
        """The agent as each new process makes it."""

        @tool
        async def pay(amount: int, context: ToolContext) -> str:
            self.effects[context.idempotency_key] += 1
            await asyncio.sleep(0)
            return f"paid {amount}"

        @tool(idempotent=True)
        async def book(what: str, context: ToolContext) -> str:
            self.effects[context.idempotency_key] += 1
            await asyncio.sleep(0)
            return f"booked {what}"

        @tool(idempotent=True, attempts=3)
        async def flaky(context: ToolContext) -> str:
            self.attempts[context.idempotency_key] += 1
            if self.attempts[context.idempotency_key] == 1:
                raise ConnectionError("reset")
            return "up"

        @tool
        async def refuse() -> str:
            raise ToolError("no")

        model = ScriptedModel(
            [
                Attempts(Fail("rate_limited", retry_after_s=0.5), Reply(None, [Call("pay", amount=1)])),
                [Call("book", what="a"), Call("pay", amount=2), Call("flaky"), Call("refuse"), Call("nobody")],
                "done",
                "thank you",
            ],
            retry=RetryPolicy(attempts=6),
        )
        return Agent("shop", model, "Sell.", [pay, book, flaky, refuse], conversational=self.conversational)


async def start(storage: MemoryStorage) -> str:
    asking = MemoryLog(storage)
    run_id = await start_run(asking, "shop", "two of these")
    asking.close()
    return run_id


def run_with(crashes: list[tuple[int, bool]]) -> tuple[RunState, Shop, list[CrashingLog], MemoryStorage]:
    """A run through these crashes, checked."""
    storage, shop = MemoryStorage(), Shop()

    async def play() -> tuple[str, list[CrashingLog]]:
        run_id = await start(storage)
        return run_id, await work_through_crashes(storage, shop.agent, crashes)

    run_id, logs = asyncio.run(play())
    return check(storage, run_id, shop.effects, IDEMPOTENT), shop, logs, storage


FIRST = run_with([])
UNDISTURBED, APPENDS = FIRST[0], FIRST[2][0].appends


def test_the_undisturbed_run_does_everything_once() -> None:
    assert UNDISTURBED.output == "done"
    assert APPENDS >= 9


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, APPENDS + 1))
def test_a_death_at_any_append_ends_in_the_same_answer(at: int, committed: bool) -> None:
    state, shop, logs, storage = run_with([(at, committed)])
    assert logs[0].dead
    assert (state.status, state.output) == (Status.COMPLETED, "done")
    assert state.spent.steps == UNDISTURBED.spent.steps
    told = [message.text for message in state.messages if isinstance(message, ToolResult)]
    undisturbed = [message.text for message in UNDISTURBED.messages if isinstance(message, ToolResult)]
    assert len(told) == len(undisturbed)
    for text, other in zip(told, undisturbed, strict=True):
        assert text == other or "unknown" in text  # only an effect that may have happened is told otherwise
    assert sum("unknown" in text for text in told) <= 2  # the two that run at once and are not idempotent
    records = [decode(stored).event for stored in storage.records]
    repeated = sum(isinstance(event, ModelCallFailed) and event.error.code == "interrupted" for event in records)
    assert repeated <= 1
    asked = Counter(event.call_id for event in records if isinstance(event, ModelCallStarted))
    assert sum(asked.values()) <= 4 + repeated
    assert sum(shop.effects.values()) <= 4


@pytest.mark.parametrize("seed", seeds(25, slow=150))
def test_two_or_three_deaths_in_a_row_end_in_the_same_answer(seed: int) -> None:
    dice = random.Random(seed)
    crashes = [(dice.randint(1, APPENDS), dice.random() < 0.5) for _ in range(dice.randint(2, 3))]
    state, _, _, _ = run_with(crashes)
    assert (state.status, state.output) == (Status.COMPLETED, "done"), f"{crashes=}"


@pytest.mark.parametrize("seed", seeds(15, slow=80))
def test_a_conversation_survives_deaths_messages_and_a_cancel(seed: int) -> None:
    dice = random.Random(seed)
    storage, shop = MemoryStorage(), Shop(conversational=True)

    async def play() -> str:
        run_id, clock = await start(storage), SimulatedClock(seed)
        asking = MemoryLog(storage)
        await work(CrashingLog(storage, dice.randint(1, APPENDS), dice.random() < 0.5), shop.agent(), clock)
        for _ in range(2):
            if storage.guards.get(run_id) and not storage.guards[run_id].ended:
                await send_message(asking, run_id, "and more")
            await work(CrashingLog(storage, dice.randint(1, 4), dice.random() < 0.5), shop.agent(), clock)
        await work(CrashingLog(storage, 0, False), shop.agent(), clock)
        if not storage.guards[run_id].ended:
            await (cancel_run(asking, run_id) if dice.random() < 0.5 else end_conversation(asking, run_id))
        await work(CrashingLog(storage, dice.randint(1, 2), dice.random() < 0.5), shop.agent(), clock)
        await work(CrashingLog(storage, 0, False), shop.agent(), clock)
        return run_id

    run_id = asyncio.run(play())
    state = check(storage, run_id, shop.effects, IDEMPOTENT)
    assert state.status in (Status.COMPLETED, Status.CANCELLED, Status.FAILED)


@pytest.mark.parametrize("seed", seeds(6, slow=40))
def test_several_runs_at_once_survive_the_death_of_their_process(seed: int) -> None:
    dice = random.Random(seed)
    storage, shop = MemoryStorage(), Shop()

    async def play() -> list[str]:
        run_ids = [await start(storage) for _ in range(4)]
        crashes = [(dice.randint(1, APPENDS * 4), dice.random() < 0.5) for _ in range(2)]
        await work_through_crashes(storage, shop.agent, crashes)
        return run_ids

    for run_id in asyncio.run(play()):
        assert check(storage, run_id, shop.effects, IDEMPOTENT).output == "done"


@pytest.mark.parametrize("seed", seeds(10, slow=80))
def test_a_paused_process_that_wakes_up_again_changes_nothing(seed: int) -> None:
    """A zombie: it is held dead while it works on, its run is taken over, and both go on at once."""
    dice = random.Random(seed)
    storage, shop = MemoryStorage(), Shop()

    async def play() -> str:
        run_id, clock = await start(storage), SimulatedClock(seed)
        zombie = MemoryLog(storage)
        working = asyncio.create_task(work(zombie, shop.agent(), clock))
        steps = dice.randint(1, 40)
        for _ in range(steps):
            await asyncio.sleep(0)
        zombie.close()
        await work(MemoryLog(storage), shop.agent(), clock)
        await working
        await work(MemoryLog(storage), shop.agent(), clock)
        return run_id

    run_id = asyncio.run(play())
    state = check(storage, run_id, Counter(), IDEMPOTENT)
    assert state.output == "done"
