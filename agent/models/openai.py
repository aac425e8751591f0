"""A model behind any OpenAI-compatible chat-completions server. One attempt per call: retries are the run's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from ledgent.agent.models.openai_errors import error_of_answer, is_error
from ledgent.agent.models.openai_reply import parse, read_reply
from ledgent.agent.models.openai_stream import EventData, StreamedReply
from ledgent.agent.models.port import Delta, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.prices import Price, cost_at, price_of
from ledgent.schemas.agents import ModelSpec, RetryPolicy
from ledgent.schemas.errors import ErrorCode, ErrorInfo, UsageError
from ledgent.schemas.events import Usage

if TYPE_CHECKING:
    import aiohttp

OURS = frozenset({"model", "messages", "stream", "tools"})
"""Parts of a request that are not parameters."""

LINGER_S = 0.2
"""How long the end of a streamed body is waited for once its answer is whole."""


class OpenAIModel:
    """A model by its name at the provider.

    Without `base_url` the address is OPENAI_BASE_URL, or else OpenAI's own; without `api_key` the key is
    OPENAI_API_KEY, read when the first call is made. `parameters` go into each request as they are. `prices`
    replaces what the price table says. Raises UsageError.
    """

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
        provider: str = "openai",
    ) -> None:
        # The SDK takes most of a second to import: only a program that has such a model shall wait for it.
        from ledgent.agent.models.openai_wire import Wire, address_fault

        fault = address_fault(base_url) if base_url else None
        ours = ", ".join(sorted(OURS & set(parameters or {})))
        if not name or fault or ours:
            raise UsageError(f"model {name!r}: {fault or (ours and f'{ours}: not parameters') or 'it has no name'}")
        try:
            self._spec = ModelSpec(
                provider=provider,
                name=name,
                base_url=base_url,
                parameters=dict(parameters or {}),
                stream=stream,
                timeout_s=timeout_s,
                retry=retry,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"model {name!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        self._own_price = prices
        self._price = prices or price_of(name)
        self._wire = Wire(base_url, api_key)

    def __repr__(self) -> str:
        at = f", base_url={self._spec.base_url!r}" if self._spec.base_url else ""
        return f"OpenAIModel({self._spec.name!r}{at})"

    @property
    def spec(self) -> ModelSpec:
        """What a run freezes of it."""
        return self._spec

    def priced(self) -> bool:
        """Whether replies will carry their cost."""
        return self._price is not None

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None] | None = None) -> ModelReply:
        """The answer. Raises ModelFailure, and nothing else but asyncio.CancelledError and what `on_delta` raises."""
        began = perf_counter()
        streamed = StreamedReply(request.call_id, on_delta, lambda: (perf_counter() - began) * 1000)
        try:
            async with asyncio.timeout(request.timeout_s):
                reply = await self._answer(request.body, streamed)
            return reply._replace(cost_usd=self._cost(reply.usage, reply.cost_usd))
        except ModelFailure as raised:
            failure = raised
        except TimeoutError:
            message = f"{self._wire.host} gave no whole answer within {request.timeout_s:g} s"
            failure = ModelFailure(ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True))
        # Raised anew, outside of the handlers: what the SDK raised may quote the key, and shall not be chained to it.
        error = failure.error.model_copy(update={"message": self._wire.without_key(failure.error.message)})
        used = failure if failure.usage != Usage() else streamed
        raise ModelFailure(error, used.usage, self._cost(used.usage, used.cost_usd))

    async def _answer(self, body: bytes, streamed: StreamedReply) -> ModelReply:
        response = await self._wire.post(body)
        # Not every server streams when asked to, and not every server only then.
        kind = response.headers.get("content-type", "")
        if self._spec.stream and "json" not in kind:
            return await self._read_stream(response, streamed)
        content = await self._wire.content(response)
        if "event-stream" in kind:
            events = EventData()
            for data in events.feed(content):
                streamed.add(data)
            streamed.end(events.end())
            return streamed.reply()
        answer = parse(content)
        if is_error(answer):
            raise ModelFailure(error_of_answer(response.status, answer, response.headers, self._wire.host))
        return read_reply(answer)

    async def _read_stream(self, response: "aiohttp.ClientResponse", streamed: StreamedReply) -> ModelReply:
        events = EventData()
        async with aclosing(self._wire.chunks(response)) as chunks:
            try:
                async for chunk in chunks:
                    for data in events.feed(chunk):
                        streamed.add(data)
                    if streamed.done:
                        await self._linger(chunks)
                        break
            except ModelFailure as failure:
                # The answer may be whole when the connection breaks: then it counts.
                if failure.error.code is not ErrorCode.CONNECTION:
                    raise
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

    def _cost(self, usage: Usage, stated: float | None) -> float | None:
        """By our own price, else what the provider says, else by the price table."""
        if self._price is None or (stated is not None and self._own_price is None) or usage == Usage():
            return stated
        return cost_at(self._price, usage)

    async def aclose(self) -> None:
        """Closes the connections that the running event loop has open."""
        await self._wire.aclose()
