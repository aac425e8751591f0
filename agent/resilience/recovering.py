"""What follows from a failed call: the rows of the recovery table as commands. Pure."""

from ledgent.agent.commands import CallModel, Record, ScheduleRetry
from ledgent.agent.limits import seconds_left
from ledgent.schemas.agents import AgentSpec, RetryPolicy
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import ModelFellBack, RunFailed
from ledgent.schemas.fallbacks import model_in_use, models_of
from ledgent.schemas.recovery import recovery_of
from ledgent.schemas.state import ModelCall, RunState

TOOL_RETRY = RetryPolicy()
"""The pauses between a tool's attempts; how many there are is the tool's own."""
LONGEST_PAUSE_S = 86_400.0
"""Between two attempts, whatever the other side asked for: it may write any number."""
MOST_DOUBLINGS = 100
"""Of a pause's bound; far beyond any that is waited for, and within what a float holds."""
MOST_LONGER = 4
"""How many times its time-out an attempt gets at most, after others have run into it."""


def after_failed_model_call(
    state: RunState, agent: AgentSpec, call: ModelCall, error: ErrorInfo
) -> CallModel | ScheduleRetry | Record:
    """What the recovery table says; a row of the agent's own holds even where the adapter sees no hope."""
    row = recovery_of(error.code, agent.recovery)
    models = models_of(agent)
    index = model_in_use(state)
    retry = models[index].retry
    further = row.then == "fall_back" and call.models < len(models)
    hopeful = error.retryable or row in agent.recovery
    at_an_end = row.again in ("never", "shorter") or not hopeful or call.attempt - call.first + 1 >= retry.attempts
    if further and (at_an_end or row.again == "if_last"):
        following = (index + 1) % len(models)
        return Record(
            ModelFellBack(
                call_id=call.call_id,
                attempt=call.attempt + 1,
                from_model=models[index].name,
                to_model=models[following].name,
                index=following,
                reason=error.code,
            )
        )
    if at_an_end:
        return Record(RunFailed(error=error))
    if row.again == "at_once":
        return CallModel(call.call_id, call.attempt + 1)
    return paused(state, call.call_id, call.attempt, error, retry, call.first)


def paused(
    state: RunState, call_id: str, attempt: int, error: ErrorInfo, policy: RetryPolicy, first: int = 1
) -> ScheduleRetry:
    """Anything up to a bound that doubles ("full jitter"), not less than was asked for, not past the run's deadline."""
    least = min(max(error.retry_after_s or 0.0, 0.0), LONGEST_PAUSE_S)
    most = max(least, min(policy.max_s, policy.first_s * 2.0 ** min(attempt - first, MOST_DOUBLINGS)))
    if (left := seconds_left(state)) is not None:
        least, most = min(least, max(left, 0.0)), min(most, max(left, 0.0))
    return ScheduleRetry(call_id, attempt + 1, least, most, error.code)


def longer(state: RunState, agent: AgentSpec) -> int:
    """How many times its time-outs the next attempt gets: twice as many after each that ran into one, within bounds."""
    timeouts = state.model_call.timeouts if state.model_call else 0
    if not timeouts or recovery_of(ErrorCode.TIMEOUT, agent.recovery).again != "longer":
        return 1
    return min(1 << timeouts, MOST_LONGER)
