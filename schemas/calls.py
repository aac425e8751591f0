"""How the events of model and tool calls change a run's state. Pure; the other reducers are in run.py.

Each reducer returns the fields that change, by name.
"""

from typing import Any

from msgspec.structs import replace

from ledgent.schemas import sent, waits
from ledgent.schemas.codec import Envelope
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    OutputAccepted,
    OutputRejected,
    QuestionAnswered,
    QuestionAsked,
    ThoughtRecorded,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.persistent import PersistentList
from ledgent.schemas.sharing import left_after
from ledgent.schemas.state import (
    Assistant,
    Message,
    ModelCall,
    Phase,
    RunState,
    Spent,
    Status,
    SummaryCall,
    ToolCall,
    ToolResult,
    User,
)
from ledgent.schemas.values import Part, Usage

Changes = dict[str, Any]

# In Python 3.11 looking a member up in its class costs 0.1 us, which folds feel.
NOTHING = Usage()
REQUESTED, RUNNING, SETTLED = Phase.REQUESTED, Phase.RUNNING, Phase.SETTLED


def model_call_started(state: RunState, event: ModelCallStarted, envelope: Envelope) -> Changes:
    call = state.model_call
    changes = waits.begun(state, envelope) if call is None else {}
    if event.purpose == "summary":
        return changes | sent.summary_started(state, event)
    if call is None:
        changes["model_call"] = ModelCall(event.call_id, event.attempt)
    else:  # a further attempt, or one that had to wait
        changes["model_call"] = sent.started_again(call, event.attempt)
    if event.attempt == 1:
        changes["spent"] = replace(state.spent, steps=state.spent.steps + 1)
    return changes


def model_call_tool_requested(state: RunState, event: ModelCallToolRequested, _: Envelope) -> Changes:
    if state.model_call is None:
        raise TypeError("no model call is under way")
    call = replace(state.model_call, asked=state.model_call.asked + 1)
    return {"model_call": call, "tool_calls": {**state.tool_calls, event.request.call_id: ToolCall(event.request)}}


def model_call_completed(state: RunState, event: ModelCallCompleted, _: Envelope) -> Changes:
    spent = _with_usage(state.spent, event.usage, event.cost_usd)
    if isinstance(state.model_call, SummaryCall):
        return {"model_call": replace(state.model_call, phase=SETTLED, text=event.text), "spent": spent}
    messages = state.messages.append(Assistant(event.text, event.tool_calls))
    begun = state.tool_calls
    calls = {request.call_id: begun.get(request.call_id) or ToolCall(request) for request in event.tool_calls}
    changes: Changes = {
        "model_call": None,
        "context": sent.answered(state, event),
        "spent": spent,
        "output": event.text,
        "checked": False,
        "tool_calls": calls,
    }
    agent = state.agent
    if agent is not None and agent.policy == "react" and (agent.text_protocol or event.tool_calls):
        changes["unread"] = event.call_id
    elif state.inbox and not event.tool_calls:
        messages = messages.append(*state.inbox)
        changes["inbox"] = ()
    changes["messages"] = messages
    return changes | _joined(state, messages, calls) if begun else changes


def model_call_failed(state: RunState, event: ModelCallFailed, _: Envelope) -> Changes:
    call = state.model_call or ModelCall(event.call_id)
    timeouts = call.timeouts + (event.error.code is ErrorCode.TIMEOUT)
    failed = replace(call, attempt=event.attempt, phase=Phase.FAILED, error=event.error, timeouts=timeouts)
    spent = _with_usage(state.spent, event.usage, event.cost_usd)
    if event.maybe_usage != NOTHING:
        maybe = event.maybe_usage.input_tokens + event.maybe_usage.output_tokens
        maybe_cost_usd = spent.maybe_cost_usd + (event.maybe_cost_usd or 0.0)
        spent = replace(spent, maybe_tokens=spent.maybe_tokens + maybe, maybe_cost_usd=maybe_cost_usd)
    changes: Changes = {"model_call": failed, "spent": spent}
    if state.tool_calls:
        # What has not begun is dropped: nobody knows how the answer would have gone on.
        begun = {call_id: call for call_id, call in state.tool_calls.items() if call.phase is not REQUESTED}
        changes |= _cut_short(state, begun)
    return changes


