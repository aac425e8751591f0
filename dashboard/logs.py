"""URLs to a log, and which of its runs is meant. Knows no store: what only reads the log shall not wait for one."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.ports import History, Log
from ledgent.schemas.settings import Settings

NOBODY_YET = (
    "no worker has taken it up; one is started by `ledgent up --agents MODULES` or `ledgent worker --agents MODULES`"
)
_ABBREVIATIONS_SHOWN = 4


def settings_for(log: str | None = None, store: str | None = None, agents: str | None = None) -> Settings:
    """The environment's settings, overridden by what is given."""
    given = {"log": log, "store": store, "agents": agents}
    return Settings().model_copy(update={name: value for name, value in given.items() if value})


@contextlib.contextmanager
def opened_log(url: str) -> Iterator[Log]:
    """The log at the URL, made if there is none, and closed at the end. Raises as `open_log`."""
    log = open_log(url)
    try:
        yield log
    finally:
        log.close()


@contextlib.contextmanager
def log_to_read(url: str) -> Iterator[Log]:
    """As `opened_log`, but looking makes nothing: where there is no log yet, it is an empty one."""
    if log_is_there(url):
        with opened_log(url) as log:
            yield log
    else:
        yield MemoryLog()


def log_is_there(url: str) -> bool:
    """Whether a log has been made at the URL; true where only opening it can tell."""
    file = sqlite_file(url)
    return file is None or file.exists()


def sqlite_file(url: str) -> Path | None:
    """The file of a `sqlite:` URL; None for another."""
    path = url.removeprefix("sqlite://")
    return Path(path.removeprefix("/")) if path != url and path.strip("/") else None


def find_run(history: History, given: str) -> str:
    """The id of the run that is meant by an id, or by the beginning or end of one.

    Raises UnknownRun, and UsageError where it fits several.
    """
    if history.head(given) is not None:
        return given
    runs = list(history.run_ids())
    if given in runs:
        return given
    fitting = [run_id for run_id in runs if given and (run_id.endswith(given) or run_id.startswith(given))]
    if not fitting:
        raise UnknownRun(given)
    if len(fitting) > 1:
        shown = ", ".join(fitting[:_ABBREVIATIONS_SHOWN]) + (" ..." if len(fitting) > _ABBREVIATIONS_SHOWN else "")
        raise UsageError(f"{given!r} may be any of {len(fitting)} runs: {shown}; give more of the id")
    return fitting[0]


def find_recorded_run(history: History, given: str) -> str:
    """As `find_run`, for what needs records. Raises UsageError for a run that nobody has taken up yet."""
    run_id = find_run(history, given)
    if history.head(run_id) is None:
        raise UsageError(f"run {run_id} is queued: {NOBODY_YET}")
    return run_id


def first_id_at(at: datetime) -> str:
    """What is not above the id of any run that was begun then or later: an id begins with its time."""
    digits = f"{max(int(at.timestamp() * 1000), 0):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def without_password(url: str) -> str:
    """The URL as people may see it."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
