"""Which of an agent's models is asked: the first, or the one that a run fell back to a short while ago. Pure."""

from ledgent.schemas.agents import AgentSpec, ModelSpec
from ledgent.schemas.state import RunState


def models_of(agent: AgentSpec) -> tuple[ModelSpec, ...]:
    """The agent's model and its fallbacks."""
    return (agent.model, *agent.fallbacks)


def model_asked(state: RunState, agent: AgentSpec) -> ModelSpec:
    """The model that the next attempt goes to."""
    index = model_in_use(state)
    return agent.fallbacks[index - 1] if index else agent.model


def model_in_use(state: RunState) -> int:
    """Which of `models_of` the next attempt goes to: within a call the last one fallen back to.

    A new call goes to it too until `fallback_s` have passed since, and then to the first again.
    """
    fallen = state.fell_back
    if fallen is None or (state.model_call is None and state.now is not None and state.now >= fallen.until):
        return 0
    return fallen.index
