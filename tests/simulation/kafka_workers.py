"""A worker on Kafka as a process of its own, until a signal; its tools write a line to a file for each effect.

python -m tests.simulation.kafka_workers URL EFFECTS JSON, the last one with the fields of `Plan`.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, tool
from ledgent.agent.models.scripted import Turn
from ledgent.dashboard.working import work
from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.sending import Message
from ledgent.producers.kafka.wire import Address, address_of
from ledgent.schemas.codec import Envelope, Recorded, Stored
from ledgent.schemas.settings import KafkaSettings

CALLS = 5
"""Of tools, in each run."""
ANSWER = "done"


class Plan(NamedTuple):
    """How a worker process behaves."""

    concurrency: int = 64
    model_s: float = 0.2
    tool_s: float = 0.2
    """At least; up to three times as long, by run, so that runs are not all at the same call."""
    stop_at: int = 0
    """Before it sends its record of this number, the process stops itself (SIGSTOP); 0: never."""
    timing: tuple[float, ...] = ()
    """The fields of a `Timing`; empty: the real one."""


class StoppingLog(KafkaLog):
    """Stops its process when a record has been admitted and is about to be sent."""

    def __init__(self, address: Address, plan: Plan) -> None:
        super().__init__(address, KafkaSettings(), timing=Timing(*plan.timing))
        self._left = plan.stop_at

    def _message(self, partition: int, envelope: Envelope, stored: Stored) -> Message:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super()._message(partition, envelope, stored)


def errands(effects: Path, plan: Plan) -> Agent:
    """Five steps with five tool calls, two of them at once; three of them may happen only once."""

    def take_effect(what: str, context: ToolContext) -> None:
        with effects.open("a") as file:  # a line is one write, so that those of several processes do not mix
            file.write(f"{what} {context.idempotency_key} {os.getpid()}\n")

    async def take_time(context: ToolContext) -> None:
        await asyncio.sleep(plan.tool_s * (1 + crc32(context.run_id.encode()) % 100 / 50))

    @tool
    async def pay(amount: int, context: ToolContext) -> str:
        take_effect("pay", context)
        await take_time(context)
        return f"paid {amount}"

    @tool(idempotent=True)
    async def book(what: str, context: ToolContext) -> str:
        take_effect("book", context)
        await take_time(context)
        return f"booked {what}"

    turns: list[Turn] = [
        Call("pay", amount=1),
        Call("book", what="a"),
        [Call("book", what="b"), Call("pay", amount=2)],
        Call("pay", amount=3),
        ANSWER,
    ]
    return Agent("errands", ScriptedModel(turns, delay_s=plan.model_s), tools=[pay, book])


def nothing(record: Recorded) -> None:
    """Shows nothing of a record."""


def main(url: str, effects: str, plan_json: str) -> None:
    plan = Plan(**json.loads(plan_json))
    log = StoppingLog(address_of(url), plan)
    print(log.writer, flush=True)
    work(log, {"errands": errands(Path(effects), plan)}, plan.concurrency, False, nothing)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
