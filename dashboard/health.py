"""Whether what ledgent needs is there and works, and what mends it. Looks only: makes no file, changes none."""

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from ledgent.dashboard.compose import behind, sinks_at_work
from ledgent.dashboard.logs import log_is_there, opened_log, sqlite_file
from ledgent.dashboard.web_process import HOST, check_port
from ledgent.processors.clickhouse.lock import OwnerLock
from ledgent.processors.clickhouse.schema import are_made
from ledgent.processors.store import Store, open_store
from ledgent.processors.store_url import directory_of
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.schemas.errors import LedgentError, Unreachable, UsageError
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import KafkaSettings, Settings

OLDEST_PYTHON = (3, 11)
LITTLE_SPACE_BYTES = 1 << 30
NO_SPACE_BYTES = 16 << 20


class Verdict(StrEnum):
    """What is to be thought of it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One thing looked at."""

    subject: str
    verdict: Verdict
    what: str
    mend: str = ""
    """The command or step that mends it."""
    unreachable: bool = False
    """Whether it failed because a component does not answer."""


def examine(settings: Settings, port: int) -> Iterator[Finding]:
    """One finding after the other, each as soon as it is known."""
    yield _python()
    well = True
    for finding in _kafka(settings) if settings.log.startswith("kafka://") else _log(settings):
        well = well and finding.verdict is not Verdict.FAIL
        yield finding
    yield from _store(settings, compare=well and log_is_there(settings.log))
    yield _blobs(settings)
    yield _key()
    yield _port(port)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", Verdict.FAIL, f"{version} is too old", "install Python 3.11 or later")
    return Finding("python", Verdict.OK, version)


def _log(settings: Settings) -> Iterator[Finding]:
    url = settings.log
    file = sqlite_file(url)
    if not log_is_there(url):
        yield Finding("log", Verdict.WARN, f"there is none at {url} yet", "`ledgent demo` makes one")
    else:
        try:
            with opened_log(url) as log:
                records = _records_in(log)
            yield Finding("log", Verdict.OK, f"{url} opens; {records:,} records")
        except LedgentError as error:
            yield _failure("log", error)
            return
    if file is None:
        yield Finding("log", Verdict.WARN, f"{url} outlives no process", "set LEDGENT_LOG=sqlite:///path/to/log.db")
        return
    if file.exists():
        yield _journal(file)
    yield _writable(file)
    yield _space(file)


def _kafka(settings: Settings) -> Iterator[Finding]:
    try:
        usable = True
        for finding in _topics(settings.log):
            usable = usable and finding.verdict is not Verdict.FAIL
            yield finding
        if not usable:
            return
        with opened_log(settings.log) as log:
            yield Finding("log", Verdict.OK, f"{log.url} opens; {_records_in(log):,} records")
    except LedgentError as error:
        yield _failure("log", error)


def _topics(url: str) -> Iterator[Finding]:
    # The client takes long to import, for those who have no Kafka.
    from ledgent.producers.kafka.topics import check
    from ledgent.producers.kafka.wire import address_of

    flaws = check(address_of(url), KafkaSettings())
    missing = [flaw for flaw in flaws if flaw.missing]
    if missing:
        names = ", ".join(flaw.topic for flaw in missing)
        yield Finding("topics", Verdict.FAIL, f"missing: {names}", missing[0].mend)
    for flaw in flaws:
        if flaw not in missing:
            verdict = Verdict.FAIL if flaw.serious else Verdict.WARN
            yield Finding("topics", verdict, f"{flaw.topic} {flaw.what}", flaw.mend)
    if not flaws:
        yield Finding("topics", Verdict.OK, "all there, each with its partitions, copies and retention")


def _journal(file: Path) -> Finding:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
    finally:
        connection.close()
    if mode != "wal":
        mend = f"move {file} to a local disk: network file systems cannot hold a write-ahead log"
        return Finding("log", Verdict.FAIL, f"its journal is {mode!r}, not a write-ahead log", mend)
    return Finding("log", Verdict.OK, "write-ahead log, synced at each commit")


def _writable(file: Path) -> Finding:
    place = file if file.exists() else _nearest(file.parent)
    if os.access(place, os.W_OK) and os.access(_nearest(file.parent), os.W_OK):
        return Finding("log", Verdict.OK, "writable")
    return Finding(
        "log", Verdict.FAIL, f"{place} is not writable", f"`chmod u+w {place}`, or name another log with LEDGENT_LOG"
    )


