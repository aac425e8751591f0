"""A worker as a process of its own, on a log whose heart beats faster than usual; its tools write effects to a file.

python -m tests.simulation.working LOG EFFECTS
"""

import asyncio
import os
import sys
from pathlib import Path

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, tool
from ledgent.agent.models.scripted import Turn
from ledgent.agent.worker import Worker
from ledgent.producers.sqlite import SqliteLog

HEARTBEAT_S = 0.2
DEAD_AFTER_S = 1.5
SLOW_S = 0.4


def open_log(path: Path) -> SqliteLog:
    return SqliteLog(path, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S)


def shop(effects: Path) -> Agent:
    """Ten steps of one tool call each, and one with two at once; each effect is a line in the file, on the disk."""

    def take_effect(what: str, context: ToolContext) -> None:
        with effects.open("a") as file:
            file.write(f"{what} {context.idempotency_key} {os.getpid()}\n")
            file.flush()
            os.fsync(file.fileno())

    @tool
    async def pay(amount: int, context: ToolContext) -> str:
        take_effect("pay", context)
        await asyncio.sleep(SLOW_S)
        return f"paid {amount}"

    @tool(idempotent=True)
    def book(what: str, context: ToolContext) -> str:
        take_effect("book", context)
        return f"booked {what}"

    turns: list[Turn] = [
        Call("pay", amount=1),
        [Call("book", what="a"), Call("pay", amount=2)],
        Call("book", what="b"),
        "done",
    ]
    return Agent("shop", ScriptedModel(turns), tools=[pay, book])


async def main(path: str, effects: str) -> None:
    log = open_log(Path(path))
    print("working", flush=True)
    await Worker(log, {"shop": shop(Path(effects))}).work()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
