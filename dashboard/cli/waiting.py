"""What commands wait for with a progress bar: a store that catches up with the log. Decides nothing."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ledgent.dashboard.cli.output import progress
from ledgent.dashboard.compose import caught_up_store
from ledgent.dashboard.logs import log_to_read, settings_for
from ledgent.processors.store import Store
from ledgent.schemas.ports import Log

if TYPE_CHECKING:
    from rich.progress import Progress

SHOWN_FROM = 5_000
"""Records: fewer are done before a bar could be read."""


@contextlib.contextmanager
def store_to_ask(log_url: str | None, store_url: str | None) -> Iterator[tuple[Log, Store]]:
    """The log, and the store with all that it holds by now."""
    settings = settings_for(log_url, store_url)
    with (
        log_to_read(settings.log) as log,
        records_progress("Storing what the log holds") as told,
        caught_up_store(settings, log, told) as store,
    ):
        yield log, store


@contextlib.contextmanager
def records_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to be told how many records are done, and of how many; shown where there are many."""
    with contextlib.ExitStack() as shown:
        bar: Progress | None = None

        def tell(done: int, total: int) -> None:
            nonlocal bar
            if bar is None and total >= SHOWN_FROM:
                bar = shown.enter_context(progress(what))
                bar.add_task(what, total=total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done, total=total)
            if done >= total:
                shown.close()

        yield tell
