"""What a run may use up, and whether it has: the bounds of `Limits` held against the state. Pure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from ledgent.schemas.events import RunLimited
from ledgent.schemas.sharing import call_key
from ledgent.schemas.state import Assistant, RunState, ToolResult, User
from ledgent.schemas.values import Part, ToolRequest


def before_model_call(state: RunState) -> RunLimited | None:
    """How the run ends instead of a further attempt at a model call; None where it may go on."""
    limits, spent = state.limits, state.spent
    if limits.steps is not None and state.model_call is None and spent.steps >= limits.steps:
        return RunLimited(limit="steps", bound=limits.steps, used=spent.steps)
    if limits.tokens is not None and spent.tokens >= limits.tokens:
        return RunLimited(limit="tokens", bound=limits.tokens, used=spent.tokens)
    if limits.cost_usd is not None and spent.cost_usd >= limits.cost_usd:
        return RunLimited(limit="cost_usd", bound=limits.cost_usd, used=spent.cost_usd)
    if limits.idle_steps is not None and (idle := _idle_steps(state)) >= limits.idle_steps:
        return RunLimited(limit="idle_steps", bound=limits.idle_steps, used=idle)
    return out_of_time(state)


def before_tool_calls(state: RunState) -> RunLimited | None:
    """How the run ends instead of the tool calls that the model has just asked for, of which none has begun."""
    if state.limits.repeats is None:
        return None
    made = _repeated(state) - 1
    return RunLimited(limit="repeats", bound=state.limits.repeats, used=made) if made >= state.limits.repeats else None


def tool_calls_left(state: RunState) -> int | None:
    """How many more tool calls may begin; None without a bound."""
    bound = state.limits.tool_calls
    return None if bound is None else max(0, bound - state.spent.tool_calls)


def out_of_time(state: RunState) -> RunLimited | None:
    """How the run ends because its time, or its step's, is up."""
    ends = time_left(state)
    if ends is None or ends.left_s > 0:
        return None
    limit: Literal["seconds", "step_seconds"] = "seconds" if ends.of == "run" else "step_seconds"
    return RunLimited(limit=limit, bound=ends.bound_s, used=ends.bound_s - ends.left_s)


class TimeLeft(NamedTuple):
    """Until the nearer of the run's and the step's deadline."""

    left_s: float
    """Below 0: it has passed."""
    of: Literal["run", "step"]
    bound_s: float


def time_left(state: RunState) -> TimeLeft | None:
    """None without a deadline."""
    limits, now = state.limits, state.now
    if (limits.seconds is None and limits.step_seconds is None) or now is None:
        return None
    ends = list[TimeLeft]()
    if limits.seconds is not None and state.started_at is not None:
        left = state.started_at + timedelta(seconds=limits.seconds) - now
        ends.append(TimeLeft(left.total_seconds(), "run", limits.seconds))
    if limits.step_seconds is not None and state.step_at is not None and _within_step(state):
        left = state.step_at + timedelta(seconds=limits.step_seconds) - now
        ends.append(TimeLeft(left.total_seconds(), "step", limits.step_seconds))
    return min(ends, default=None)


def seconds_left(state: RunState) -> float | None:
    """Until the nearer deadline, seconds; None without one."""
    ends = time_left(state)
    return None if ends is None else ends.left_s


def _within_step(state: RunState) -> bool:
    """Whether a step is under way, or its last tool call has only just settled."""
    if state.model_call is not None or state.tool_calls:
        return True
    return bool(state.messages) and isinstance(state.messages[-1], ToolResult)


def seconds_used(state: RunState) -> float:
    """Since the run began, seconds; time asleep included."""
    if state.started_at is None or state.now is None:
        return 0.0
    return (state.now - state.started_at).total_seconds()


def _repeated(state: RunState) -> int:
    """How many of the last tool calls asked for are the same, since the user last spoke."""
    calls = _calls_backwards(state)
    last = next(calls, None)
    if last is None:
        return 0
    count = 1
    for call in calls:
        if call != last:
            break
        count += 1
    return count


def _calls_backwards(state: RunState) -> Iterator[tuple[str, bytes]]:
    for index in range(len(state.messages) - 1, -1, -1):
        message = state.messages[index]
        if isinstance(message, User):
            return
        if isinstance(message, Assistant):
            yield from map(call_key, reversed(message.tool_calls))


def _idle_steps(state: RunState) -> int:
    """How many of the last rounds of tools brought nothing new: each call and its result had been there before."""
    seen = set[tuple[str, bytes, str, tuple[Part, ...]]]()
    idle, asked = 0, list[ToolRequest]()
    results = list[tuple[str, tuple[Part, ...]]]()
    for message in state.messages:
        if isinstance(message, ToolResult):
            results.append((message.text, message.parts))
            if len(results) == len(asked):
                found = {(*call_key(call), *result) for call, result in zip(asked, results, strict=True)}
                idle = idle + 1 if found <= seen else 0
                seen |= found
        else:
            asked, results = list(message.tool_calls) if isinstance(message, Assistant) else [], []
            if isinstance(message, User):
                idle = 0
    return idle
