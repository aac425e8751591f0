"""What every answer to a browser is held to: for this machine only, and never loading anything from elsewhere."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names that this machine goes by. Any other Host header is a page elsewhere that pretends to be this one."""

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self' blob:",  # blob: is how Streamlit loads a component's script
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
"""Even markup that got past the escaping could neither run a script of its own nor fetch a picture."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Safety:
    """ASGI middleware: refuses foreign hosts and adds the headers."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif host_of(scope) not in HOSTS:
            await _refuse(scope, send)
        else:
            await self._app(scope, receive, _with_headers(send))


class Wrapping(NamedTuple):
    """A middleware as Streamlit hands it on: three values, whatever class holds them."""

    cls: Callable[[App], App] = Safety
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012  # never written to


def host_of(scope: Scope) -> str:
    """The Host header without its port; empty if there is none."""
    given = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    name, mark, port = given.rpartition(":")
    return name if mark and port.isdigit() else given


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    text = b"These pages are for this machine only: open them at http://127.0.0.1 or http://localhost."
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": text})
