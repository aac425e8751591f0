"""What comes next in a run, from its state alone: the tool loop. Pure: no clock but `state.now`, no ids, no I/O."""

import difflib

from ledgent.agent.commands import AskApproval, AskUser, CallModel, CallTool, CheckOutput, Command, ReadMemory, Record
from ledgent.agent.context import after_last_failure, after_summary, model_call
from ledgent.agent.limits import before_model_call, before_tool_calls, out_of_time, tool_calls_left
from ledgent.agent.lost import given_up, interrupted, stopped
from ledgent.agent.policies.react import thought_in
from ledgent.agent.resilience.recovering import TOOL_RETRY, after_failed_model_call, paused
from ledgent.agent.reuse import may_be_made, not_made, reused, same_calls
from ledgent.agent.terminators import terminated
from ledgent.schemas.agents import AgentSpec, ToolSpec
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunLimited,
    RunSuspended,
    ToolCallRejected,
)
from ledgent.schemas.fallbacks import model_asked
from ledgent.schemas.remembered import query_of
from ledgent.schemas.state import Assistant, ModelCall, Phase, RunState, Status, SummaryCall, ToolCall

LONGEST_NAME = 200
"""Characters of an unknown tool's name that are compared and told."""

_BUSY = frozenset({Phase.RUNNING, Phase.WAITING})


def decide(state: RunState) -> tuple[Command, ...]:
    """The next commands; none before a run starts, while it waits, or after it ends."""
    agent = state.agent
    if state.status is not Status.RUNNING or agent is None:
        return ()
    taken_over = state.epoch > 1  # else no call was lost
    if taken_over and (lost := tuple(given_up(state, agent))):
        return lost
    if state.awaited:
        return _half_begun(state)
    if state.cancel_requested is not None:
        return _cancelled(state)
    if taken_over and (end := stopped(state)):
        return (Record(end),)
    if state.reading is not None:
        return ()
    if state.model_call is not None:
        return _about_model_call(state, agent, state.model_call)
    if state.unread is not None:
        return (Record(thought_in(state, agent)),)
    if state.tool_calls:
        return _about_tool_calls(state, agent)
    return _about_turn(state, agent)


def may_begin_early(state: RunState, agent: AgentSpec) -> bool:
    """Whether tool calls begin while the model is still answering: nothing stands between the answer and its calls."""
    return model_asked(state, agent).stream and agent.policy == "tool_loop" and state.limits.repeats is None


def _half_begun(state: RunState) -> tuple[Command, ...]:
    """Who began the run records what it shares with another; whoever takes it up after a crash cannot."""
    if state.epoch == 1:
        return ()
    message = "the process that restored it went away before all that it shares was recorded: restore it again"
    return (Record(RunFailed(error=interrupted(message))),)


def _cancelled(state: RunState) -> tuple[Command, ...]:
    running = [call.phase for call in (state.model_call, *state.tool_calls.values()) if call]
    if Phase.RUNNING in running or state.reading is not None:
        return ()
    return (Record(RunCancelled(reason=state.cancel_requested or "")),)


def _about_model_call(state: RunState, agent: AgentSpec, call: ModelCall) -> tuple[Command, ...]:
    if call.phase in _BUSY:
        return _about_tool_calls(state, agent) if state.tool_calls else ()
    if call.phase is Phase.DUE:
        return _ask_model(state, agent, call.call_id, call.attempt + 1)
    if isinstance(call, SummaryCall) and call.phase is Phase.SETTLED:
        return (after_summary(state, agent, call),)
    error = call.error or ErrorInfo(code=ErrorCode.INTERNAL, message="failed without an error")
    follows = after_failed_model_call(state, agent, call, error)
    if state.tool_calls:  # the next attempt is told what they gave
        if not isinstance(follows, Record) or not isinstance(follows.event, RunFailed):
            return _about_tool_calls(state, agent)
        if any(tool_call.phase is Phase.RUNNING for tool_call in state.tool_calls.values()):
            return ()
    if error.retryable and (late := out_of_time(state)):
        return (Record(late),)
    if isinstance(follows, CallModel):
        return _ask_model(state, agent, *follows)
    if isinstance(follows, Record) and isinstance(follows.event, RunFailed):
        return (after_last_failure(state, agent, call, error),)
    return (follows,)


