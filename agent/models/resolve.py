"""From what names a model to the live model. Nothing of any provider is known here but its name."""

from ledgent.agent.models.port import Model
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import UsageError


def model_from(given: str | Model) -> Model:
    """The model itself, or the OpenAI-compatible one of that name. Raises UsageError."""
    if not isinstance(given, str):
        return given
    return model_for(ModelSpec(provider="openai", name=given))


def model_for(spec: ModelSpec) -> Model:
    """A live model as a run's frozen spec describes it; its key comes from OPENAI_API_KEY. Raises UsageError."""
    if spec.provider == "scripted":
        raise UsageError(
            f"the model {spec.name!r} is scripted: its turns are in the agent's code, not in the run; "
            "name the module that defines the agent: `--agents MODULE`"
        )
    if spec.provider != "openai":
        raise UsageError(
            f"no model of the provider {spec.provider!r} can be made from a run; "
            "name the module that defines the agent: `--agents MODULE`"
        )
    from ledgent.agent.models.openai import OpenAIModel

    return OpenAIModel(
        spec.name,
        base_url=spec.base_url,
        parameters=spec.parameters,
        stream=spec.stream,
        timeout_s=spec.timeout_s,
        retry=spec.retry,
        provider=spec.provider,
    )
