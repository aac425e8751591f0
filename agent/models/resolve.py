"""From what names a model to the live model. Nothing of any provider is known here but its name."""

from typing import TYPE_CHECKING

from ledgent.agent.models.port import Model
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import UsageError

if TYPE_CHECKING:
    from ledgent.agent.models.http_model import HttpModel


ANTHROPIC = "anthropic:"
"""Before a model's name: it is asked in Anthropic's format."""


def model_from(given: str | Model) -> Model:
    """The model itself; or that of a name: Anthropic's after ANTHROPIC, else OpenAI-compatible. Raises UsageError."""
    if not isinstance(given, str):
        return given
    if given.startswith(ANTHROPIC):
        return model_for(ModelSpec(provider="anthropic", name=given.removeprefix(ANTHROPIC)))
    return model_for(ModelSpec(provider="openai", name=given))


def model_for(spec: ModelSpec) -> Model:
    """A live model as a run's frozen spec describes it; its key comes from the environment. Raises UsageError."""
    if spec.provider == "scripted":
        raise UsageError(
            f"the model {spec.name!r} is scripted: its turns are in the agent's code, not in the run; "
            "name the module that defines the agent: `--agents MODULE`"
        )
    make = _makers().get(spec.provider)
    if make is None:
        raise UsageError(
            f"no model of the provider {spec.provider!r} can be made from a run; "
            "name the module that defines the agent: `--agents MODULE`"
        )
    return make(
        spec.name,
        base_url=spec.base_url,
        parameters=spec.parameters,
        stream=spec.stream,
        timeout_s=spec.timeout_s,
        retry=spec.retry,
        context_window=spec.context_window,
        timeouts=spec.timeouts,
        circuit=spec.circuit,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
        concurrency=spec.concurrency,
    )


def _makers() -> dict[str, "type[HttpModel]"]:
    from ledgent.agent.models.anthropic import AnthropicModel
    from ledgent.agent.models.openai import OpenAIModel

    return {"openai": OpenAIModel, "anthropic": AnthropicModel}
