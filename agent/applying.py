"""What a request from outside means to a run: the event that it causes, or why it is refused. Pure."""

from ledgent.schemas.events import AnyEvent, MessageReceived, RunCancelRequested, RunEndRequested
from ledgent.schemas.requests import AnyRequest, CancelRun, EndConversation, SendMessage, StartRun
from ledgent.schemas.state import RunState


def refusal_of(request: AnyRequest, state: RunState) -> str | None:
    """Why the run cannot take the request; None when it can."""
    if isinstance(request, SendMessage) and state.agent is not None and not state.agent.conversational:
        return f"agent {state.agent.name} is not conversational: it takes no further message"
    return "the run has ended" if state.ended else None


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
        case StartRun():
            return None
