"""The demo's runs: what each is to show, and how it is brought about. Prints nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ledgent.agent import Agent, Faults, RunResult
from ledgent.agent.writing import OnRecord
from ledgent.dashboard.demo import agents
from ledgent.producers.submit import cancel_run
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import LedgentError
from ledgent.schemas.ports import Log
from ledgent.schemas.state import Status

CANCELLED_AFTER_S = 1.5
CUSTOMER = ("Hello!", "Do you have touring saddles?", "Then I take one, thank you.")


class Shown(NamedTuple):
    """A run of the demo."""

    agent: Agent
    what: str
    """What it shows."""
    input: str
    ends: Status
    """How it must end."""


RUNS = (
    Shown(agents.refunds, "several tools in turn", "My light from order A-1004 flickers.", Status.COMPLETED),
    Shown(agents.restock, "tools in parallel", "Is anything running out?", Status.COMPLETED),
    Shown(agents.shipping, "a 429, retried", "Send A-1008 off.", Status.COMPLETED),
    Shown(agents.tracking, "a tool error, mended", "Where is my order A-1031?", Status.COMPLETED),
    Shown(agents.counter, "a conversation", CUSTOMER[0], Status.COMPLETED),
    Shown(agents.bargains, "a limit of 4 steps", "Who sells brass bells for less?", Status.LIMITED),
    Shown(agents.newsletter, "a refused API key", "Write about spring.", Status.FAILED),
    Shown(agents.stocktaking, "cancelled half-way", "Count shelves A1 and B2.", Status.CANCELLED),
)

OnShownRecord = Callable[[Shown, Recorded], None]


async def play(log: Log, on_record: OnShownRecord, faults: Faults | None = None) -> list[RunResult]:
    """Runs them all at once; their results in the order of RUNS. Raises LedgentError if one ends as it must not.

    With faults, each may end as it can.
    """
    runs = RUNS if faults is None else tuple(shown._replace(agent=faults.agent(shown.agent)) for shown in RUNS)
    tasks = [asyncio.ensure_future(_played(log, shown, on_record)) for shown in runs]
    # Each to its end, whatever became of the others: one whose error nobody takes would speak up by itself.
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    results = [task.result() for task in tasks]
    for shown, result in zip(RUNS, results, strict=True):
        if faults is None and result.status is not shown.ends:
            raise LedgentError(
                f"the demo's run {result.run_id} of {shown.agent.name} ended as {result.status}, not as {shown.ends}"
            )
    return results


def _played(log: Log, shown: Shown, on_record: OnShownRecord) -> Awaitable[RunResult]:
    def tell(record: Recorded) -> None:
        on_record(shown, record)

    if shown.agent.conversational:
        return _conversation(log, shown, tell)
    if shown.ends is Status.CANCELLED:
        return _cancelled(log, shown, tell)
    return shown.agent.run(shown.input, log=log, on_record=tell, labels=_labels(shown))


async def _conversation(log: Log, shown: Shown, tell: OnRecord) -> RunResult:
    chat = shown.agent.conversation(log=log, on_record=tell, session="demo-counter", labels=_labels(shown))
    for message in CUSTOMER:
        said = await chat.send(message)
        if said.status is not Status.SUSPENDED:
            return said  # on a bad day the shop closes before the customer has said all
        await asyncio.sleep(0.2)  # the customer thinks
    return await chat.end()


async def _cancelled(log: Log, shown: Shown, tell: OnRecord) -> RunResult:
    """Cancelled as it would be from another process: by a request in the log."""
    begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def also_tell(record: Recorded) -> None:
        if not begun.done():
            begun.set_result(record.run_id)
        tell(record)

    async def cancel() -> None:
        run_id = await begun
        await asyncio.sleep(CANCELLED_AFTER_S)
        await cancel_run(log, run_id, "the shop is closing")

    cancelling = asyncio.ensure_future(cancel())
    try:
        return await shown.agent.run(shown.input, log=log, on_record=also_tell, labels=_labels(shown))
    finally:
        cancelling.cancel()
        await asyncio.wait([cancelling])
        if not cancelling.cancelled():
            cancelling.exception()  # the run has ended by itself: it tells more


def _labels(shown: Shown) -> dict[str, str]:
    return {"demo": shown.what}
