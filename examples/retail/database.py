"""The shop's records: start files, and one small file per run with what it changed. No shop rules here."""

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
from typing import Any, Literal

Collection = Literal["orders", "products", "users"]
Record = dict[str, Any]
Records = dict[Collection, dict[str, Record]]

COLLECTIONS: tuple[Collection, ...] = ("orders", "products", "users")
DEMO_SHOP = Path(__file__).parent / "shop"

_REMEDY = "Set RETAIL_DATA to a folder with orders.json, products.json and users.json to use another shop."
_log = logging.getLogger("examples.retail")
# A fixed set, so that a process which serves runs for months does not collect a lock for each of them.
_locks = tuple(threading.Lock() for _ in range(64))


class Database:
    """One run's view of the shop: the start records, with the run's own changes laid over them.

    Records are never changed in place: the start records are shared by all runs of the process.
    """

    def __init__(self, start: Records, changed: Records | None = None, answers: dict[str, str] | None = None) -> None:
        self._start = start
        self.changed: Records = changed or {}
        self.answers: dict[str, str] = answers or {}
        """What each write answered, by idempotency key: a repeated call has no second effect."""

    def find(self, collection: Collection, key: str) -> Record | None:
        """The record as the run sees it, or none."""
        changed = self.changed.get(collection, {})
        return changed[key] if key in changed else self._start[collection].get(key)

    def items(self, collection: Collection) -> Iterator[tuple[str, Record]]:
        """All records with their keys, in stored order."""
        changed = self.changed.get(collection, {})
        return ((key, changed.get(key, record)) for key, record in self._start[collection].items())

    def replace(self, collection: Collection, key: str, record: Record) -> None:
        """Put the new version of a record that exists."""
        self.changed.setdefault(collection, {})[key] = record


def read(run_id: str) -> Database:
    """The run's database as it stands; a run that has changed nothing has no file."""
    try:
        stored = json.loads(_file(run_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Database(start_records())
    return Database(start_records(), stored["changed"], stored["answers"])


@contextmanager
def write(run_id: str) -> Iterator[Database]:
    """The run's database, kept when the block ends without an exception; writes of one run take turns."""
    with _locks[hash(run_id) % len(_locks)]:
        database = read(run_id)
        before = _stored_form(database)
        yield database
        after = _stored_form(database)
        if after != before:
            _keep(_file(run_id), after)


def forget(run_id: str) -> None:
    """Put the run's shop back to the start records."""
    _file(run_id).unlink(missing_ok=True)


def canonical_sha256(run_id: str) -> str:
    """SHA-256 over all records of the run as JSON with sorted keys and no spaces: equal for equal shops."""
    database = read(run_id)
    whole = {collection: dict(database.items(collection)) for collection in COLLECTIONS}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def start_folder() -> Path:
    """Where the start records are: RETAIL_DATA, else the demo shop."""
    folder = os.environ.get("RETAIL_DATA")
    return Path(folder) if folder else DEMO_SHOP


def start_records() -> Records:
    """The start records, read once in a process."""
    return load(start_folder())


@lru_cache(maxsize=4)
def load(folder: Path) -> Records:
    """The records in a folder's three files. Raises RuntimeError if one cannot be read."""
    if folder == DEMO_SHOP:
        _log.warning("RETAIL_DATA is not set: using the demo shop. %s", _REMEDY)
    return {collection: _load_file(folder / f"{collection}.json") for collection in COLLECTIONS}


def _load_file(path: Path) -> dict[str, Record]:
    try:
        records: dict[str, Record] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"The retail example cannot read {path}: {error}. {_REMEDY}") from error
    return records


def _file(run_id: str) -> Path:
    # Run ids come from outside. "_" is in no plain name, so a digest never meets another run's plain name.
    plain = re.fullmatch(r"[a-z0-9-]{1,64}", run_id)
    name = run_id if plain else "_" + hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()
    return Path(os.environ.get("RETAIL_STATE") or ".ledgent/retail") / f"{name}.json"


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
