"""What models behind an HTTP API share: one attempt per call, its deadline, its cost. Retries are the run's."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue, ValidationError

from ledgent.agent.models.allowance import allowance_of
from ledgent.agent.models.contents import refers_to_files, with_contents
from ledgent.agent.models.failures import is_error
from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.prices import Bill, Price, bill_at, price_of
from ledgent.agent.models.reading import parse
from ledgent.agent.models.streaming import EventData, Streamed
from ledgent.agent.models.windows import window_of
from ledgent.schemas.agents import CircuitPolicy, ModelSpec, RetryPolicy, Timeouts
from ledgent.schemas.errors import DeadlineKind, ErrorCode, ErrorInfo, UsageError
from ledgent.schemas.values import Usage

if TYPE_CHECKING:
    import aiohttp

    from ledgent.agent.models.http_wire import Service

OURS = frozenset({"model", "messages", "stream", "tools"})
"""Parts of a request that are not parameters."""

BLANK = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a body, a byte order mark among it."""

EVENTS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a body of server-sent events begins."""

NO_EVENTS = (b"{", b"[", b"<")
"""How a body begins that is none, whatever its content type says: JSON, or a page of HTML."""

LINGER_S = 0.2
"""How long the end of a streamed body is waited for once its answer is whole."""


class HttpModel(ABC):
    """A model by its name at the provider; see the subclasses for their servers, keys and formats.

    `parameters` go into each request as they are. `prices` replaces what the price table says, `context_window` what
    the table of windows says. Raises UsageError.
    """

    provider: ClassVar[str]
    reads_texts: ClassVar[bool] = False
    """Whether it takes a file of text as a file; else it is told as text."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        parameters: Mapping[str, JsonValue] | None = None,
        stream: bool = False,
        timeout_s: float = 120.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        prices: Price | None = None,
        provider: str | None = None,
        context_window: int | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
        circuit: CircuitPolicy | None = CircuitPolicy(),  # noqa: B008  # frozen
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrency: int | None = None,
    ) -> None:
        # What makes HTTP calls takes most of a second to import: only a program with such a model shall wait for it.
        from ledgent.agent.models.http_wire import Wire, address_fault

        fault = address_fault(base_url) if base_url else None
        ours = ", ".join(sorted(OURS & set(parameters or {})))
        if not name or fault or ours:
            raise UsageError(f"model {name!r}: {fault or (ours and f'{ours}: not parameters') or 'it has no name'}")
        try:
            self._spec = ModelSpec(
                provider=provider or self.provider,
                name=name,
                base_url=base_url,
                parameters=dict(parameters or {}),
                stream=stream,
                timeout_s=timeout_s,
                retry=retry,
                context_window=window_of(name) if context_window is None else context_window,
                timeouts=timeouts,
                circuit=circuit,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                concurrency=concurrency,
                price=prices or price_of(name),
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"model {name!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        self._own_price = prices
        self._price = self._spec.price
        self._service = self._find_service()
        self._wire = Wire(self._service, base_url, api_key, timeouts.connect_s)

    def __repr__(self) -> str:
        at = f", base_url={self._spec.base_url!r}" if self._spec.base_url else ""
        return f"{type(self).__name__}({self._spec.name!r}{at})"

    @property
    def spec(self) -> ModelSpec:
        """What a run freezes of it."""
        return self._spec

    def priced(self) -> bool:
        """Whether replies will carry their cost."""
        return self._price is not None

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        """The answer. Raises ModelFailure, and nothing else but asyncio.CancelledError and what a listener raises."""
        began = perf_counter()
        streamed = self._streamed(request.call_id, on_delta, lambda: (perf_counter() - began) * 1000)
        streamed.on_call = on_call
        try:
            async with asyncio.timeout(request.timeout_s):
                if refers_to_files(request):
                    request = request._replace(body=await with_contents(request, self.reads_texts))
                if self._spec.stream:
                    reply = await self._paced(request, streamed)
                else:
                    reply = await self._answer(request.body, streamed)
            return reply._replace(cost_usd=self._cost(streamed.bill))
        except ModelFailure as raised:
            error, allowance = raised.error, raised.allowance
        except TimeoutError:
            message = f"{self._wire.host} gave no whole answer within {request.timeout_s:g} s"
            error, allowance = ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline="call"), None
        # Raised anew, outside of the handlers: what the wire raised may quote the key, and shall not be chained to it.
        error = error.model_copy(update={"message": self._wire.without_key(error.message)})
        raise ModelFailure(error, streamed.bill.usage, self._cost(streamed.bill), allowance)

    async def aclose(self) -> None:
        """Closes the connections that the running event loop has open."""
        await self._wire.aclose()

    @abstractmethod
    def _find_service(self) -> "Service":
        """The API, imported no earlier than a model of it is made."""

    @abstractmethod
    def _streamed(
        self, call_id: str, on_delta: Callable[[Delta], None] | None, elapsed_ms: Callable[[], float]
    ) -> Streamed:
        """An empty answer of this format."""

    def _sent(self, body: bytes) -> tuple[bytes, Mapping[str, str]]:
        """What a chat-completions request is sent as, and with which further headers. Raises ModelFailure."""
        return body, {}

    def _parse(self, content: bytes) -> Any:
        """The value of an answer in one piece. Raises ModelFailure."""
        return parse(content)

    async def _paced(self, request: ModelRequest, streamed: Streamed) -> ModelReply:
        """The reply, its first piece and each further one in time. Raises ModelFailure."""
        allowed, begun = self._spec.timeouts, False

        def piece() -> None:
            nonlocal begun
            begun = True
            pace.reschedule(pace_time() + allowed.between_tokens_s * request.longer)

        pace_time = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(allowed.first_token_s * request.longer) as pace:
                return await self._answer(request.body, streamed, piece)
        except TimeoutError:
            if not pace.expired():
                raise
        kind: DeadlineKind = "between_tokens" if begun else "first_token"
        seconds = (allowed.between_tokens_s if begun else allowed.first_token_s) * request.longer
        message = (
            f"{self._wire.host} sent no {'further' if begun else 'first'} piece of its answer within {seconds:g} s"
        )
        raise ModelFailure(ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline=kind))

    async def _answer(self, body: bytes, streamed: Streamed, on_piece: Callable[[], None] = lambda: None) -> ModelReply:
        response = await self._wire.post(*self._sent(body))
        allowance = allowance_of(response.headers)
        # Not every server streams when asked to, and not every server only then.
        if self._spec.stream and "json" not in response.headers.get("content-type", ""):
            reply = await self._read_stream(response, streamed, on_piece)
        else:
            reply = self._read(response, await self._wire.content(response), streamed)
        return reply if allowance is None else reply._replace(allowance=allowance)

    def _read(self, response: "aiohttp.ClientResponse", content: bytes, streamed: Streamed) -> ModelReply:
        """The reply that a whole body holds, whatever its content type promises."""
        kind, begun = response.headers.get("content-type", ""), content[:100].lstrip(BLANK)
        if not begun.startswith(NO_EVENTS) and ("event-stream" in kind or begun.startswith(EVENTS)):
            events = EventData()
            for event in events.feed(content):
                streamed.add(*event)
            streamed.end(events.end())
            return streamed.reply()
        answer = self._parse(content)
        if is_error(answer):
            error = self._service.errors.of_answer(response.status, answer, response.headers, self._wire.host)
            raise ModelFailure(error)
        return streamed.whole(answer)

    async def _read_stream(
        self, response: "aiohttp.ClientResponse", streamed: Streamed, on_piece: Callable[[], None]
    ) -> ModelReply:
        events = EventData()
        unread: list[bytes] | None = []  # the body, until it has shown itself to be a stream
        broken: ModelFailure | None = None
        async with aclosing(self._wire.chunks(response)) as chunks:
            try:
                async for chunk in chunks:
                    on_piece()
                    for event in events.feed(chunk):
                        unread = None
                        streamed.add(*event)
                    if unread is not None:
                        unread.append(chunk)
                    if streamed.done:
                        await self._linger(chunks)
                        break
            except ModelFailure as failure:
                # The answer may be whole when the connection breaks: then it counts.
                if failure.error.code is not ErrorCode.CONNECTION:
                    raise
                broken = failure
        if unread is not None and b"".join(unread).lstrip(BLANK).startswith(NO_EVENTS):
            if broken:
                raise broken
            return self._read(response, b"".join(unread), streamed)
        streamed.end(events.end())
        return streamed.reply()

    async def _linger(self, chunks: AsyncIterator[bytes]) -> None:
        """Reads the body to its end, without which its connection cannot be used again."""
        try:
            async with asyncio.timeout(LINGER_S):
                async for _ in chunks:
                    pass
        except TimeoutError:
            pass  # a server that keeps the body open loses the connection instead

    def _cost(self, bill: Bill) -> float | None:
        """By our own price, else what the provider says, else by the price table."""
        if self._price is None or (bill.cost_usd is not None and self._own_price is None) or bill.usage == Usage():
            return bill.cost_usd
        return bill_at(self._price, bill)
