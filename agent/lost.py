"""What becomes of calls whose process went away before their outcome was recorded. Pure."""

from collections.abc import Iterator

from ledgent.agent.commands import Record
from ledgent.agent.models.prices import cost_at
from ledgent.schemas.agents import AgentSpec, OnUncertain
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import ModelCallFailed, RunFailed, ToolCallFailed, ToolCallUncertain
from ledgent.schemas.fallbacks import model_in_use, models_of
from ledgent.schemas.sent import usage_guessed
from ledgent.schemas.state import Phase, RunState


def given_up(state: RunState, agent: AgentSpec) -> Iterator[Record]:
    """Each attempt gets an outcome."""
    call = state.model_call
    if call and call.phase is Phase.LOST:
        message = "the process that made this call went away before its answer was recorded; it may have been billed"
        model = models_of(agent)[model_in_use(state)]
        usage = usage_guessed(state, model)
        yield Record(
            ModelCallFailed(
                call_id=call.call_id,
                attempt=call.attempt,
                error=interrupted(message),
                maybe_usage=usage,
                maybe_cost_usd=cost_at(model.price, usage) if model.price else None,
            )
        )
    for call_id, tool_call in state.tool_calls.items():
        if tool_call.phase is not Phase.LOST:
            continue
        spec = agent.tool(tool_call.request.name)
        if spec and spec.idempotent:
            error = interrupted("the process that made this call went away before its result was recorded")
            yield Record(ToolCallFailed(call_id=call_id, attempt=tool_call.attempt, error=error))
        else:
            then = (spec and spec.on_uncertain) or agent.on_uncertain
            message = _told(then, tool_call.request.name)
            yield Record(ToolCallUncertain(call_id=call_id, attempt=tool_call.attempt, message=message, then=then))


def stopped(state: RunState) -> RunFailed | None:
    """The run's end, where a call may have happened and its agent goes on from there by no guess."""
    for call_id, call in state.tool_calls.items():
        if call.phase is Phase.FAILED and call.error and call.error.code is ErrorCode.UNCERTAIN:
            message = f"{call_id}: {call.error.message}"
            return RunFailed(error=call.error.model_copy(update={"message": message}))
    return None


def left_to_the_model(name: str, reason: str = "") -> str:
    """What the model is told of a call that may have happened."""
    repeated = f"It was not made again{f': {reason}' if reason else ''}. Check before you repeat it."
    return f"{_UNKNOWN.format(name=name)} {repeated}"


def interrupted(message: str) -> ErrorInfo:
    """The failure of what was cut short, and may be done again."""
    return ErrorInfo(code=ErrorCode.INTERRUPTED, message=message, retryable=True)


def _told(then: OnUncertain, name: str) -> str:
    match then:
        case "ask_model":
            return left_to_the_model(name)
        case "ask_person":
            return f"{_UNKNOWN.format(name=name)} {_ASKED}"
        case "stop":
            return f"{_UNKNOWN.format(name=name)} It was not made again."


_UNKNOWN = "The outcome of this call to {name} is unknown: it was interrupted, and it may or may not have taken effect."
_ASKED = (
    "Did it? If it did, answer with what it gave. If it did not, approve it, to have it made again. "
    "Deny it to leave that to the model."
)
