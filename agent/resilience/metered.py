"""A model whose answers tell the rate limits what the provider says of them. No waiting, no events."""

from collections.abc import Callable

from ledgent.agent.clock import Clock
from ledgent.agent.models.port import AskedTool, Delta, Model, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.resilience.rates import Rates
from ledgent.schemas.agents import ModelSpec


class Metered:
    """The model, for one call."""

    def __init__(self, model: Model, rates: Rates, tokens: int, clock: Clock) -> None:
        """`tokens`: what the call is thought to use."""
        self._model = model
        self._rates = rates
        self._tokens = tokens
        self._clock = clock

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    def priced(self) -> bool:
        return self._model.priced()

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        """As the model's."""
        try:
            reply = await self._model.complete(request, on_delta, on_call)
        except ModelFailure as failure:
            self._rates.learn(failure.allowance, failure.error, self._clock.monotonic())
            self._rates.settle(self._tokens, failure.usage)
            raise
        if reply.allowance is not None:
            self._rates.learn(reply.allowance, None, self._clock.monotonic())
        self._rates.settle(self._tokens, reply.usage)
        return reply

    async def aclose(self) -> None:
        await self._model.aclose()
