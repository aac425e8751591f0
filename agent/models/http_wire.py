"""The connection to a model server: one HTTP session per event loop, and its exceptions made failures.

What is sent and what the answer means is not known here.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import httpx2

from ledgent.agent.models.allowance import allowance_of
from ledgent.agent.models.failures import ErrorTable
from ledgent.agent.models.port import ModelFailure
from ledgent.agent.models.reading import parse
from ledgent.agent.models.streaming import EventData
from ledgent.schemas.errors import ErrorCode, ErrorInfo

NO_KEY = "no-key"
"""Sent where a server was named and no key given: local servers want none, but clients must send something."""
IDLE_S = 5.0
"""How long a connection is kept for the next call, as the providers' SDKs do."""


class Service(NamedTuple):
    """One API as the wire has to know it."""

    address: str
    """Where it is, unless another one is given."""
    endpoint: Callable[[str], str]
    """From the path of a server's address to the path that takes requests."""
    headers: Callable[[str, httpx2.URL], dict[str, str]]
    """What is sent with each request, by key and address."""
    errors: ErrorTable


@cache
def tls() -> ssl.SSLContext:
    """Takes 20 ms to make, so it is made once."""
    return httpx2.create_ssl_context()


def address_fault(url: str) -> str | None:
    """What is wrong with a server's address; None: nothing."""
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        return f"{url!r} is no address: {error}"
    if address.scheme not in ("http", "https") or not address.host:
        return f"{url!r} is no address: write it as http://host:port/v1"
    if address.userinfo:
        return "the address holds a name or password, which would be recorded with each run: use api_key instead"
    return None


class _Line(NamedTuple):
    """What one event loop has open."""

    session: aiohttp.ClientSession
    url: str
    headers: dict[str, str]
    """Given with each request: what the session has of its own it tells the proxy too, and the key is among them."""
    proxy: str | None
    proxy_headers: dict[str, str]
    host: str
    key: str
    opened: AsyncGenerator[None, None]


async def _open_until_closed(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Closes the session with itself. A loop that shuts down closes its generators, so no caller need remember to."""
    try:
        yield
    finally:
        await session.close()


class Wire:
    """Sends requests to one server with one key; may serve several event loops."""

    def __init__(self, service: Service, base_url: str | None, api_key: str | None, connect_s: float) -> None:
        self._service = service
        self._base_url = base_url
        self._api_key = api_key
        self._connect_s = connect_s
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The answer, its body yet to be read with `content` or `chunks`. Raises ModelFailure."""
        with self._translated():
            line = await self._line()
            answer = await line.session.post(
                line.url,
                data=body,
                headers={**line.headers, **headers} if headers else line.headers,
                proxy=line.proxy,
                proxy_headers=line.proxy_headers,
                allow_redirects=False,
            )
            if 200 <= answer.status < 300:
                return answer
            content = await answer.read()
        error = self._service.errors.of_answer(answer.status, _body(content), answer.headers, self.host)
        raise ModelFailure(error, allowance=allowance_of(answer.headers))

    async def content(self, answer: aiohttp.ClientResponse) -> bytes:
        """The whole body of an answer. Raises ModelFailure."""
        with self._translated():
            return await answer.read()

    async def chunks(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The body of a streamed answer as it comes. Raises ModelFailure."""
        with self._translated():
            async with answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever the wire raises inside becomes a ModelFailure."""
        try:
            yield
            return
        except _WIRE_ERRORS as raised:
            error = self._service.errors.of_exception(raised, self.host)
        raise ModelFailure(error)

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        line = self._lines.get(asyncio.get_running_loop())
        return line.host if line else "the server"

    def without_key(self, text: str) -> str:
        """The text, should a server have echoed the key in it."""
        line = self._lines.get(asyncio.get_running_loop())
        return text.replace(line.key, "[key]") if line and line.key != NO_KEY else text

    async def aclose(self) -> None:
        """Closes what the running event loop has open."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.opened.aclose()

    async def _line(self) -> _Line:
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = self._open()
            await anext(line.opened)  # waits for nothing; the loop knows it from here on
        return line

    def _open(self) -> _Line:
        key_variable, address_variable = self._service.errors.key_variable, self._service.errors.address_variable
        named = self._base_url or os.environ.get(address_variable, "").strip()
        key = (self._api_key or os.environ.get(key_variable, "")).strip()
        fault = address_fault(named) if named else None
        if fault:
            raise _refused(ErrorCode.INVALID_REQUEST, f"{fault}; check {address_variable}")
        if not key and not named:
            raise _refused(
                ErrorCode.AUTH,
                f"there is no API key: set {key_variable}, or {address_variable} to a server that needs none",
            )
        if not key.isascii() or not key.isprintable():
            raise _refused(ErrorCode.AUTH, f"the API key has characters that no key has; check {key_variable}")
        address = httpx2.URL(named or self._service.address)
        url = address.copy_with(path=self._service.endpoint(address.path.rstrip("/")))
        key = key or NO_KEY
        headers, (proxy, told) = self._service.headers(key, address), _proxy(url)
        if url.scheme == "http":  # no tunnel: the proxy reads each request
            headers.update(told)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls(), limit=0, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(connect=self._connect_s),  # the other deadlines are the attempt's
        )
        opened = _open_until_closed(session)
        return _Line(session, str(url), headers, proxy, told, url.netloc.decode(), key, opened)


def _proxy(url: httpx2.URL) -> tuple[str | None, dict[str, str]]:
    """The proxy that the environment names (HTTPS_PROXY and the like), and the headers that it wants to see."""
    proxies = {} if proxy_bypass(url.host) else getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named:
        return None, {}
    proxy = httpx2.URL(named if "://" in named else f"http://{named}")
    bare = str(proxy.copy_with(username=None, password=None))
    if not proxy.username:
        return bare, {}
    return bare, {"Proxy-Authorization": aiohttp.encode_basic_auth(proxy.username, proxy.password)}


_WIRE_ERRORS = (
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
    RuntimeError,  # the session was closed under the call
)


def _body(content: bytes) -> object:
    """What an error's body says; some servers send errors as the first event of a stream that is none."""
    events = EventData()
    sent = [*events.feed(content), *events.end()]
    for data in (content, *(event.data for event in sent[:1])):
        try:
            return parse(data)
        except ModelFailure:
            pass
    return content.decode(errors="replace")


def _refused(code: ErrorCode, message: str) -> ModelFailure:
    return ModelFailure(ErrorInfo(code=code, message=message))
