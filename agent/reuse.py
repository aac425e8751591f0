"""Tool calls of a run that began from another one: which are answered as they were there, which may be made. Pure."""

from ledgent.schemas.agents import ToolSpec
from ledgent.schemas.events import ToolCallRejected, ToolCallReused
from ledgent.schemas.sharing import call_key
from ledgent.schemas.state import Phase, RunState
from ledgent.schemas.values import RecordedCall, ToolRequest

EVERY = "*"
"""Among the tools that are allowed: all of them."""


def same_calls(state: RunState) -> dict[str, RecordedCall]:
    """By id, the calls to be decided that the other run made too, up to the first that it did not make next."""
    if not state.recorded:
        return {}
    same: dict[str, RecordedCall] = {}
    asked = ((call_id, call) for call_id, call in state.tool_calls.items() if call.phase is Phase.REQUESTED)
    for (call_id, call), recorded in zip(asked, state.recorded, strict=False):
        if call_key(call.request) != call_key(recorded):
            break
        same[call_id] = recorded
    return same


def may_be_made(state: RunState, tool: ToolSpec) -> bool:
    """Whether a call of the tool may be made although the other run has not made it."""
    origin = state.origin
    if origin is None or origin.tools == "live" or tool.asks or {tool.name, EVERY} & set(origin.allowed):
        return True
    return origin.tools == "recorded" and (tool.idempotent or tool.approval)


def reused(request: ToolRequest, recorded: RecordedCall) -> ToolCallReused:
    """What is recorded instead of the call."""
    return ToolCallReused(
        call_id=request.call_id,
        name=request.name,
        reused_from=recorded.call_id,
        result=recorded.result or "",
        completed=recorded.completed,
        files=recorded.parts,
        whole=recorded.whole,
    )


def not_made(request: ToolRequest) -> ToolCallRejected:
    """What is recorded of a call that may not be made."""
    return ToolCallRejected(
        call_id=request.call_id,
        name=request.name,
        reason="not_made_before",
        message=f"This call of {request.name} was not made: this run repeats another one, which did not make it, and "
        "calls may have effects. Go on without it.",
    )
