"""What a run is: how its events fold into its state. Pure: no clock, no ids, no I/O.

`evolve` is the only way state changes. It takes the whole record, and `state.now` is the time of the last one, the only
clock that a decision has. The reducers of model and tool calls are in calls.py.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec.structs import replace

from ledgent.schemas import calls, remembered, sent, waits
from ledgent.schemas.acceptance import ACCEPTED, BROKEN, Guard, advance, judge
from ledgent.schemas.calls import Changes
from ledgent.schemas.codec import Envelope, Recorded, Stored, decode_payload, split
from ledgent.schemas.errors import BrokenHistory
from ledgent.schemas.events import (
    EVENT_CLASSES,
    AnyEvent,
    CheckpointSaved,
    HistoryShared,
    MessageReceived,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunStarted,
    RunSuspended,
)
from ledgent.schemas.persistent import PersistentList
from ledgent.schemas.sharing import message_of
from ledgent.schemas.state import RunState, Status, User


class Replayed(NamedTuple):
    """What a run's records add up to."""

    state: RunState
    guard: Guard
    skipped: int
    """Duplicates and fenced records."""


def evolve(state: RunState, record: Recorded) -> RunState:
    """The state after the record."""
    return _after(state, record.envelope, record.event)


def _after(state: RunState, envelope: Envelope, event: AnyEvent) -> RunState:
    changes = _REDUCERS[envelope.type](state, event, envelope)
    changes["seq"] = envelope.seq
    changes["now"] = envelope.at
    return replace(state, **changes)


def replay(run_id: str, records: Iterable[Stored]) -> Replayed:
    """The state and guard that a run's records from the first one on fold into.

    Raises BrokenHistory naming the record that does not continue the run, UnreadableRecord and UnknownEventType.
    """
    state, guard, skipped = RunState(run_id), Guard(), 0
    for stored in records:
        envelope, payload = split(stored.body)
        if envelope.run_id != run_id:
            raise BrokenHistory(run_id, guard.seq + 1, f"it names another run, {envelope.run_id}")
        verdict = judge(guard, envelope, stored)
        if verdict is ACCEPTED:
            event = decode_payload(envelope.type, envelope.version, payload)
            try:
                state = _after(state, envelope, event)
            except (KeyError, TypeError, AttributeError) as error:
                reason = f"it does not follow from the records before it ({error!r})"
                raise BrokenHistory(run_id, envelope.seq, reason) from error
            guard = advance(envelope, stored.digest)
        elif verdict is BROKEN:
            raise BrokenHistory(run_id, envelope.seq, "its digest does not match its bytes and those before it")
        elif guard.seq == 0:
            raise BrokenHistory(run_id, envelope.seq, "the records do not begin at seq 1")
        else:
            skipped += 1
    return Replayed(state, guard, skipped)


def _run_claimed(state: RunState, event: RunClaimed, envelope: Envelope) -> Changes:
    changes = calls.lost(state)
    changes["epoch"] = envelope.epoch
    if state.suspended == "handed_over":
        changes["status"] = Status.RUNNING
        changes["suspended"] = None
    return changes


def _run_started(state: RunState, event: RunStarted, envelope: Envelope) -> Changes:
    messages = PersistentList((User(event.input, event.files),)) if event.input is not None else PersistentList()
    shared: Changes = {}
    if origin := event.forked_from:
        shared = {"awaited": origin.messages + origin.calls, "origin": origin, "numbered": origin.model_calls}
        shared["recalled"] = origin.recalled
        if origin.messages and event.input is not None:
            messages, shared["inbox"] = PersistentList(), (User(event.input, event.files),)
    return {
        "status": Status.RUNNING,
        "started_at": envelope.at,
        "agent": event.agent,
        "limits": event.limits,
        "session": event.session,
        "labels": event.labels,
        "applied": state.applied.append(event.request_id),
        "messages": messages,
        "ending_tools": frozenset(tool.name for tool in event.agent.tools if tool.ends_run),
        **shared,
    }


