"""A local HTTP server that answers byte for byte as told: what real servers send, their faults included."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import orjson

Step = bytes | float | asyncio.Event
"""Bytes to send, seconds to wait, or what to wait for."""


class Seen(NamedTuple):
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class RawServer:
    """Gives each request the next of its answers, and closes the connection after those that do not end themselves.

    An answer is the bytes and pauses of a whole HTTP response. Once they are used up the last is repeated.
    """

    def __init__(self, *answers: Sequence[Step]) -> None:
        self._answers = answers
        self.seen: list[Seen] = []
        self.asked = asyncio.Event()
        self.connections = 0
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    def answer_to(self, request: Seen) -> Sequence[Step]:
        """The response to a request, which is already among those seen."""
        return self._answers[min(len(self.seen), len(self._answers)) - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(Seen(head[0], headers, body))
        self.asked.set()
        answer = self.answer_to(self.seen[-1])
        for step in answer:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                await asyncio.sleep(step)
        # Without a length nobody can tell where an answer ends but by the end of the connection.
        sent = b"".join(step for step in answer if isinstance(step, bytes))
        return bool(sent) and b"connection: close" not in sent


def whole(body: object, status: int = 200, headers: str = "", kind: str = "application/json") -> list[Step]:
    """A response with its length; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
    return [head.encode() + content]


def events(*data: object, end: str = "\n\n") -> bytes:
    """Server-sent events; data that is not text is sent as JSON."""
    texts = (each if isinstance(each, str) else orjson.dumps(each).decode() for each in data)
    return "".join(f"data: {text}{end}" for text in texts).encode()


def streamed(*pieces: Step) -> list[Step]:
    """A chunked response of server-sent events, properly ended."""
    return [*_streamed(pieces), b"0\r\n\r\n"]


def torn(*pieces: Step) -> list[Step]:
    """A chunked response that the server breaks off in the middle."""
    first, *rest = _streamed(pieces)
    assert isinstance(first, bytes)
    return [first.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1), *rest]


def unframed(*pieces: Step) -> list[Step]:
    """A response that ends where the connection does: a cut cannot be told from an end."""
    return [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n", *pieces]


def _streamed(pieces: Sequence[Step]) -> list[Step]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    framed: Callable[[Step], Step] = lambda p: b"%x\r\n%b\r\n" % (len(p), p) if isinstance(p, bytes) else p  # noqa: E731
    return [head, *map(framed, pieces)]
