"""Runs that begin where another stood: at which points that can be, and what they take over. Reads; records nothing.

A run can be restored wherever no tool call is under way: its conversation is then whole. A model call under way is made
anew. The new run's own records hold all that it shares, so that it can be folded without the other; verification
compares the two where the log has both.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ledgent.schemas.agents import Limits
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.ports import History
from ledgent.schemas.run import evolve
from ledgent.schemas.sharing import shared_message
from ledgent.schemas.sharing_events import HistoryShared
from ledgent.schemas.state import Assistant, RunState
from ledgent.schemas.values import ForkedFrom, SharedMessage

MOST_BYTES = 500_000
"""Of the messages in one record, unless a single one is larger."""


class Shared(NamedTuple):
    """What a new run takes over of another."""

    forked_from: ForkedFrom
    events: tuple[HistoryShared, ...]
    """To follow on `run.started`."""
    agent: str
    answered: bool
    """Whether the last message is an answer: without another message there is nothing to do."""
    limits: Limits
    session: str | None
    labels: dict[str, str]


def shared_at(history: History, run_id: str, at: int | str) -> Shared:
    """What a new run takes over of the run as it stood after a record, or at a checkpoint.

    At a checkpoint that was saved while tools were at work, it is the state once they all had settled.
    Raises UnknownRun, and UsageError where it cannot be restored there, naming the nearest records where it can.
    """
    if history.head(run_id) is None:
        raise UnknownRun(run_id)
    digests, states = [""], [RunState(run_id)]
    for stored in history.records(run_id):
        states.append(evolve(states[-1], decode(stored)))
        digests.append(stored.digest)
    seq = _seq(states, at)
    return _shared(states[seq], digests[seq])


def kept(
    shared: Shared, limits: Limits | None, session: str | None, labels: dict[str, str] | None
) -> tuple[Limits, str | None, dict[str, str]]:
    """Limits, session and labels of the new run: the other's, but for those that are given."""
    given = limits.model_dump(exclude_none=True) if limits else {}
    return (
        shared.limits.model_copy(update=given),
        shared.session if session is None else session,
        {**shared.labels, **(labels or {})},
    )


def _seq(states: list[RunState], at: int | str) -> int:
    """The record that is meant, if the run can be restored there."""
    last = states[-1]
    possible = [state.seq for state in states if _is_whole(state)]
    if isinstance(at, str):
        if at not in last.checkpoints:
            raise UsageError(
                f"run {last.run_id} has no checkpoint {at!r}: {', '.join(last.checkpoints) or 'it has none'}"
            )
        seq, before = last.checkpoints[at], bisect(possible, last.checkpoints[at] - 1)
        if before < len(possible):
            return possible[before]
    elif not 1 <= at <= last.seq:
        raise UsageError(f"run {last.run_id} has records 1 to {last.seq}, and none numbered {at}")
    elif at in possible:
        return at
    else:
        seq, before = at, bisect(possible, at)
    near = " or ".join(f"{near}" for near in possible[max(0, before - 1) : before + 1]) or "no record yet"
    raise UsageError(f"run {last.run_id} was in the middle of its calls at record {seq}: it can be restored at {near}")


def _is_whole(state: RunState) -> bool:
    return state.agent is not None and not state.tool_calls and state.unread is None and not state.awaited


def _shared(state: RunState, digest: str) -> Shared:
    messages = [*state.messages, *state.inbox]
    answered = bool(messages) and isinstance(messages[-1], Assistant)
    forked_from = ForkedFrom(
        run_id=state.run_id,
        seq=state.seq,
        digest=digest,
        messages=len(messages),
        model_calls=state.numbered + state.spent.steps - (state.model_call is not None),
    )
    events = tuple(HistoryShared(messages=some) for some in _in_portions(map(shared_message, messages)))
    if answered and state.output != events[-1].messages[-1].text:
        events = (*events[:-1], events[-1].model_copy(update={"output": state.output}))
    agent = state.agent.name if state.agent else ""
    return Shared(forked_from, events, agent, answered, state.limits, state.session, state.labels)


def _in_portions(messages: Iterable[SharedMessage]) -> Iterator[tuple[SharedMessage, ...]]:
    """The messages, as many in one as a record holds."""
    portion: list[SharedMessage] = []
    size = 0
    for message in messages:
        more = len(message.model_dump_json())
        if portion and size + more > MOST_BYTES:
            yield tuple(portion)
            portion, size = [], 0
        portion.append(message)
        size += more
    if portion:
        yield tuple(portion)
