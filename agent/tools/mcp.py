"""The tools of an MCP server, over stdio or streamable HTTP, as tools of an agent. Needs `pip install ledgent[mcp]`."""

import asyncio
import contextlib
import os
import re
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import orjson

from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import InvalidArguments, Tool
from ledgent.agent.tools.results import Output, named
from ledgent.producers.files import IMAGES, File, Image, is_textual, told_type
from ledgent.schemas.agents import ToolSpec
from ledgent.schemas.errors import ToolError, UsageError

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import ContentBlock
    from mcp.types import Tool as ServerTool

    Connect = Callable[[contextlib.AsyncExitStack], Coroutine[Any, Any, Client]]

CONNECT_S = 30.0
"""For starting or reaching the server and reading its tools, unless it is said otherwise."""
_NO_NAME = re.compile("[^a-zA-Z0-9_-]")
"""What providers do not take in a tool's name."""


@contextlib.asynccontextmanager
async def mcp_tools(
    *,
    command: Sequence[str] | None = None,
    url: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    prefix: str = "",
    only: Collection[str] | None = None,
    idempotent: Collection[str] = (),
    timeout_s: float = 60.0,
    connect_s: float = CONNECT_S,
) -> AsyncIterator[list[Tool]]:
    """The tools of an MCP server while the block lasts: `async with mcp_tools(command=["my-server"]) as tools`.

    Either `command` starts the server (with `env` beside the few variables it inherits, in `cwd`) and speaks to it over
    stdio, or `url` reaches one over streamable HTTP (with `headers`). `prefix` goes before each tool's name; `only` and
    `idempotent` name tools as the server does: which are wanted, and which may be called again after a call whose
    outcome is unknown (the server's own hints are not trusted with that). `timeout_s`: for one call of a tool.

    The connection has an event loop of its own, so the tools serve runs on any. An error that the server answers with
    is told to the model; a connection that breaks fails the call. Raises UsageError without the `mcp` package, for
    names that the server does not have, and when both or none of `command` and `url` are given; ConnectionError.
    """
    connect = _client_for(command, url, env, cwd, headers)
    where = url or " ".join(command or ())
    connection = _Connection(connect, where)
    try:
        listed = await connection.open(connect_s)
        if missing := {*(only or ()), *idempotent} - {tool.name for tool in listed}:
            names = ", ".join(sorted(tool.name for tool in listed))
            raise UsageError(f"the MCP server {where} has no tool {', '.join(sorted(missing))}; it has: {names}")
        wanted = [tool for tool in listed if only is None or tool.name in only]
        yield [_made(connection, tool, prefix, tool.name in idempotent, timeout_s) for tool in wanted]
    finally:
        await connection.close()


def _client_for(
    command: Sequence[str] | None,
    url: str | None,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    headers: Mapping[str, str] | None,
) -> "Connect":
    """What connects, in the event loop that it is called in. Raises UsageError."""
    import httpx2

    try:
        from mcp import Client, StdioServerParameters
        from mcp.client.streamable_http import streamable_http_client
    except ImportError as error:
        raise UsageError("tools from an MCP server need the mcp package: pip install 'ledgent[mcp]'") from error
    if isinstance(command, str) or (not command) == (not url):
        raise UsageError("mcp_tools takes either command=[program, argument, ...] or url=")

    async def connect(stack: contextlib.AsyncExitStack) -> Client:
        if command:
            folder = os.fspath(cwd) if cwd is not None else None
            server = StdioServerParameters(command=command[0], args=list(command[1:]), env=dict(env or {}), cwd=folder)
            return await stack.enter_async_context(Client(server))
        http = httpx2.AsyncClient(headers=dict(headers or {}), timeout=httpx2.Timeout(30.0, read=None))
        await stack.enter_async_context(http)
        return await stack.enter_async_context(Client(streamable_http_client(url or "", http_client=http)))

    return connect


LOOK_S = 0.5
"""How often a call that waits looks whether its connection's thread is still there."""


