"""The process that owns a chDB directory: lock, engine and HTTP door, taken in this order and given back in reverse."""

import atexit
import os
import secrets
import threading
from pathlib import Path

from ledgent.processors.clickhouse.engine import Engine
from ledgent.processors.clickhouse.lock import Address, OwnerLock
from ledgent.processors.clickhouse.server import HOST, Server

USER = "ledgent"


class Owner:
    """Holds a directory and serves it until closed.

    The lock is held from before the directory is opened until after it is closed, and the address is
    published only between the two, so that nobody is sent to an engine that is not there.
    """

    def __init__(self, lock: OwnerLock, directory: Path, *, stays: bool, port: int = 0) -> None:
        """`lock` must be held; it is given back if this fails.

        Raises StoreUnavailable, StoreCorrupt; StoreError if this process holds another directory.
        """
        self.directory = directory
        self._lock = lock
        self._closing = threading.Lock()
        self._closed = False
        password = secrets.token_urlsafe(32)
        try:
            self._engine = Engine(directory)
            try:
                self._server = Server(self._engine, USER, password, port)
            except BaseException:
                self._engine.close()
                raise
        except BaseException:
            lock.release()
            raise
        self.address = Address(HOST, self._server.port, USER, password, os.getpid(), stays)
        lock.publish(self.address)
        # An engine that still works while the interpreter ends would bring the process down.
        atexit.register(self.close)

    def close(self) -> None:
        """Waits for the statements under way, then lets the next owner in. Closing again does nothing."""
        with self._closing:
            if self._closed or os.getpid() != self.address.pid:
                return
            self._closed = True
            atexit.unregister(self.close)
            self._lock.withdraw()
            try:
                self._server.close()
            finally:
                self._engine.close()
                self._lock.release()