def thought_recorded(state: RunState, event: ThoughtRecorded, _: Envelope) -> Changes:
    changes: Changes = {"unread": None}
    if event.answer is not None:
        changes["output"] = event.answer
    if event.action is not None:
        changes["tool_calls"] = {event.action.call_id: ToolCall(event.action)}
    elif state.inbox and not state.tool_calls:
        changes |= {"messages": state.messages.append(*state.inbox), "inbox": ()}
    return changes


def output_accepted(state: RunState, event: OutputAccepted, _: Envelope) -> Changes:
    return {"checked": True, "rejected": 0, "output": event.output}


def output_rejected(state: RunState, event: OutputRejected, _: Envelope) -> Changes:
    messages = state.messages.append(User(event.message))
    # No user said it: memory is not read for it.
    return {"rejected": event.attempt, "messages": messages, "recalled": len(messages)}


def tool_call_started(state: RunState, event: ToolCallStarted, _: Envelope) -> Changes:
    call = ToolCall(state.tool_calls[event.call_id].request, event.attempt, RUNNING)
    spent = state.spent
    if event.attempt == 1:
        spent = replace(spent, tool_calls=spent.tool_calls + 1)
    changes: Changes = {"tool_calls": {**state.tool_calls, event.call_id: call}, "spent": spent}
    return changes | _begun(state, event.call_id)


def tool_call_completed(state: RunState, event: ToolCallCompleted, _: Envelope) -> Changes:
    changes = _settled(state, event.call_id, event.result, event.files)
    if event.whole is not None:
        changes["wholes"] = {**state.wholes, event.call_id: event.whole}
    return changes | _ending(state, event.call_id, event.result)


def tool_call_failed(state: RunState, event: ToolCallFailed, _: Envelope) -> Changes:
    call = state.tool_calls[event.call_id]
    if not tool_may_retry(state, call, event.error):
        return _settled(state, event.call_id, event.error.message)
    failed = replace(call, phase=Phase.FAILED, error=event.error)
    return {"tool_calls": {**state.tool_calls, event.call_id: failed}}


def tool_call_rejected(state: RunState, event: ToolCallRejected, _: Envelope) -> Changes:
    return _settled(state, event.call_id, event.message) | _begun(state, event.call_id)


def tool_call_reused(state: RunState, event: ToolCallReused, _: Envelope) -> Changes:
    changes = _settled(state, event.call_id, event.result, event.files)
    changes["recorded"] = tuple(call for call in state.recorded if call.call_id != event.reused_from)
    if event.whole is not None:  # the text that the model is told names the other run's call
        changes["wholes"] = {**state.wholes, event.reused_from: event.whole}
    return changes | _ending(state, event.call_id, event.result) if event.completed else changes


def tool_call_uncertain(state: RunState, event: ToolCallUncertain, _: Envelope) -> Changes:
    if event.then == "ask_model":
        return _settled(state, event.call_id, event.message)
    call = state.tool_calls[event.call_id]
    if event.then == "ask_person":
        call = replace(call, phase=Phase.HELD, question=event.message)
    else:
        call = replace(call, phase=Phase.FAILED, error=ErrorInfo(code=ErrorCode.UNCERTAIN, message=event.message))
    return {"tool_calls": {**state.tool_calls, event.call_id: call}}


def approval_requested(state: RunState, event: ApprovalRequested, _: Envelope) -> Changes:
    return _now(state, event.call_id, Phase.HELD) | _begun(state, event.call_id)


def approval_granted(state: RunState, event: ApprovalGranted, envelope: Envelope) -> Changes:
    applied = {"applied": state.applied.append(event.request_id), "step_at": envelope.at, **awake(state)}
    return {**applied, **_now(state, event.call_id, Phase.DUE)}


def approval_denied(state: RunState, event: ApprovalDenied, envelope: Envelope) -> Changes:
    applied = {"applied": state.applied.append(event.request_id), "step_at": envelope.at, **awake(state)}
    return {**applied, **_settled(state, event.call_id, event.message)}


def question_asked(state: RunState, event: QuestionAsked, _: Envelope) -> Changes:
    asking = replace(state.tool_calls[event.call_id], phase=Phase.HELD, question=event.question, choices=event.choices)
    return {"tool_calls": {**state.tool_calls, event.call_id: asking}, **_begun(state, event.call_id)}


