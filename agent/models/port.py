"""What a model is to the worker: one call in, one reply or one structured failure out. The port only."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from ledgent.agent.models.allowance import Allowance
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import ErrorInfo, LedgentError
from ledgent.schemas.ports import Blobs
from ledgent.schemas.values import Usage


class ModelRequest(NamedTuple):
    """One attempt of a model call."""

    call_id: str
    attempt: int
    body: bytes
    """The chat-completions request as JSON, byte for byte what the log's request digest was made of."""
    timeout_s: float
    """For the whole attempt, its stream included."""
    longer: int = 1
    """How many times the model's other time-outs the attempt gets."""
    blobs: Blobs | None = None
    """Where the bytes are that the body only refers to: `contents.py` puts them in, just before it is sent."""


class AskedTool(NamedTuple):
    """A tool call as the model asked for it."""

    provider_id: str
    name: str
    arguments: str
    """As the model wrote it: usually JSON, not always."""


class ModelReply(NamedTuple):
    """A complete answer."""

    text: str | None
    tool_calls: tuple[AskedTool, ...] = ()
    reasoning: str | None = None
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: the price of this model is not known."""
    finish_reason: str | None = None
    model: str | None = None
    response_id: str | None = None
    first_token_ms: float | None = None
    """Streamed calls only."""
    allowance: Allowance | None = None
    """What the provider says of its rate limits."""


class Delta(NamedTuple):
    """A piece of a streamed answer, or what a tool tells of its progress: provisional, never in the log."""

    call_id: str
    kind: Literal["text", "reasoning", "tool_arguments", "progress"]
    text: str
    so_far: str = ""
    """All of this kind that the attempt has said, this piece included; of progress the last. In `Agent.stream` only."""


class ModelFailure(LedgentError):
    """The attempt failed; the adapter has decided its code."""

    def __init__(
        self,
        error: ErrorInfo,
        usage: Usage | None = None,
        cost_usd: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage or Usage()
        """What the failed attempt is known to have used."""
        self.cost_usd = cost_usd
        self.allowance = allowance


class Model(Protocol):
    """A model of one provider."""

    @property
    def spec(self) -> ModelSpec:
        """What a run freezes of it."""
        ...

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        """The answer. Raises ModelFailure, and nothing else but asyncio.CancelledError.

        `on_call` is told of tool calls as soon as they are whole, in their order: the reply's `tool_calls` begin with
        them. A model that does not stream tells none.
        """
        ...

    def priced(self) -> bool:
        """Whether replies will carry their cost."""
        ...

    async def aclose(self) -> None:
        """Closes the connections that the running event loop has open."""
        ...
