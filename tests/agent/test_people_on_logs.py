"""Questions, checkpoints and restored runs on the logs that programs share: one process asks, others go on."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, ask_user, tool
from ledgent.agent.fork import shared_at
from ledgent.agent.worker import Worker
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of
from ledgent.producers.opening import open_log
from ledgent.producers.submit import answer_question, save_checkpoint, start_run
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.state import Status
from tests.agent.recorded import check_run, state_of

PATIENCE_S = 60.0
WHERE = Call("ask_user", question="Where to?", choices=["Rome", "Oslo"])


@tool
async def book(city: str, context: ToolContext) -> str:
    """Books."""
    context.checkpoint("booked")
    return f"booked {city}"


AGENT = Agent(
    "asker", ScriptedModel([WHERE, [Call("book", city="Oslo"), WHERE], "Bon voyage."]), tools=[ask_user, book]
)


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.05)


async def asked_here_and_gone_on_with_there(url: str) -> None:
    log = open_log(url)
    try:
        run_id = (await AGENT.run("go", log=log)).run_id
        assert (await AGENT.answer(run_id, "Rome", log=log)).waits_for == "answer"
    finally:
        log.close()
    log = open_log(url)
    working = asyncio.create_task(Worker(log, {AGENT.name: AGENT}).work())
    try:
        await gone_on_with(log, run_id)
    finally:
        working.cancel()
        await asyncio.wait([working])
        log.close()


async def gone_on_with(log: Log, run_id: str) -> None:
    await save_checkpoint(log, run_id, "asked-again")
    await eventually(lambda: "asked-again" in state_of(log, run_id).checkpoints)
    await eventually(lambda: state_of(log, run_id).suspended == "answer")
    await answer_question(log, run_id, "m2.t1", "Oslo", by="Ada")
    await eventually(lambda: state_of(log, run_id).status is Status.COMPLETED)
    restored = await start_run(log, AGENT.name, None, forked_from=shared_at(log, run_id, "booked").forked_from)
    await eventually(lambda: state_of(log, restored).status is Status.COMPLETED)
    assert list(state_of(log, restored).messages) == list(state_of(log, run_id).messages)
    here = await AGENT.restore(run_id, at="asked-again", log=log)
    assert here.output == "Bon voyage."
    for each in (run_id, restored, here.run_id):
        check_run(log, each)


async def test_on_sqlite(tmp_path: Path) -> None:
    await asked_here_and_gone_on_with_there(f"sqlite:///{tmp_path}/log.db")


async def test_on_kafka(kafka: str) -> None:
    url = f"kafka://{kafka}/people-{uuid4().hex[:8]}"
    create(address_of(url), KafkaSettings(partitions=4))
    await asked_here_and_gone_on_with_there(url)