def question_answered(state: RunState, event: QuestionAnswered, envelope: Envelope) -> Changes:
    applied = {"applied": state.applied.append(event.request_id), "step_at": envelope.at, **awake(state)}
    return {**applied, **_settled(state, event.call_id, event.text), **_ending(state, event.call_id, event.text)}


def tool_may_retry(state: RunState, call: ToolCall, error: ErrorInfo) -> bool:
    """Whether a failed tool call is made again: only a tool declared idempotent, and not once a cancel is asked for."""
    spec = state.agent.tool(call.request.name) if state.agent else None
    if spec is None or not spec.idempotent or state.cancel_requested is not None:
        return False
    if error.code is ErrorCode.INTERRUPTED:
        return True
    return error.retryable and call.attempt < spec.attempts


def lost(state: RunState) -> Changes:
    """What was running when another writer took the run up has no known outcome."""
    changes: Changes = {"reading": None}
    if state.model_call and state.model_call.phase is RUNNING:
        changes["model_call"] = replace(state.model_call, phase=Phase.LOST)
    running = {
        call_id: replace(call, phase=Phase.LOST) for call_id, call in state.tool_calls.items() if call.phase is RUNNING
    }
    if running:
        changes["tool_calls"] = {**state.tool_calls, **running}
    return changes


def awake(state: RunState) -> Changes:
    """A suspended run goes on."""
    return {"status": Status.RUNNING, "suspended": None} if state.status is Status.SUSPENDED else {}


def _begun(state: RunState, call_id: str) -> Changes:
    """What is left of the other run's calls once this one is no longer only asked for."""
    call = state.tool_calls[call_id]
    return {"recorded": left_after(state.recorded, call.request)} if state.recorded and call.phase is REQUESTED else {}


def _ending(state: RunState, call_id: str, result: str) -> Changes:
    """Whether the tool that returned ends the run."""
    ends = state.ending_tools and state.tool_calls[call_id].request.name in state.ending_tools
    return {"ending": True, "output": result} if ends else {}


def _now(state: RunState, call_id: str, phase: Phase) -> Changes:
    return {"tool_calls": {**state.tool_calls, call_id: replace(state.tool_calls[call_id], phase=phase)}}


def _settled(state: RunState, call_id: str, answer: str, parts: tuple[Part, ...] = ()) -> Changes:
    """The call is settled; with the last one, all answers join the messages."""
    call = state.tool_calls[call_id]
    settled = ToolCall(call.request, call.attempt, SETTLED, None, answer, parts=parts)
    calls = {**state.tool_calls, call_id: settled}
    if state.model_call is None:
        return _joined(state, state.messages, calls)
    # The answers follow on the one that asks for them: it must be whole, or be known to have failed.
    return {"tool_calls": calls} if state.model_call.phase is RUNNING else _cut_short(state, calls)


def _cut_short(state: RunState, calls: dict[str, ToolCall]) -> Changes:
    """Of an answer that failed, the calls that had begun stand for it."""
    said = Assistant(None, tuple(call.request for call in calls.values()))
    return _joined(state, state.messages, calls, said) if calls else {"tool_calls": calls}


def _joined(
    state: RunState, messages: PersistentList[Message], calls: dict[str, ToolCall], *asking: Message
) -> Changes:
    """The calls; once all are settled, what they gave joins the messages in the order of the calls."""
    answers = list(asking)
    for call in calls.values():
        if call.phase is not SETTLED:
            return {"tool_calls": calls}
        answers.append(ToolResult(call.request.provider_id, call.answer or "", call.parts))
    if state.inbox:
        answers += state.inbox
    return {"tool_calls": {}, "messages": messages.append(*answers), "inbox": ()}


def _with_usage(spent: Spent, usage: Usage, cost_usd: float | None) -> Spent:
    return replace(
        spent,
        input_tokens=spent.input_tokens + usage.input_tokens,
        output_tokens=spent.output_tokens + usage.output_tokens,
        cached_tokens=spent.cached_tokens + usage.cached_tokens,
        reasoning_tokens=spent.reasoning_tokens + usage.reasoning_tokens,
        cost_usd=spent.cost_usd + (cost_usd or 0.0),
    )
