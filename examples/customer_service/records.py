"""A trade's records: start files, and one small file per run with what it changed. No rules of a trade here."""

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ledgent.agent import ToolError

Record = dict[str, Any]
Records = dict[str, dict[str, Record]]
"""Collection, then key."""

# A fixed set, so that a process which serves runs for months does not collect a lock for each of them.
_locks = tuple(threading.Lock() for _ in range(64))


class Database:
    """One run's view of the records: those of the start, with the run's own changes laid over them.

    Records are never changed in place: the start records are shared by all runs of the process.
    """

    def __init__(self, start: Records, changed: Records | None = None, answers: dict[str, str] | None = None) -> None:
        self._start = start
        self.changed: Records = changed or {}
        self.answers: dict[str, str] = answers or {}
        """What each write answered, by idempotency key: a repeated call has no second effect."""

    def find(self, collection: str, key: str) -> Record | None:
        """The record as the run sees it, or none."""
        changed = self.changed.get(collection, {})
        return changed[key] if key in changed else self._start[collection].get(key)

    def get(self, collection: str, key: str) -> Record:
        """The record as the run sees it. Raises ToolError where there is none: "Error: order not found" of orders."""
        found = self.find(collection, key)
        if found is None:
            raise ToolError(f"Error: {collection.removesuffix('s')} not found")
        return found

    def items(self, collection: str) -> Iterator[tuple[str, Record]]:
        """All records with their keys, in stored order; the run's new ones come last."""
        return iter((self._start[collection] | self.changed.get(collection, {})).items())

    def put(self, collection: str, key: str, record: Record) -> None:
        """Keep a new record, or the new version of one."""
        self.changed.setdefault(collection, {})[key] = record


class RunRecords(NamedTuple):
    """Where the records of a trade's runs come from, and where each run's own are kept."""

    trade: str
    """As in RETAIL_DATA, the folder to start from, and RETAIL_STATE, the folder of the runs' files."""
    called: str
    """What people call it: a shop, an airline."""
    demo: Path
    """The start records for whoever names none; a policy.md is beside them."""
    collections: tuple[str, ...]
    """The names of the start files, less `.json`."""

    def read(self, run_id: str) -> Database:
        """The run's database as it stands; a run that has changed nothing has no file."""
        try:
            stored = json.loads(self._file(run_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Database(self.start())
        return Database(self.start(), stored["changed"], stored["answers"])

    @contextmanager
    def write(self, run_id: str) -> Iterator[Database]:
        """The run's database, kept when the block ends without an exception; writes of one run take turns."""
        with _locks[hash(run_id) % len(_locks)]:
            database = self.read(run_id)
            before = _stored_form(database)
            yield database
            after = _stored_form(database)
            if after != before:
                _keep(self._file(run_id), after)

    def forget(self, run_id: str) -> None:
        """Put the run's records back to those of the start."""
        self._file(run_id).unlink(missing_ok=True)

    def canonical_sha256(self, run_id: str) -> str:
        """SHA-256 over all records of the run as JSON with sorted keys and no spaces: equal for equal records."""
        changed = self.read(run_id).changed
        whole = []
        for collection, start in sorted(_canonical_start(self, self.start_folder()).items()):
            members = start | _canonical_members(changed.get(collection, {}))
            whole.append(f'"{collection}":{{{",".join(members[key] for key in sorted(members))}}}')
        return hashlib.sha256(f"{{{','.join(whole)}}}".encode("utf-8", "surrogatepass")).hexdigest()

    def start(self) -> Records:
        """The start records, read once in a process."""
        return self.load(self.start_folder())

    def start_folder(self) -> Path:
        """Where the start records are."""
        folder = os.environ.get(f"{self.trade.upper()}_DATA")
        return Path(folder) if folder else self.demo

    def load(self, folder: Path) -> Records:
        """The records in a folder's files. Raises RuntimeError if one cannot be read."""
        return _load(self, folder)

    def policy(self) -> str:
        """How to serve customers: the text that came with the start records, in their folder or beside it."""
        folder = self.start_folder()
        supplied = [folder / "policy.txt", folder.parent / "policy.txt"]
        policy = next((path for path in supplied if path.is_file()), self.demo.parent / "policy.md")
        return policy.read_text(encoding="utf-8")

    def remedy(self) -> str:
        """What to do for records other than those at hand."""
        *most, last = [f"{collection}.json" for collection in self.collections]
        files = f"{', '.join(most)} and {last}"
        return f"Set {self.trade.upper()}_DATA to a folder with {files} to use another {self.called}."

    def _file(self, run_id: str) -> Path:
        # Run ids come from outside. "_" is in no plain name, so a digest never meets another run's plain name.
        plain = re.fullmatch(r"[a-z0-9-]{1,64}", run_id)
        name = run_id if plain else "_" + hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()
        return Path(os.environ.get(f"{self.trade.upper()}_STATE") or f".ledgent/{self.trade}") / f"{name}.json"


@lru_cache(maxsize=4)
def _load(source: RunRecords, folder: Path) -> Records:
    if folder == source.demo:
        log = logging.getLogger(f"examples.{source.trade}")
        log.warning("%s_DATA is not set: using the demo %s. %s", source.trade.upper(), source.called, source.remedy())
    return {collection: _load_file(source, folder / f"{collection}.json") for collection in source.collections}


def _load_file(source: RunRecords, path: Path) -> dict[str, Record]:
    try:
        records: dict[str, Record] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"The {source.trade} example cannot read {path}: {error}. {source.remedy()}") from error
    return records


@lru_cache(maxsize=4)
def _canonical_start(source: RunRecords, folder: Path) -> dict[str, dict[str, str]]:
    """The text of each start record, written once for all the runs whose digests are taken."""
    return {collection: _canonical_members(records) for collection, records in source.load(folder).items()}


def _canonical_members(records: dict[str, Record]) -> dict[str, str]:
    """By key, the text of key and record as they stand in an object with others."""
    texts = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {key: texts.encode({key: record})[1:-1] for key, record in records.items()}


def _stored_form(database: Database) -> str:
    return json.dumps({"changed": database.changed, "answers": database.answers})


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    # The log will say that this happened, so the new name must outlive a power cut as well.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
