"""Who may open a store's directory: a file lock beside it, and where its holder answers. Opens no engine."""

import fcntl
import json
import os
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path

from ledgent.schemas.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Address:
    """Where the owner of a directory serves it."""

    host: str
    port: int
    user: str
    password: str
    pid: int
    stays: bool
    """False for an owner that leaves as soon as its own work is done."""

    def __repr__(self) -> str:
        return f"Address({self.host}:{self.port}, pid {self.pid})"


class OwnerLock:
    """The lock of one directory. The kernel frees it when its holder dies, however it dies."""

    def __init__(self, directory: Path) -> None:
        self._lock_path = directory.with_name(directory.name + ".lock")
        self._address_path = directory.with_name(directory.name + ".address.json")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether this lock is now held; False at once if another holder has it. Raises StoreUnavailable."""
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"the store's lock {self._lock_path} cannot be opened: {error.strerror}; "
                "name another place with LEDGENT_STORE"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(self)
        self._address_path.unlink(missing_ok=True)  # of a holder that died
        return True

    def publish(self, address: Address) -> None:
        """Tells where the holder answers. Readable by this user only, and never half written."""
        draft = self._address_path.with_suffix(f".{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(address), file)
        draft.replace(self._address_path)

    def withdraw(self) -> None:
        """Takes the address back; to be called before the holder stops to answer."""
        self._address_path.unlink(missing_ok=True)

    def address(self) -> Address | None:
        """What the holder last told. It counts only while `acquire` fails; None if the holder has told nothing yet."""
        try:
            return Address(**json.loads(self._address_path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def release(self) -> None:
        """Lets the next one in."""
        if self._descriptor is not None:
            _held.discard(self)
            os.close(self._descriptor)
            self._descriptor = None


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _drop_inherited() -> None:
    # A forked child shares the parent's lock and would keep it when the parent has died.
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_drop_inherited)
