"""The HTTP door to an engine: aiohttp on loopback, in a thread of its own. What is said is in protocol.py."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import lz4.frame
from aiohttp import BodyPartReader, web

from ledgent.processors.clickhouse import protocol
from ledgent.processors.clickhouse.engine import Engine
from ledgent.schemas.errors import StoreQueryRefused, StoreUnavailable

HOST = "127.0.0.1"
BODY_LIMIT = 256 * 1024 * 1024
STATEMENTS_AT_ONCE = 8
"""Threads that wait for the engine, which spreads each statement over the cores by itself."""
PATIENCE_S = 5.0
"""How long closing waits for statements under way before it has the engine cancel them."""


class Server:
    """Serves the engine until closed. Lives in any process, with or without an event loop of its own."""

    def __init__(self, engine: Engine, user: str, password: str, port: int = 0, patience_s: float = PATIENCE_S) -> None:
        """Listens on a free port when `port` is 0. Raises StoreUnavailable if the port cannot be had."""
        self._listener = _listening(port)
        self.port: int = self._listener.getsockname()[1]
        self._engine = engine
        self._patience_s = patience_s
        self._expected = (user, password)
        self._loop = asyncio.new_event_loop()
        self._statements = ThreadPoolExecutor(STATEMENTS_AT_ONCE, thread_name_prefix="ledgent-store-statement")
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledgent-store-http", daemon=True)
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()

    async def _serve(self) -> web.AppRunner:
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_route("GET", "/ping", _pong)
        application.router.add_route("GET", "/", self._answer)
        application.router.add_route("POST", "/", self._answer)
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=self._patience_s)
        await runner.setup()
        await web.SockSite(runner, self._listener).start()
        return runner

    def close(self) -> None:
        """Takes no more requests and waits for those under way, though not for ever."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._statements.shutdown(wait=False, cancel_futures=True)
        self._engine.interrupt()
        self._statements.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _leave(self) -> None:
        # No new connections first: closed at once, the listener would lose one that is just being accepted.
        self._loop.remove_reader(self._listener)
        await _some_turns()
        await self._runner.cleanup()
        await _some_turns()

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if not protocol.same(protocol.credentials(request.headers, request.query), self._expected):
                raise protocol.refused(
                    "Authentication failed: password is incorrect, or there is no user with such name",
                    protocol.AUTHENTICATION_FAILED,
                )
            if request.method == "GET" and "query" not in request.query:
                return web.Response(text="Ok.\n")
            return await self._run(request)
        except StoreQueryRefused as refusal:
            return web.Response(
                status=protocol.status_of(refusal.code),
                text=f"{refusal}\n",
                headers={"X-ClickHouse-Exception-Code": str(refusal.code)},
            )

    async def _run(self, request: web.Request) -> web.Response:
        parameters = dict(request.query)
        if request.content_type == "multipart/form-data":
            parameters |= await _form(request)
            body = b""
        else:
            body = await _body(request)
        statement = protocol.read_statement(parameters, body, method=request.method)
        # Shielded: a client that goes away does not stop the engine, so the statement is still waited for.
        result = await asyncio.shield(
            asyncio.get_running_loop().run_in_executor(self._statements, self._engine.run, statement)
        )
        headers = {"X-ClickHouse-Summary": protocol.summary(result)}
        if result.reads:
            headers["X-ClickHouse-Format"] = statement.result_format
        return web.Response(body=result.body, headers=headers)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise StoreUnavailable(
            f"the store cannot listen on {HOST}:{port} ({error.strerror}); choose another port"
        ) from error


async def _some_turns() -> None:
    """Lets connections that are being made or ended come to it."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _pong(request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _body(request: web.Request) -> bytes:
    """The body as it was before any Content-Encoding; aiohttp has undone all of them but lz4."""
    body = await request.read()
    if request.headers.get("Content-Encoding") != "lz4":
        return body
    try:
        decompressor = lz4.frame.LZ4FrameDecompressor()
        plain: bytes = decompressor.decompress(body, max_length=BODY_LIMIT)
    except RuntimeError as error:
        raise protocol.refused(f"the body is not lz4: {error}", 33) from error
    if not decompressor.eof:
        raise web.HTTPRequestEntityTooLarge(BODY_LIMIT, len(plain))
    return plain


async def _form(request: web.Request) -> dict[str, str]:
    """Long parameters come as the fields of a form."""
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None or part.filename is not None:
            raise protocol.refused("external data is not supported", protocol.NOT_IMPLEMENTED)
        fields[part.name] = await part.text()
    return fields
