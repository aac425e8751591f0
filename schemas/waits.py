"""How waits, timers and fallbacks change a run's state. Pure; the reducers of the calls themselves are in calls.py."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from ledgent.schemas.codec import Envelope
from ledgent.schemas.events import ModelFellBack, RateLimitWaited, RetryScheduled, TimerFired
from ledgent.schemas.fallbacks import model_in_use
from ledgent.schemas.state import FellBack, ModelCall, Phase, RunState, SummaryCall

Changes = dict[str, Any]


def retry_scheduled(state: RunState, event: RetryScheduled, envelope: Envelope) -> Changes:
    waiting: dict[str, Any] = {
        "phase": Phase.WAITING,
        "timer_seq": envelope.seq,
        "due_at": envelope.at + timedelta(seconds=event.delay_s),
    }
    spent = replace(state.spent, retries=state.spent.retries + 1)
    if state.model_call and state.model_call.call_id == event.call_id:
        return {"model_call": replace(state.model_call, **waiting), "spent": spent}
    call = replace(state.tool_calls[event.call_id], **waiting)
    return {"tool_calls": {**state.tool_calls, event.call_id: call}, "spent": spent}


def rate_limit_waited(state: RunState, event: RateLimitWaited, envelope: Envelope) -> Changes:
    call = state.model_call
    changes = {} if call else begun(state, envelope)
    if event.upto is not None and not isinstance(call, SummaryCall):
        call = SummaryCall(event.call_id, upto=event.upto, refused=call)
    changes["model_call"] = replace(
        call or ModelCall(event.call_id),
        attempt=event.attempt - 1,
        phase=Phase.WAITING,
        error=None,
        timer_seq=envelope.seq,
        due_at=envelope.at + timedelta(seconds=event.delay_s),
    )
    return changes


def model_fell_back(state: RunState, event: ModelFellBack, envelope: Envelope) -> Changes:
    call, agent = state.model_call, state.agent
    if call is None or agent is None:
        raise TypeError("a run falls back only within a model call")
    due = replace(
        call, phase=Phase.DUE, error=None, timeouts=0, first=event.attempt, models=call.models + 1, timer_seq=None
    )
    until = envelope.at + timedelta(seconds=agent.fallback_s)
    return {"model_call": due, "fell_back": FellBack(event.index, until) if event.index else None}


def timer_fired(state: RunState, event: TimerFired, _: Envelope) -> Changes:
    if state.model_call and state.model_call.timer_seq == event.timer_seq:
        return {"model_call": replace(state.model_call, phase=Phase.DUE)}
    due = {
        call_id: replace(call, phase=Phase.DUE)
        for call_id, call in state.tool_calls.items()
        if call.timer_seq == event.timer_seq and call.phase is Phase.WAITING
    }
    return {"tool_calls": {**state.tool_calls, **due}}


def begun(state: RunState, envelope: Envelope) -> Changes:
    """What a new model call brings about, whether it is made or waits."""
    if state.fell_back is not None and model_in_use(state) == 0:
        return {"step_at": envelope.at, "fell_back": None}
    return {"step_at": envelope.at}