class _Connection:
    """A client in a thread with an event loop of its own, where one task opens and closes it."""

    def __init__(self, connect: "Connect", where: str) -> None:
        self._connect = connect
        self._where = where
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._opened: Future[tuple[Client, list[ServerTool]]] = Future()
        self._serves = False
        self._thread = threading.Thread(target=self._run, name="ledgent-mcp", daemon=True)

    async def open(self, connect_s: float) -> "list[ServerTool]":
        """Connects. All tools of the server. Raises ConnectionError."""
        self._thread.start()
        try:
            async with asyncio.timeout(connect_s):
                self._client, tools = await asyncio.wrap_future(self._opened)
        except Exception as error:  # a transport may raise anything
            reason = f"no answer within {connect_s:g} s" if isinstance(error, TimeoutError) else _innermost(error)
            raise ConnectionError(f"the MCP server {self._where} cannot be used: {reason}") from error
        return tools

    async def call(self, name: str, arguments: dict[str, Any], context: ToolContext) -> Output:
        """What the server answers. Raises ToolError for an error that it answers with, ConnectionError."""
        if not self._thread.is_alive():
            raise self._closed()
        asked = self._call(name, arguments, context)
        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._loop))
        try:
            while not (await asyncio.wait([answer], timeout=LOOK_S))[0]:
                if not self._thread.is_alive():  # its loop had stopped before it could begin
                    asked.close()
                    raise self._closed()
        finally:
            answer.cancel()
        return answer.result()

    async def close(self) -> None:
        """Ends the connection, and the server's process where it was started here."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        stopping = asyncio.ensure_future(self._stop.wait())
        opening = asyncio.ensure_future(self._open_until_stopped())
        await asyncio.wait([stopping, opening], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._serves:  # nobody waits for it any more
            opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening

    async def _open_until_stopped(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await self._connect(stack)
                self._opened.set_result((client, await _listed(client)))
                self._serves = True
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001  # told to whoever opens; later, calls tell it
            if not self._opened.done():
                self._opened.set_exception(error)

    async def _call(self, name: str, arguments: dict[str, Any], context: ToolContext) -> Output:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        async def report(progress: float, total: float | None, message: str | None) -> None:
            context.progress(message or (progress / total if total else f"{progress:g}"))

        try:
            result = await self._client.call_tool(name, arguments, progress_callback=report)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise self._closed() from error
            raise ToolError(error.message) from error
        blocks = [_file_in(block) or _text_of(block) for block in result.content]
        text = "\n".join(named(block) if isinstance(block, File) else block for block in blocks)
        if result.is_error:
            raise ToolError(text)
        if not result.content and result.structured_content is not None:
            return Output(orjson.dumps(result.structured_content).decode(), media_type="application/json")
        return Output(text, tuple(block for block in blocks if isinstance(block, File)))

    def _closed(self) -> ConnectionError:
        return ConnectionError(f"the connection to the MCP server {self._where} is closed")


async def _listed(client: "Client") -> "list[ServerTool]":
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        tools.extend(page.tools)
    return tools


def _made(connection: _Connection, tool: "ServerTool", prefix: str, idempotent: bool, timeout_s: float) -> Tool:
    async def call(arguments: dict[str, Any], context: ToolContext) -> Output:
        return await connection.call(tool.name, arguments, context)

    spec = ToolSpec(
        name=_NO_NAME.sub("_", prefix + tool.name),
        description=tool.description or "",
        parameters=tool.input_schema,
        idempotent=idempotent,
        timeout_s=timeout_s,
    )
    return Tool(call, spec, _parsed, injected="context")


def _parsed(name: str, arguments: str) -> dict[str, Any]:
    """Whether they fit the schema is for the server to say."""
    try:
        parsed = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidArguments(f"The arguments of {name} are not valid JSON: {error}. Call it again.") from error
    if not isinstance(parsed, dict):
        raise InvalidArguments(f"The arguments of {name} are not valid: they must be a JSON object. Call it again.")
    return {"arguments": parsed}


def _file_in(block: "ContentBlock") -> File | None:
    """A part of an answer as a file, where it is one that models can be shown."""
    data: str | None = None
    name: str | None = None
    media_type = ""
    if block.type == "image":
        data, media_type = block.data, block.mime_type
    elif block.type == "resource":
        data, media_type = getattr(block.resource, "blob", None), block.resource.mime_type or ""
        name = str(block.resource.uri).rpartition("/")[2]
    if data is None:
        return None
    try:
        content = b64decode(data, validate=True)
    except ValueError:
        return None
    media_type = told_type(content) or media_type.partition(";")[0].strip().lower()
    if content and media_type in IMAGES:
        return Image(content, name=name, media_type=media_type)
    shown = media_type == "application/pdf" or is_textual(media_type)
    return File(content, name=name, media_type=media_type) if content and shown else None


def _text_of(block: "ContentBlock") -> str:
    """A part of an answer that is no file, as a model without ears is told it."""
    match block.type:
        case "text":
            return block.text
        case "resource":
            resource = block.resource
            return getattr(resource, "text", None) or f"[{resource.mime_type or 'a file'} at {resource.uri}]"
        case "resource_link":
            return f"[{block.mime_type or 'a file'} at {block.uri}]"
        case kind:
            return f"[{kind}, {block.mime_type}, {len(block.data) * 3 // 4:,} bytes: not shown]"


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
