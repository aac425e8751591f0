"""The ways to a ClickHouse client: to a server, or to whoever owns a chDB directory. Runs no statement of its own."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error, OperationalError
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import NewConnectionError

from ledgent.processors.clickhouse.lock import Address, OwnerLock
from ledgent.processors.clickhouse.protocol import AUTHENTICATION_FAILED
from ledgent.schemas.errors import StoreUnavailable

if TYPE_CHECKING:
    from ledgent.processors.clickhouse.owner import Owner

POLL_S = 0.02
HELLO_TIMEOUT_S = 10
"""An owner that has not said hello by then is taken for gone or stuck."""
ANSWER_TIMEOUT_S = 300
CONNECTIONS = 16

# Failures reach the caller as errors; told twice, they would clutter the terminal.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


class Route(Protocol):
    """A way to the store that can be walked again after the other side has gone."""

    url: str
    """For people: without the password."""

    def connect(self) -> Client:
        """A new client. Raises StoreUnavailable."""

    def leave(self) -> None:
        """Gives back what this process holds of the store itself."""


class ServerRoute:
    """To a ClickHouse server."""

    def __init__(self, url: str, *, host: str, port: int, user: str, password: str, tls: bool) -> None:
        self.url = url
        self._host, self._port, self._user, self._password, self._tls = host, port, user, password, tls

    def connect(self) -> Client:
        try:
            return _client(self._host, self._port, self._user, self._password, tls=self._tls)
        except ClickHouseError as error:
            raise StoreUnavailable(f"the store at {self.url} {_no_hello(error)}") from error

    def leave(self) -> None:
        pass


class DirectoryRoute:
    """To the process that owns a chDB directory, which this one becomes if there is no other."""

    def __init__(
        self, url: str, directory: Path, *, stay: bool, port: int, patience_s: float, join_only: bool = False
    ) -> None:
        """`stay` insists on owning it, and waits until a momentary owner has left; `join_only` never owns it."""
        self.url = url
        self.directory = directory
        self.owner: Owner | None = None
        self._stay = stay
        self._port = port
        self._patience_s = patience_s
        self._join_only = join_only

    def connect(self) -> Client:
        """Raises StoreUnavailable, StoreCorrupt; StoreError if this process holds another directory."""
        deadline = time.monotonic() + self._patience_s
        while True:
            # Who only joins does not even try the lock, which could be in the way of the next owner. That the
            # address is no dead owner's is then known from the answer: nobody else has its password.
            if self.owner is None and not self._join_only:
                self.owner = self._claim()
            if self.owner is not None:
                return _client_of(self.owner.address)
            # Whoever holds the lock may be just coming or just going: read its address anew each time.
            held_by = OwnerLock(self.directory).address()
            if held_by and self._stay and held_by.stays:
                raise StoreUnavailable(
                    f"the store {self.url} is already served by process {held_by.pid}; use that one, or stop it first"
                )
            if held_by and not self._stay:
                try:
                    return _client_of(held_by)
                except ClickHouseError:
                    pass  # gone since it told its address, or going
            if time.monotonic() > deadline:
                raise StoreUnavailable(self._still_held(held_by))
            time.sleep(POLL_S)

    def _claim(self) -> "Owner | None":
        lock = OwnerLock(self.directory)
        if not lock.acquire():
            return None
        # Here, because guests, who are most, need neither web server nor engine and start faster without.
        from ledgent.processors.clickhouse.owner import Owner

        return Owner(lock, self.directory, stays=self._stay, port=self._port)

    def _still_held(self, held_by: Address | None) -> str:
        if self._join_only:
            return f"no process serves the store {self.url}; start one with `ledgent up`"
        holder = f"process {held_by.pid}" if held_by else "another process"
        verb = "did not leave it" if self._stay else "does not answer"
        return (
            f"the store {self.url} is held by {holder}, which {verb} within {self._patience_s:g} s; "
            "stop that process, then start `ledgent up`"
        )

    def leave(self) -> None:
        if self.owner is not None:
            self.owner.close()
            self.owner = None


def _client_of(address: Address) -> Client:
    return _client(address.host, address.port, address.user, address.password)


def _client(host: str, port: int, user: str, password: str, *, tls: bool = False) -> Client:
    """A client for any number of threads: it has no session, and so requests of it do not wait for each other."""
    loopback = host in ("127.0.0.1", "localhost", "::1") and not tls
    # A pool of our own goes past HTTP_PROXY, which must not be sent what is for this machine.
    pool = {"pool_mgr": PoolManager(maxsize=CONNECTIONS, retries=1)} if loopback else {"dedicated_pool": True}
    client = clickhouse_connect.get_client(
        host=host,
        port=port,
        username=user,
        password=password,
        interface="https" if tls else "http",
        compress=not loopback,
        autogenerate_session_id=False,
        tz_mode="aware",
        show_clickhouse_errors="scrub",
        connect_timeout=HELLO_TIMEOUT_S,
        send_receive_timeout=HELLO_TIMEOUT_S,
        client_name="ledgent",
        **pool,
    )
    assert isinstance(client, HttpClient)
    client.timeout = Timeout(connect=HELLO_TIMEOUT_S, read=ANSWER_TIMEOUT_S)
    return client


def unreached(error: ClickHouseError) -> bool:
    """Whether the other side was not reached, or was lost, rather than that it refused."""
    return isinstance(error, OperationalError) and error.code is None


def never_sent(error: BaseException) -> bool:
    """Whether no connection was made at all, so that nothing can have been done."""
    return any(isinstance(cause, NewConnectionError) for cause in _causes(error))


def reason(error: BaseException) -> str:
    """The first cause, in few words."""
    first = list(_causes(error))[-1]
    return (isinstance(first, OSError) and first.strerror) or str(first)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _no_hello(error: ClickHouseError) -> str:
    if isinstance(error, Error) and error.code == AUTHENTICATION_FAILED:
        return "refuses this user and password; set them in LEDGENT_STORE"
    return f"does not answer ({reason(error)}); start the server, or name another store with LEDGENT_STORE"
