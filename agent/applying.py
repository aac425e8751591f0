"""What a request from outside means to a run: the event that it causes, or why it is refused. Pure."""

from ledgent.schemas.events import (
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    MessageReceived,
    RunCancelRequested,
    RunEndRequested,
)
from ledgent.schemas.requests import (
    AnyRequest,
    ApproveCall,
    CancelRun,
    DenyCall,
    EndConversation,
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
    if isinstance(request, ApproveCall | DenyCall) and request.request_id not in state.applied:
        call = state.tool_calls.get(request.call_id)
        if call is None or call.phase is not Phase.HELD:
            return f"no call {request.call_id} of this run waits for approval"
    return None


def event_of(request: AnyRequest, state: RunState) -> AnyEvent | None:
    """What the request causes; None when it has caused it already, or began the run."""
    if request.request_id in state.applied:
        return None
    match request:
        case SendMessage(request_id=request_id, text=text):
            return MessageReceived(request_id=request_id, text=text)
        case EndConversation(request_id=request_id):
            return RunEndRequested(request_id=request_id)
        case CancelRun(request_id=request_id, reason=reason):
            return RunCancelRequested(request_id=request_id, reason=reason)
        case ApproveCall(request_id=request_id, call_id=call_id, by=by):
            return ApprovalGranted(request_id=request_id, call_id=call_id, by=by)
        case DenyCall(request_id=request_id, call_id=call_id, by=by, reason=reason):
            message = f"This call was not allowed{f': {reason}' if reason else ''}. It was not made."
            return ApprovalDenied(request_id=request_id, call_id=call_id, by=by, message=message)
        case StartRun():
            return None
