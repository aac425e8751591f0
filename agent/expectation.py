"""What an event has to say where a command was decided: the fields that the command and the state fix. Pure."""

from typing import Any

from ledgent.agent.commands import (
    AskApproval,
    AskSummary,
    AskUser,
    CallModel,
    CallTool,
    CheckOutput,
    Command,
    ReadMemory,
    Record,
    ScheduleRetry,
)
from ledgent.agent.render import Renderers, request_digest
from ledgent.agent.tools.asking import question_in
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalRequested,
    MemoryReadStarted,
    ModelCallStarted,
    OutputAccepted,
    OutputRejected,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    ToolCallRejected,
    ToolCallStarted,
)
from ledgent.schemas.state import RunState


class Expectation:
    """Of one run's commands; keeps what has been rendered of its requests."""

    def __init__(self) -> None:
        self._renderers = Renderers()

    def fields(self, state: RunState, command: Command, event: AnyEvent) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields that the command fixes, and the event's; nothing found where the event is of another kind."""
        found = dict(event)
        match command, event:
            case Record(decided), _ if decided.type == event.type:
                return dict(decided), found
            case CallModel(call_id, attempt), ModelCallStarted():
                return {"call_id": call_id, "attempt": attempt, **self._asked(state, None)}, found
            case AskSummary(call_id, attempt, upto), ModelCallStarted():
                return {"call_id": call_id, "attempt": attempt, **self._asked(state, upto)}, found
            case CallModel(call_id, attempt), RateLimitWaited():
                return {"call_id": call_id, "attempt": attempt, "upto": None}, found
            case AskSummary(call_id, attempt, upto), RateLimitWaited():
                return {"call_id": call_id, "attempt": attempt, "upto": upto}, found
            case CallTool(call_id, attempt), ToolCallStarted():
                request = state.tool_calls[call_id].request
                return {
                    "call_id": call_id,
                    "attempt": attempt,
                    "name": request.name,
                    "arguments": request.arguments,
                    "idempotency_key": f"{state.run_id}/{call_id}",
                }, found
            case AskApproval(call_id), ApprovalRequested():
                request = state.tool_calls[call_id].request
                return {"call_id": call_id, "name": request.name, "arguments": request.arguments}, found
            case AskUser(call_id), QuestionAsked():
                request = state.tool_calls[call_id].request
                return (dict(asked), found) if (asked := question_in(request)) else ({}, {})
            case ((CallTool(call_id) | AskApproval(call_id) | AskUser(call_id)), ToolCallRejected()):
                return {"call_id": call_id}, found
            case ReadMemory(query), MemoryReadStarted():
                return {"query": query}, found
            case CheckOutput(), OutputAccepted():
                return {"type": event.type}, found
            case CheckOutput(attempt), OutputRejected():
                return {"attempt": attempt}, found
            case ScheduleRetry(call_id, attempt, least_s, most_s, code), RetryScheduled(delay_s=delay_s):
                within = least_s <= delay_s <= most_s
                return {"call_id": call_id, "attempt": attempt, "code": code} | (
                    {} if within else {"delay_s": f"{least_s:g} to {most_s:g}"}
                ), found
            case _:
                return {}, {}

    def _asked(self, state: RunState, upto: int | None) -> dict[str, Any]:
        assert state.agent is not None, "a model is called only by a run that has started"
        model, renderer = self._renderers.of(state, state.agent)
        body = renderer.request(state) if upto is None else renderer.summary(state, upto)
        return {
            "provider": model.provider,
            "model": model.name,
            "request_digest": request_digest(body),
            "purpose": "answer" if upto is None else "summary",
            "upto": upto,
        }
