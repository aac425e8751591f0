"""Recorded HTTP exchanges with model servers: read from their files, and answered again from a local server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

Json = dict[str, Any]

CHAT, MESSAGES = "openai.chat", "anthropic.messages"
KINDS = {"json": "application/json", "text": "text/plain", "sse": "text/event-stream"}
NOT_SENT_AGAIN = {"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive", "trailer"}
"""Headers that tell how the recorded bytes were carried, not what they mean."""

SIZES = (1, 2, 3, 5, 7, 97, 1009, 4093)
"""Bytes in the pieces of a streamed body, over and over: no reader may count on whole lines."""


class Exchange(NamedTuple):
    """A request, if it was kept, and the response to it."""

    id: str
    api: str
    provider: str
    request: Json | None
    status: int | None
    headers: dict[str, str]
    kind: str
    """json, text, sse or sse_payload_lines."""
    text: str

    @property
    def streamed(self) -> bool:
        """Whether the response is a stream of events."""
        return self.kind.startswith("sse")

    @property
    def framed(self) -> str:
        """The body as text, with the framing that a recorder of payload lines had taken off."""
        if self.kind != "sse_payload_lines":
            return self.text
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.api == MESSAGES:
            return "".join(f"event: {_type_of(line)}\ndata: {line}\n\n" for line in lines)
        ended = bool(lines) and lines[-1].strip() == "[DONE]"
        return "".join(f"data: {line}\n\n" for line in [*lines, *([] if ended else ["[DONE]"])])

    @property
    def body(self) -> bytes:
        """The bytes that are served: verbatim, where the recorder kept them."""
        return self.framed.encode(errors="surrogatepass")


def read_exchanges(path: Path) -> Iterator[Exchange]:
    """The exchanges of a file in either form: recordings, or quoted error bodies."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                record = json.loads(line)
                yield _quoted(record) if "body_text" in record else _recorded(record)


def files_of(paths: list[Path]) -> list[Path]:
    """The files, and of each folder its JSON Lines files."""
    return [file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]


def _recorded(record: Json) -> Exchange:
    request, response = record.get("request") or {}, record["response"]
    body = response.get("body") or {}
    sent = request.get("json")
    return Exchange(
        id=record["id"],
        api=record["api"],
        provider=record.get("provider") or "",
        request=sent if isinstance(sent, dict) and isinstance(sent.get("messages"), list) else None,
        status=response.get("status"),
        headers={name: str(value) for name, value in (response.get("headers") or {}).items()},
        kind=body.get("kind") or "text",
        text=body.get("text") or "",
    )


def _quoted(record: Json) -> Exchange:
    in_stream = "SSE" in (record.get("where") or "")
    text, provider = record["body_text"], record.get("provider") or ""
    return Exchange(
        id=record["id"],
        api=MESSAGES if "anthropic" in provider else CHAT,
        provider=provider,
        request=None,
        status=record.get("status"),
        headers={},
        kind="sse_payload_lines" if in_stream else "json" if text.lstrip().startswith("{") else "text",
        text=text,
    )


def _type_of(payload: str) -> str:
    try:
        return str(json.loads(payload)["type"])
    except (ValueError, KeyError, TypeError):
        return "message"


class RecordedServer:
    """Answers every request with the exchange whose turn it is, byte for byte, and keeps what it was asked."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.status = 200
        self.asked: bytes | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """The address to which an API's path is appended."""
        app = web.Application(client_max_size=256 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked = await request.read()
        assert self.exchange is not None
        headers = {name: value for name, value in self.exchange.headers.items() if name.lower() not in NOT_SENT_AGAIN}
        if "content-type" not in map(str.lower, headers):
            headers["content-type"] = KINDS.get(self.exchange.kind, "text/event-stream")
        body = self.exchange.body
        if not self.exchange.streamed:
            return web.Response(status=self.status, headers=headers, body=body)
        response = web.StreamResponse(status=self.status, headers=headers)
        await response.prepare(request)
        for piece in pieces(body):
            await response.write(piece)
        await response.write_eof()
        return response


def pieces(body: bytes) -> Iterator[bytes]:
    """The body cut where no writer of events would cut it."""
    at, turn = 0, 0
    while at < len(body):
        size = SIZES[turn % len(SIZES)]
        yield body[at : at + size]
        at, turn = at + size, turn + 1