def _history_shared(state: RunState, event: HistoryShared, _: Envelope) -> Changes:
    awaited = state.awaited - len(event.messages) - len(event.calls)
    messages = state.messages.append(*map(message_of, event.messages))
    changes: Changes = {"awaited": awaited, "recorded": state.recorded + event.calls}
    if event.messages:
        last = event.messages[-1]
        changes["output"] = event.output or (last.text if last.role == "assistant" else None)
    if not awaited and state.inbox:
        messages, changes["inbox"] = messages.append(*state.inbox), ()
    return {**changes, "messages": messages}


def _checkpoint_saved(state: RunState, event: CheckpointSaved, envelope: Envelope) -> Changes:
    changes: Changes = {"checkpoints": {**state.checkpoints, event.name: envelope.seq}, **calls.awake(state)}
    if event.request_id:
        changes["applied"] = state.applied.append(event.request_id)
    return changes


def _run_suspended(state: RunState, event: RunSuspended, _: Envelope) -> Changes:
    return {"status": Status.SUSPENDED, "suspended": event.reason}


def _message_received(state: RunState, event: MessageReceived, _: Envelope) -> Changes:
    changes: Changes = {"applied": state.applied.append(event.request_id)}
    if state.model_call or state.tool_calls or state.unread or state.reading:
        changes["inbox"] = (*state.inbox, User(event.text, event.files))
    else:
        changes["messages"] = state.messages.append(User(event.text, event.files))
    return {**changes, **calls.awake(state)}


def _run_end_requested(state: RunState, event: RunEndRequested, _: Envelope) -> Changes:
    return {"applied": state.applied.append(event.request_id), "end_requested": True, **calls.awake(state)}


def _run_cancel_requested(state: RunState, event: RunCancelRequested, _: Envelope) -> Changes:
    return {
        "applied": state.applied.append(event.request_id),
        "cancel_requested": event.reason,
        **calls.awake(state),
    }


def _run_completed(state: RunState, event: RunCompleted, _: Envelope) -> Changes:
    return {"status": Status.COMPLETED, "output": event.output}


def _run_failed(state: RunState, event: RunFailed, _: Envelope) -> Changes:
    return {"status": Status.FAILED, "error": event.error}


def _run_cancelled(state: RunState, event: RunCancelled, _: Envelope) -> Changes:
    return {"status": Status.CANCELLED}


def _run_limited(state: RunState, event: RunLimited, _: Envelope) -> Changes:
    return {"status": Status.LIMITED, "limit": event.limit}


_REDUCERS: dict[str, Callable[[RunState, Any, Envelope], Changes]] = {
    "run.claimed": _run_claimed,
    "run.started": _run_started,
    "run.suspended": _run_suspended,
    "message.received": _message_received,
    "run.end_requested": _run_end_requested,
    "run.cancel_requested": _run_cancel_requested,
    "timer.fired": waits.timer_fired,
    "run.completed": _run_completed,
    "run.failed": _run_failed,
    "run.cancelled": _run_cancelled,
    "run.limited": _run_limited,
    "model_call.started": calls.model_call_started,
    "model_call.tool_requested": calls.model_call_tool_requested,
    "model_call.completed": calls.model_call_completed,
    "model_call.failed": calls.model_call_failed,
    "thought.recorded": calls.thought_recorded,
    "output.accepted": calls.output_accepted,
    "output.rejected": calls.output_rejected,
    "context.summarized": sent.context_summarized,
    "context.trimmed": sent.context_trimmed,
    "tool_call.started": calls.tool_call_started,
    "tool_call.completed": calls.tool_call_completed,
    "tool_call.failed": calls.tool_call_failed,
    "tool_call.rejected": calls.tool_call_rejected,
    "tool_call.uncertain": calls.tool_call_uncertain,
    "tool_call.reused": calls.tool_call_reused,
    "approval.requested": calls.approval_requested,
    "approval.granted": calls.approval_granted,
    "approval.denied": calls.approval_denied,
    "question.asked": calls.question_asked,
    "question.answered": calls.question_answered,
    "checkpoint.saved": _checkpoint_saved,
    "history.shared": _history_shared,
    "memory.read_started": remembered.memory_read_started,
    "memory.read": remembered.memory_read,
    "memory.written": remembered.memory_written,
    "retry.scheduled": waits.retry_scheduled,
    "model.fell_back": waits.model_fell_back,
    "rate_limit.waited": waits.rate_limit_waited,
}
assert _REDUCERS.keys() == EVENT_CLASSES.keys(), "every event needs a reducer"
