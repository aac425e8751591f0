"""Bad days for an agent to be tried on: a part of its calls fails, chosen by a seed. Around models and tools only.

What is injected goes the way of a real fault: the same events, the same retries, the same ends. Only the message of the
error tells, since it begins with `injected`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from ledgent.agent.models.port import AskedTool, Delta, Model, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.spec import Definition
from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import Tool
from ledgent.agent.tools.places import Turn
from ledgent.agent.tools.results import Output
from ledgent.agent.tools.toolkit import tools_of
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import ErrorCode, ErrorInfo, ToolError, UsageError
from ledgent.schemas.recovery import RETRYABLE

HANG = "hang"
"""No answer, until the call's own time is up."""
LOST = "lost"
"""The call is made and has its effect, but its answer does not come back."""
KINDS = (
    HANG,
    LOST,
    *("rate_limited", "quota_exhausted", "context_overflow", "timeout", "connection", "server_error"),
    *("auth", "invalid_request", "content_filtered", "malformed_response", "tool_error"),
)
USUAL = ("rate_limited", "server_error", "timeout", "connection")
"""What passes by itself."""
RETRY_AFTER_S = 0.5
"""The wait that an injected rate limit asks for."""
_FOREVER_S = 86_400.0

A = TypeVar("A", bound=Definition)


class Faults:
    """So much of all calls fails, in these ways: `Faults(rate=0.3, kinds=("rate_limited", "hang"), seed=7)`.

    Which calls they are depends on the seed and on what each asks for, not on time or on how many runs there are: the
    same run meets the same faults again. A kind that is named twice comes twice as often. Raises UsageError.
    """

    def __init__(self, rate: float = 0.2, kinds: Sequence[str] = USUAL, seed: int = 0) -> None:
        if not 0.0 <= rate <= 1.0:
            raise UsageError(f"the rate of faults is {rate:g}, and must be from 0 to 1")
        if not kinds or not set(kinds) <= set(KINDS):
            wrong = ", ".join(sorted(set(kinds) - set(KINDS))) or "none"
            raise UsageError(f"there is no kind of fault {wrong}; there are {', '.join(KINDS)}")
        self.rate = rate
        self.kinds = tuple(kinds)
        self.seed = seed

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `rate=0.3,kinds=rate_limited+hang,seed=7` says; what it leaves out is as usual. Raises UsageError."""
        given: dict[str, Any] = {}
        readers: dict[str, Callable[[str], Any]] = {"rate": float, "kinds": lambda names: names.split("+"), "seed": int}
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            try:
                given[name] = readers[name](value)
            except (KeyError, ValueError):
                raise UsageError(
                    f"--faults {text}: {part!r} is not understood; write it as rate=0.3,kinds=rate_limited+hang,seed=7"
                ) from None
        return cls(**given)

    def __repr__(self) -> str:
        return f"Faults(rate={self.rate:g}, kinds={self.kinds!r}, seed={self.seed})"

    def agent(self, agent: A) -> A:
        """The agent, its model and all its tools with these faults."""
        tools = [self.tool(tool) for tool in tools_of(agent.tools)]
        return agent.but(model=self.model(agent.live_model), tools=tools)

    def model(self, model: Model) -> "FaultyModel":
        """The model with these faults."""
        return FaultyModel(model, self)

    def tool(self, tool: Tool) -> "FaultyTool":
        """The tool with these faults; it must not be renamed after."""
        return FaultyTool(tool, self)

    def of(self, *asked: object) -> str | None:
        """The fault that a call meets; None: it goes well."""
        digest = hashlib.sha256(repr((self.seed, *asked)).encode(errors="surrogatepass")).digest()
        if int.from_bytes(digest[:8]) >= self.rate * 2**64:
            return None
        return self.kinds[int.from_bytes(digest[8:16]) % len(self.kinds)]


class FaultyModel:
    """A model of which some calls fail."""

    def __init__(self, model: Model, faults: Faults) -> None:
        self._model = model
        self._faults = faults

    @property
    def spec(self) -> ModelSpec:
        """The model's own."""
        return self._model.spec

    def priced(self) -> bool:
        """Whether the model is."""
        return self._model.priced()

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        """The answer, or a fault. Raises ModelFailure, and nothing else but asyncio.CancelledError."""
        kind = self._faults.of(request.call_id, request.attempt, request.body)
        if kind in (None, ErrorCode.TOOL_ERROR):
            return await self._model.complete(request, on_delta, on_call)
        if kind == HANG:
            await asyncio.sleep(min(request.timeout_s, _FOREVER_S))
            raise ModelFailure(_error(ErrorCode.TIMEOUT, f"no answer within {request.timeout_s:g} s"))
        if kind == LOST:
            reply = await self._model.complete(request, on_delta, on_call)
            error = _error(ErrorCode.CONNECTION, "the answer was lost on its way")
            raise ModelFailure(error, reply.usage, reply.cost_usd)
        raise ModelFailure(_error(ErrorCode(kind), kind))

    async def aclose(self) -> None:
        """Closes the model."""
        await self._model.aclose()


class FaultyTool(Tool):
    """A tool of which some calls fail."""

    def __init__(self, tool: Tool, faults: Faults) -> None:
        self.__dict__.update(vars(tool))  # its places are the tool's own
        self._tool = tool
        self._faults = faults

    async def call(self, arguments: dict[str, Any], context: ToolContext, turn: Turn | None = None) -> Output:
        """As `Tool.call`, or a fault."""
        kind = self._faults.of(context.call_id, context.attempt, self.spec.name, sorted(arguments.items()))
        if kind in (None, LOST):
            result = await self._tool.call(arguments, context, turn)
            if kind is None:
                return result
            raise ConnectionError("injected: the call was made, and its answer was lost on its way")
        try:
            if kind == HANG:
                await asyncio.sleep(_FOREVER_S)
        finally:
            if turn is not None:
                turn.end()
        if kind == ErrorCode.TOOL_ERROR:
            raise ToolError("injected: the tool says no")
        raise ConnectionError(f"injected: {kind}")


def _error(code: ErrorCode, message: str) -> ErrorInfo:
    after_s = RETRY_AFTER_S if code is ErrorCode.RATE_LIMITED else None
    return ErrorInfo(code=code, message=f"injected: {message}", retryable=code in RETRYABLE, retry_after_s=after_s)
