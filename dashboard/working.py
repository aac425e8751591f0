"""A worker in this process, until a signal: in good order. Knows no store and prints nothing."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Iterable, Mapping

from ledgent.agent import Agent
from ledgent.agent.worker import DRAIN_S, Worker
from ledgent.agent.writing import OnRecord
from ledgent.schemas.ports import Log

CONCURRENCY = 64
"""Runs at once, unless it is said otherwise."""


def work(
    log: Log,
    agents: Mapping[str, Agent],
    concurrency: int,
    until_idle: bool,
    on_record: OnRecord,
    drain_s: float = DRAIN_S,
) -> signal.Signals | None:
    """Works on runs until a signal, which is returned; with `until_idle` until none is open."""

    async def until_told() -> signal.Signals | None:
        stop = asyncio.Event()
        return await until_signal(working(log, agents, concurrency, until_idle, on_record, stop, drain_s), stop)

    return asyncio.run(until_told())


async def working(
    log: Log,
    agents: Mapping[str, Agent],
    concurrency: int,
    until_idle: bool,
    on_record: OnRecord,
    stop: asyncio.Event,
    drain_s: float = DRAIN_S,
) -> None:
    """Works on runs until told to stop, or until none is open; then each run is handed over, as `Worker.work` does it,
    and the models are closed."""
    try:
        worker = Worker(log, agents, concurrency=concurrency, on_record=on_record)
        await worker.work(until_idle=until_idle, stop=stop, drain_s=drain_s)
    finally:
        for agent in agents.values():
            for model in agent.live_models:
                await model.aclose()


async def until_signal(doing: Awaitable[None], stop: asyncio.Event | None = None) -> signal.Signals | None:
    """Awaits it; at SIGINT or SIGTERM sets `stop` and awaits its end, or else cancels it; the signal.

    A second signal is not held back.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(doing)
    received: list[signal.Signals] = []

    def receive(number: signal.Signals) -> None:
        received.append(number)
        for handled in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(handled)
        if stop is not None:
            stop.set()
        else:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, receive, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
    return received[0] if received else None


def key_warning(agents: Iterable[Agent]) -> str | None:
    """What to say where agents will need an API key that is not there."""
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return None
    specs = [(agent.name, model.spec) for agent in agents for model in agent.live_models]
    needing = dict.fromkeys(name for name, model in specs if model.provider == "openai" and model.base_url is None)
    if not needing:
        return None
    return (
        f"OPENAI_API_KEY is not set: calls of {', '.join(needing)} will fail, unless the model was given a key; "
        "set it with `export OPENAI_API_KEY=...`"
    )