def _about_tool_calls(state: RunState, agent: AgentSpec) -> tuple[Command, ...]:
    calls = state.tool_calls.values()
    answering = state.model_call is not None and state.model_call.phase is Phase.RUNNING
    at_work = answering or any(call.phase is Phase.RUNNING for call in calls)
    late = out_of_time(state)
    if late is not None:
        return () if at_work else (Record(late),)
    if all(call.attempt == 0 and call.phase is Phase.REQUESTED for call in calls) and (end := before_tool_calls(state)):
        return (Record(end),)
    commands: list[Command] = []
    left, held_back = tool_calls_left(state), False
    same = same_calls(state)
    for call_id, call in state.tool_calls.items():
        spec, new = agent.tool(call.request.name), call.attempt == 0
        if call.phase is Phase.REQUESTED and spec is None:
            commands.append(Record(_unknown(agent, call)))
        elif call_id in same and same[call_id].result is not None:
            commands.append(Record(reused(call.request, same[call_id])))
        elif call.phase is Phase.REQUESTED and spec is not None and not may_be_made(state, spec):
            commands.append(Record(not_made(call.request)))
        elif answering and spec is not None and _needs_whole_answer(spec) and call.phase is Phase.REQUESTED:
            continue
        elif call.phase is Phase.REQUESTED and spec is not None and spec.asks:
            commands.append(AskUser(call_id))
        elif call.phase in (Phase.REQUESTED, Phase.DUE) and new and left == 0:
            held_back = True
        elif call.phase is Phase.REQUESTED and spec is not None and spec.approval:
            commands.append(AskApproval(call_id))
        elif call.phase in (Phase.REQUESTED, Phase.DUE):
            commands.append(CallTool(call_id, call.attempt + 1))
            if left is not None and new:
                left -= 1
        elif call.phase is Phase.FAILED and call.error is not None:
            if call.error.code is ErrorCode.INTERRUPTED:
                commands.append(CallTool(call_id, call.attempt + 1))
            else:
                commands.append(paused(state, call_id, call.attempt, call.error, TOOL_RETRY))
    if answering or commands or any(call.phase in _BUSY for call in calls):
        return tuple(commands)
    if held_back:
        bound = state.limits.tool_calls or 0
        return (Record(RunLimited(limit="tool_calls", bound=bound, used=state.spent.tool_calls)),)
    asked = any(call.question is not None for call in calls)
    return (Record(RunSuspended(reason="answer" if asked else "approval")),)


def _needs_whole_answer(tool: ToolSpec) -> bool:
    """Whether a call waits until the model has said all: it may end the run, or put it to sleep."""
    return tool.approval or tool.asks or tool.ends_run


def _about_turn(state: RunState, agent: AgentSpec) -> tuple[Command, ...]:
    """Between calls: answered, limited, waiting for the user, or the model's turn."""
    if state.ending or state.end_requested:
        return (Record(RunCompleted(output=state.output)),)
    if agent.terminators and state.spent.steps and (end := terminated(state, agent.terminators)):
        return (Record(end),)
    answered = bool(state.messages) and isinstance(state.messages[-1], Assistant)
    if agent.output is not None:
        if answered and not state.checked:
            return (CheckOutput(state.rejected + 1),)
        if state.rejected >= agent.output.attempts:
            message = f"{state.rejected} answers in a row were no {agent.output.name}"
            return (Record(RunFailed(error=ErrorInfo(code=ErrorCode.INVALID_OUTPUT, message=message))),)
    if answered and not agent.conversational:
        return (Record(RunCompleted(output=state.output)),)
    if not state.messages and not agent.conversational:
        error = ErrorInfo(code=ErrorCode.INVALID_REQUEST, message=f"agent {agent.name} needs an input")
        return (Record(RunFailed(error=error)),)
    if answered or not state.messages:
        return (Record(RunSuspended(reason="input")),)
    return _ask_model(state, agent, f"m{state.numbered + state.spent.steps + 1}", 1)


def _ask_model(state: RunState, agent: AgentSpec, call_id: str, attempt: int) -> tuple[Command, ...]:
    """Unless the run has reached a bound: looked at before each attempt, so a run overruns by at most one call."""
    if end := before_model_call(state):
        return (Record(end),)
    if agent.memory is not None and (query := query_of(state)):
        return (ReadMemory(query),)
    return (model_call(state, agent, call_id, attempt),)


def _unknown(agent: AgentSpec, call: ToolCall) -> ToolCallRejected:
    names = [tool.name for tool in agent.tools]
    name = call.request.name[:LONGEST_NAME]
    nearest = tuple(difflib.get_close_matches(name, names, n=3, cutoff=0.5))
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else f"The tools are: {', '.join(names) or 'none'}."
    return ToolCallRejected(
        call_id=call.request.call_id,
        name=call.request.name,
        reason="unknown_tool",
        message=f"There is no tool named {name!r}. {hint}",
        suggestions=nearest,
    )
