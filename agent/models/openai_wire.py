"""The connection to an OpenAI-compatible server: one HTTP session per event loop, and its exceptions made failures.

What is sent and what the answer means is not known here.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import httpx2
import openai
from openai import AsyncOpenAI

from ledgent.agent.models.openai_errors import error_of_answer, error_of_exception
from ledgent.agent.models.openai_reply import parse
from ledgent.agent.models.port import ModelFailure
from ledgent.schemas.errors import ErrorCode, ErrorInfo

OPENAI_ADDRESS = "https://api.openai.com/v1"
NO_KEY = "no-key"
"""Sent where a server was named and no key given: local servers want none, but the SDK wants something."""
IDLE_S = 5.0
"""How long a connection is kept for the next call, as the SDK does."""


@cache
def _tls() -> ssl.SSLContext:
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

    def __init__(self, base_url: str | None, api_key: str | None) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def post(self, body: bytes) -> aiohttp.ClientResponse:
        """The answer, its body yet to be read with `content` or `chunks`. Raises ModelFailure."""
        with self._translated():
            line = await self._line()
            answer = await line.session.post(
                line.url,
                data=body,
                headers=line.headers,
                proxy=line.proxy,
                proxy_headers=line.proxy_headers,
                allow_redirects=False,
            )
            if 200 <= answer.status < 300:
                return answer
            content = await answer.read()
        raise ModelFailure(error_of_answer(answer.status, _body(content), answer.headers, self.host))

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
            error = error_of_exception(raised, self.host)
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
        named = self._base_url or os.environ.get("OPENAI_BASE_URL", "").strip()
        key = (self._api_key or os.environ.get("OPENAI_API_KEY", "")).strip()
        fault = address_fault(named) if named else None
        if fault:
            raise _refused(ErrorCode.INVALID_REQUEST, f"{fault}; check OPENAI_BASE_URL")
        if not key and not named:
            raise _refused(
                ErrorCode.AUTH,
                "there is no API key: set OPENAI_API_KEY, or OPENAI_BASE_URL to a server that needs none",
            )
        if not key.isascii() or not key.isprintable():
            raise _refused(ErrorCode.AUTH, "the API key has characters that no key has; check OPENAI_API_KEY")
        address = httpx2.URL(named or OPENAI_ADDRESS)
        url = address.copy_with(path=address.path.rstrip("/") + "/chat/completions")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_tls(), limit=0, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none of its own: the whole attempt has a deadline
        )
        key = key or NO_KEY
        headers, (proxy, told) = _headers(key, address), _proxy(url)
        if url.scheme == "http":  # no tunnel: the proxy reads each request
            headers.update(told)
        opened = _open_until_closed(session)
        return _Line(session, str(url), headers, proxy, told, url.netloc.decode(), key, opened)


def _headers(key: str, address: httpx2.URL) -> dict[str, str]:
    """What the SDK sends with each request, less what it tells of this machine."""
    unused = httpx2.AsyncClient(verify=_tls(), trust_env=False)  # else the SDK makes its own, and its certificates
    client = AsyncOpenAI(api_key=key, base_url=address, max_retries=0, http_client=unused)
    given = {**client.default_headers, **client.auth_headers}
    kept = {name: value for name, value in given.items() if not name.lower().startswith("x-stainless-")}
    return {name: value for name, value in kept.items() if isinstance(value, str)}


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
    openai.OpenAIError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
    RuntimeError,  # the session was closed under the call
)


def _body(content: bytes) -> object:
    try:
        return parse(content)
    except ModelFailure:
        return content.decode(errors="replace")


def _refused(code: ErrorCode, message: str) -> ModelFailure:
    return ModelFailure(ErrorInfo(code=code, message=message))
