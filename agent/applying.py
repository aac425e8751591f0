"""What a request from outside means to a run: the event that it causes, or why it is refused. Pure."""

from ledgent.agent.lost import left_to_the_model
from ledgent.schemas.errors import RequestRefused
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    CheckpointSaved,
    MessageReceived,
    QuestionAnswered,
    RunCancelRequested,
    RunEndRequested,
)
from ledgent.schemas.requests import (
    AnswerQuestion,
    AnyRequest,
    ApproveCall,
    CancelRun,
    DenyCall,
    EndConversation,
    SaveCheckpoint,
    SendMessage,
    StartRun,
)
from ledgent.schemas.state import Phase, RunState


def refusal_of(request: AnyRequest, state: RunState) -> str | None:
    """Why the run cannot take the request; None when it can."""
    if isinstance(request, SendMessage) and state.agent is not None and not state.agent.conversational:
        return f"agent {state.agent.name} is not conversational: it takes no further message"
    if state.ended:
        return "the run has ended"
    if isinstance(request, ApproveCall | DenyCall | AnswerQuestion) and request.request_id not in state.applied:
        return _refused_by_its_call(request, state)
    return None


def _refused_by_its_call(request: ApproveCall | DenyCall | AnswerQuestion, state: RunState) -> str | None:
    call, answers = state.tool_calls.get(request.call_id), isinstance(request, AnswerQuestion)
    held = call is not None and call.phase is Phase.HELD
    if call is None or not held or not (call.uncertain or (call.question is not None) is answers):
        return f"no call {request.call_id} of this run waits for {'an answer' if answers else 'approval'}"
    if isinstance(request, AnswerQuestion) and call.choices and request.text not in call.choices:
        return f"{request.text!r:.200} is none of the answers to choose from: {', '.join(map(repr, call.choices))}"
    return None


def answer_to(state: RunState, request_id: str, text: str, call_id: str | None, by: str) -> AnswerQuestion:
    """The request that answers the run's one question, or the call's. Raises RequestRefused."""
    asking = [each for each, call in state.tool_calls.items() if call.question is not None]
    if call_id is None and len(asking) == 1:
        (call_id,) = asking
    if call_id is None and not state.ended:
        several = f"{', '.join(asking)} do: name the call" if asking else "none of its calls does"
        raise RequestRefused(f"run {state.run_id}: no single call waits for an answer: {several}")
    request = AnswerQuestion(request_id=request_id, run_id=state.run_id, call_id=call_id or "", text=text, by=by)
    if refusal := refusal_of(request, state):
        raise RequestRefused(f"run {state.run_id}: {refusal}")
    return request


def event_of(request: AnyRequest, state: RunState) -> AnyEvent | None:
    """What the request causes; None when it has caused it already, or began the run."""
    if request.request_id in state.applied:
        return None
    match request:
        case SendMessage(request_id=request_id, text=text, files=files):
            return MessageReceived(request_id=request_id, text=text, files=files)
        case EndConversation(request_id=request_id):
            return RunEndRequested(request_id=request_id)
        case CancelRun(request_id=request_id, reason=reason):
            return RunCancelRequested(request_id=request_id, reason=reason)
        case ApproveCall(request_id=request_id, call_id=call_id, by=by):
            return ApprovalGranted(request_id=request_id, call_id=call_id, by=by)
        case DenyCall(request_id=request_id, call_id=call_id, by=by, reason=reason):
            message = f"This call was not allowed{f': {reason}' if reason else ''}. It was not made."
            if state.tool_calls[call_id].uncertain:
                message = left_to_the_model(state.tool_calls[call_id].request.name, reason)
            return ApprovalDenied(request_id=request_id, call_id=call_id, by=by, message=message)
        case AnswerQuestion(request_id=request_id, call_id=call_id, text=text, by=by):
            return QuestionAnswered(request_id=request_id, call_id=call_id, text=text, by=by)
        case SaveCheckpoint(request_id=request_id, name=name):
            return CheckpointSaved(request_id=request_id, name=name)
        case StartRun():
            return None