def _space(file: Path) -> Finding:
    free = shutil.disk_usage(_nearest(file.parent)).free
    shown = f"{free / (1 << 30):,.1f} GiB free on its disk"
    if free < NO_SPACE_BYTES:
        return Finding("disk", Verdict.FAIL, shown, "free some space: nothing can be recorded")
    if free < LITTLE_SPACE_BYTES:
        return Finding("disk", Verdict.WARN, shown, "free some space before the log is full")
    return Finding("disk", Verdict.OK, shown)


def _store(settings: Settings, *, compare: bool) -> Iterator[Finding]:
    """`compare`: with the log."""
    try:
        directory = directory_of(settings.store)
        if directory is not None and not directory.exists():
            yield Finding("store", Verdict.WARN, f"there is none at {settings.store} yet", "`ledgent up` makes one")
            return
        with open_store(settings.store) as store:
            yield Finding("store", Verdict.OK, f"{store.url} answers; {_owner(store, directory)}")
            made = are_made(store)
            if not made:
                yield Finding("store", Verdict.WARN, "it has no tables yet", f"{_filler(directory)} makes them")
            if compare:
                with opened_log(settings.log) as log:
                    yield _lag(log, store, made, directory)
    except LedgentError as error:
        yield _failure("store", error)


def _filler(directory: Path | None) -> str:
    return "`ledgent sink`" if directory is None else "`ledgent up`"


def _records_in(log: Log) -> int:
    return sum(end + 1 for end in log.ends().values())


def _owner(store: Store, directory: Path | None) -> str:
    if directory is None:
        return "a ClickHouse server"
    if store.owner is not None:
        return "no process owns it just now"
    address = OwnerLock(directory).address()
    return f"process {address.pid} owns it" if address else "another process owned it a moment ago"


def _lag(log: Log, store: Store, made: bool, directory: Path | None) -> Finding:
    missing = behind(log, store) if made else _records_in(log)
    if missing == 0:
        return Finding("store", Verdict.OK, "holds all that the log holds")
    what = f"{missing:,} records behind the log"
    if directory is not None:
        return Finding("store", Verdict.WARN, what, "`ledgent up` catches up, as any command that asks the store does")
    if sinks := sinks_at_work(log.url, store):
        return Finding("store", Verdict.WARN, what, f"{sinks} at work on it: look at the output of `ledgent sink`")
    return Finding("store", Verdict.WARN, what, "`ledgent sink` catches up")


def _blobs(settings: Settings) -> Finding:
    mend = "set LEDGENT_BLOBS to a directory that all processes of this log share"
    try:
        directory = DirectoryBlobs(settings.blobs).directory
    except UsageError as error:
        return Finding("files", Verdict.WARN, str(error).partition("; ")[0], mend)
    place = _nearest(directory)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        # Runs without files need none, and a sink never does.
        return Finding("files", Verdict.WARN, f"{place} is no directory that can be written", mend)
    if not directory.exists():
        said = f"there are none in {directory} yet"
        if settings.log.startswith("kafka://"):
            return Finding("files", Verdict.WARN, said, mend)
        return Finding("files", Verdict.OK, f"{said}; it is made when it is needed")
    return Finding("files", Verdict.OK, f"{directory} is writable")


def _key() -> Finding:
    if os.environ.get("OPENAI_API_KEY"):
        return Finding("api key", Verdict.OK, "OPENAI_API_KEY is set")
    if os.environ.get("OPENAI_BASE_URL"):
        return Finding("api key", Verdict.OK, "OPENAI_API_KEY is not set; OPENAI_BASE_URL names a server of your own")
    mend = "`export OPENAI_API_KEY=...`; scripted models and servers of your own need none"
    return Finding("api key", Verdict.WARN, "OPENAI_API_KEY is not set", mend)


def _port(port: int) -> Finding:
    try:
        check_port(port)
    except UsageError:
        if _is_dashboard(port):
            return Finding("port", Verdict.OK, f"a dashboard is served at http://{HOST}:{port}")
        mend = "stop what it is, or choose another port with --port"
        return Finding("port", Verdict.WARN, f"something that is no dashboard listens on {HOST}:{port}", mend)
    return Finding("port", Verdict.OK, f"{HOST}:{port} is free for the dashboard")


def _is_dashboard(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _failure(subject: str, error: LedgentError) -> Finding:
    what, _, mend = str(error).partition("; ")
    return Finding(subject, Verdict.FAIL, what, mend, isinstance(error, Unreachable))


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
