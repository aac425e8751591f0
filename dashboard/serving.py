"""What `ledgent up`, `ledgent sink` and `ledgent dashboard` hold, until a signal or a failure. Prints nothing."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ledgent.agent import Agent
from ledgent.agent.worker import DRAIN_S
from ledgent.agent.writing import OnRecord
from ledgent.dashboard.compose import StoreFollower
from ledgent.dashboard.logs import opened_log
from ledgent.dashboard.web_process import WebProcess, check_port
from ledgent.dashboard.working import CONCURRENCY, until_signal, working
from ledgent.processors.store import Store, open_store
from ledgent.processors.store_url import directory_of
from ledgent.schemas.errors import LedgentError, StoreUnavailable
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import Settings


class Plan(NamedTuple):
    """What one process is to do."""

    settings: Settings
    agents: Mapping[str, Agent]
    """Whose runs it works on; none: it runs no worker."""
    port: int
    """Of the pages."""
    may_share: bool = False
    """Whether it is content with a store that another process owns and keeps up with the log."""
    everywhere: bool = False
    """Whether the pages are served to other machines too, as from a container that publishes them on loopback only."""
    drain_s: float = DRAIN_S
    """When told to stop: how long calls under way may still take."""


class Serving(NamedTuple):
    """What is up."""

    address: str
    follows: bool
    """Whether this process keeps the store up with the log; else another one does."""


def serve(plan: Plan, on_ready: Callable[[Serving], None], on_record: OnRecord) -> signal.Signals:
    """Follows the log into the store, serves the pages and works on runs; the signal that ended it.

    When it returns, all of it has stopped and this process's runs are handed over. Raises LedgentError for whatever
    did not start, or failed.
    """
    check_port(plan.port)
    with (
        opened_log(plan.settings.log) as log,
        _store_of(plan) as (store, follows),
    ):
        return asyncio.run(_serve(plan, log, store if follows else None, on_ready, on_record))


def fill_until_signal(settings: Settings, log: Log, on_ready: Callable[[], None]) -> signal.Signals:
    """Follows the log into the store and nothing else; the signal that ended it. Raises LedgentError."""
    owned = directory_of(settings.store) is not None
    with open_store(settings.store, stay=owned) as store:
        return asyncio.run(_fill(log, store, on_ready))


async def _fill(log: Log, store: Store, on_ready: Callable[[], None]) -> signal.Signals:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    follower = StoreFollower(log, store, _failing(failed))
    follower.start()
    try:
        on_ready()
        received = await until_signal(failed)
    finally:
        await asyncio.to_thread(follower.stop)
        _be_quiet(failed)
    assert received is not None, "only a signal ends it without an error"
    return received


@contextlib.contextmanager
def _store_of(plan: Plan) -> Iterator[tuple[Store, bool]]:
    """The store, and whether this process is the one to follow the log into it."""
    owned = directory_of(plan.settings.store) is not None
    try:
        store, follows = open_store(plan.settings.store, stay=owned), True
    except StoreUnavailable:
        if not plan.may_share:
            raise
        store, follows = open_store(plan.settings.store), False
    with store:
        yield store, follows


async def _serve(
    plan: Plan,
    log: Log,
    store: Store | None,
    on_ready: Callable[[Serving], None],
    on_record: OnRecord,
) -> signal.Signals:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    follower = StoreFollower(log, store, _failing(failed)) if store else None
    if follower:
        follower.start()
    try:
        web = await WebProcess.start(plan.settings, plan.port, everywhere=plan.everywhere)
        try:
            stop = asyncio.Event()
            everything = _everything(plan, log, web, failed, follower is not None, on_ready, on_record, stop)
            received = await until_signal(everything, stop)
        finally:
            await web.stop()
    finally:
        if follower:
            await asyncio.to_thread(follower.stop)
        _be_quiet(failed)
    assert received is not None, "only a signal ends it without an error"
    return received


def _failing(failed: asyncio.Future[None]) -> Callable[[LedgentError], None]:
    """What a thread calls to have the future fail."""
    loop = asyncio.get_running_loop()

    def fail(error: LedgentError) -> None:
        if not failed.done():
            failed.set_exception(error)

    def on_failure(error: LedgentError) -> None:
        loop.call_soon_threadsafe(fail, error)

    return on_failure


def _be_quiet(failed: asyncio.Future[None]) -> None:
    """The error has been raised, or comes too late to matter."""
    if failed.done() and not failed.cancelled():
        failed.exception()


async def _everything(
    plan: Plan,
    log: Log,
    web: WebProcess,
    failed: asyncio.Future[None],
    follows: bool,
    on_ready: Callable[[Serving], None],
    on_record: OnRecord,
    stop: asyncio.Event,
) -> None:
    """Returns once it is told to stop and the worker's runs are handed over; raises when a part of it fails."""

    async def pages() -> None:
        await web.ready()
        on_ready(Serving(web.address, follows))
        await web.wait()

    async def store() -> None:
        await asyncio.shield(failed)

    try:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(pages()), group.create_task(store())]
            if plan.agents:
                await working(log, plan.agents, CONCURRENCY, False, on_record, stop, plan.drain_s)
            else:
                await stop.wait()
            for task in others:
                task.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
