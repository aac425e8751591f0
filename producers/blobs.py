"""What events refer to but do not hold: a directory that keeps bytes under their SHA-256. No events, no log."""

import contextlib
import hashlib
import os
import re
import secrets
from functools import cached_property
from pathlib import Path

from ledgent.schemas.errors import BlobLost, BlobsUnavailable, UsageError
from ledgent.schemas.settings import Settings

MEND = "set LEDGENT_BLOBS to a directory that all processes of this log share"


class DirectoryBlobs:
    """Files in `directory`, or where LEDGENT_BLOBS says: `ab/ab12...`, by the first two hex digits of their name.

    Several processes may write the same bytes at once. Nothing is ever changed or removed here.
    Raises UsageError for what can be no directory.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._given = directory

    def __repr__(self) -> str:
        return f"DirectoryBlobs({str(self.directory)!r})"

    @cached_property
    def directory(self) -> Path:
        """Where they are; looked up when it is first needed."""
        named = os.fspath(self._given) if self._given is not None else Settings().blobs
        if not named or "://" in named:
            raise UsageError(f"{named!r} is no directory for files: {MEND}")
        return Path(named)

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        try:
            _make_durable(path.parent)
            if not path.exists() or path.stat().st_size != len(content):
                _write(path, content)
            # Also where it was there already: whoever is writing it may not have come to this yet.
            _sync(path.parent)
        except OSError as error:
            raise BlobsUnavailable(
                f"a file of {len(content):,} bytes cannot be kept: {_told(error)}; {MEND}"
            ) from error
        return sha256

    def get(self, sha256: str) -> bytes:
        path = self._path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise BlobLost(f"{path} is missing; {MEND}, or restore it") from None
        except OSError as error:
            raise BlobsUnavailable(f"a file that was kept cannot be read: {_told(error)}; {MEND}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobLost(f"{path} is damaged: its bytes are not those that were kept; restore it")
        return content

    def _path(self, sha256: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise BlobLost(f"{sha256!r:.80} is no SHA-256")
        return self.directory / sha256[:2] / sha256


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whatever happens in between."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _make_durable(directory: Path) -> None:
    """Makes the directory and those above it, so that they outlast a loss of power."""
    if not directory.exists():
        _make_durable(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
