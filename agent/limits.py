"""What a run may use up, and whether it has: the bounds of `Limits` held against the state. Pure."""

from collections.abc import Iterator
from datetime import timedelta

import orjson

from ledgent.schemas.events import RunLimited
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
    """How the run ends because its time is up."""
    left = seconds_left(state)
    if left is None or left > 0 or state.limits.seconds is None:
        return None
    bound = state.limits.seconds
    return RunLimited(limit="seconds", bound=bound, used=bound - left)


def seconds_left(state: RunState) -> float | None:
    """Until the run's deadline, seconds; None without one."""
    if state.limits.seconds is None or state.started_at is None or state.now is None:
        return None
    deadline = state.started_at + timedelta(seconds=state.limits.seconds)
    return (deadline - state.now).total_seconds()


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
            yield from map(_call, reversed(message.tool_calls))


def _idle_steps(state: RunState) -> int:
    """How many of the last rounds of tools brought nothing new: each call and its result had been there before."""
    seen = set[tuple[str, bytes, str, tuple[Part, ...]]]()
    idle, asked = 0, list[ToolRequest]()
    results = list[tuple[str, tuple[Part, ...]]]()
    for message in state.messages:
        if isinstance(message, ToolResult):
            results.append((message.text, message.parts))
            if len(results) == len(asked):
                found = {(*_call(call), *result) for call, result in zip(asked, results, strict=True)}
                idle = idle + 1 if found <= seen else 0
                seen |= found
        else:
            asked, results = list(message.tool_calls) if isinstance(message, Assistant) else [], []
            if isinstance(message, User):
                idle = 0
    return idle


def _call(request: ToolRequest) -> tuple[str, bytes]:
    """A tool call without what only names it: the same arguments in another order are the same call."""
    try:
        return request.name, orjson.dumps(orjson.loads(request.arguments), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return request.name, request.arguments.encode(errors="surrogatepass")
