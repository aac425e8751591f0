"""Which store a URL means, and how to throw away a chDB directory that no longer opens. Opens none."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledgent.processors.clickhouse.lock import OwnerLock
from ledgent.processors.clickhouse.routes import DirectoryRoute, Route, ServerRoute
from ledgent.schemas.errors import StoreUnavailable, UsageError

DATABASE = "ledgent"

_CHDB = "chdb://"
_PORTS = {"clickhouse": 8123, "clickhouses": 8443}
_EXAMPLES = "chdb:///relative/directory, chdb:////absolute/directory or clickhouse://user:password@host:8123/database"
_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What the engine makes in its directory.
_ENGINE_ENTRIES = frozenset({
    "access", "caches", "data", "dictionaries_lib", "flags", "format_schemas", "metadata", "metadata_dropped",
    "named_collections", "preprocessed_configs", "status", "store", "tmp", "user_defined", "user_files",
    "user_scripts", "uuid",
})  # fmt: skip


def directory_of(url: str) -> Path | None:
    """The absolute directory that a `chdb:` URL names; None for a server. Raises UsageError.

    As with SQLite URLs three slashes lead to a relative path and four to an absolute one.
    """
    if not url.startswith(_CHDB):
        return None
    path = url.removeprefix(_CHDB).removeprefix("/")
    if not path.strip("/") or "?" in path:
        raise UsageError(f"the store URL {url!r} names no directory; give {_EXAMPLES}")
    return Path(path).resolve()


def route_to(url: str, *, stay: bool, port: int, patience_s: float, join_only: bool = False) -> tuple[Route, str]:
    """The way to the store that a URL means, and its database. Raises UsageError."""
    directory = directory_of(url)
    if directory is not None:
        route = DirectoryRoute(url, directory, stay=stay, port=port, patience_s=patience_s, join_only=join_only)
        return route, DATABASE
    parts = urlsplit(url)
    try:
        port_given, host = parts.port, parts.hostname
    except ValueError as error:
        raise UsageError(f"the store URL has a port that is no port; give {_EXAMPLES}") from error
    database = unquote(parts.path.strip("/")) or DATABASE
    if parts.scheme not in _PORTS or not host or not _DATABASE_NAME.match(database):
        # Not quoted: whatever it is, a password may be in it.
        raise UsageError(f"the store URL, of kind {parts.scheme or 'none'!r}, is not one of {_EXAMPLES}")
    if stay:
        raise UsageError("only a chDB store can be owned by a process; a ClickHouse server owns its own")
    shown_host = f"[{host}]" if ":" in host else host
    server_port = port_given or _PORTS[parts.scheme]
    return ServerRoute(
        f"{parts.scheme}://{shown_host}:{server_port}/{database}",
        host=host,
        port=server_port,
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        tls=parts.scheme == "clickhouses",
    ), database


def discard_directory(url: str) -> None:
    """Deletes the directory of a `chdb:` URL, so that opening it starts from nothing: for one that is corrupt.

    Raises UsageError for another URL, or if there is anything in it that the engine does not make;
    StoreUnavailable while a process owns it.
    """
    directory = directory_of(url)
    if directory is None:
        raise UsageError("only the directory of a chdb: store can be deleted from here")
    lock = OwnerLock(directory)
    if not lock.acquire():
        raise StoreUnavailable(f"the store {url} is in use; stop the process that owns it first")
    try:
        foreign = sorted({entry.name for entry in directory.iterdir()} - _ENGINE_ENTRIES)
        if foreign:
            raise UsageError(
                f"{directory} will not be deleted: it also holds {foreign[0]!r}, which is not the store's; "
                "move that away first"
            )
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass  # there is nothing to delete
    finally:
        lock.release()
