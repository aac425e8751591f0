"""Runs that begin where another stood: at which points that can be, and what they take over. Reads; records nothing.

A run can be restored wherever no tool call is under way: its conversation is then whole. A model call under way is made
anew. The new run's own records hold all that it shares, so that it can be folded without the other; verification
compares the two where the log has both. A fork is a restored run in which something is otherwise.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, Self, TypeVar, get_args

from ledgent.agent.forked_calls import RecordedCalls
from ledgent.agent.models.port import Model
from ledgent.agent.models.resolve import ANTHROPIC, model_for
from ledgent.agent.spec import Definition
from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.ports import History
from ledgent.schemas.run import evolve
from ledgent.schemas.sharing import shared_message
from ledgent.schemas.sharing_events import HistoryShared
from ledgent.schemas.state import Assistant, RunState
from ledgent.schemas.values import ForkedFrom, RecordedCall, SharedMessage

MOST_BYTES = 500_000
"""Of the messages in one record, unless a single one is larger."""

Tools = Literal["live", "recorded", "refused"]

AnyDefinition = TypeVar("AnyDefinition", bound=Definition)
Carried = TypeVar("Carried", SharedMessage, RecordedCall)


class Changes(NamedTuple):
    """What is otherwise in a fork; the default is a run that is only restored."""

    model: str | Model | None = None
    instructions: str | None = None
    tools: Tools = "live"
    allow: Sequence[str] = ()
    """Tools that are called although the other run has not made the call; `*`: all."""
    messages: Mapping[int, str] = MappingProxyType({})
    """Other texts of the shared messages, by number from 0; -1 is the last."""
    results: Mapping[str, str] = MappingProxyType({})
    """Other results of the other run's calls, by call id: of those it shares, and of later ones."""


class Shared(NamedTuple):
    """What a new run takes over of another."""

    forked_from: ForkedFrom
    messages: tuple[SharedMessage, ...]
    calls: tuple[RecordedCall, ...]
    output: str | None
    """The last answer, where it is not the text of the last message."""
    spec: AgentSpec
    """The other's."""
    limits: Limits
    session: str | None
    labels: dict[str, str]

    @property
    def agent(self) -> str:
        return self.spec.name

    @property
    def answered(self) -> bool:
        """Whether the last message is an answer: without another message there is nothing to do."""
        return bool(self.messages) and self.messages[-1].role == "assistant"

    @property
    def events(self) -> tuple[HistoryShared, ...]:
        """To follow on `run.started`."""
        events = [HistoryShared(messages=some) for some in _in_portions(self.messages)]
        if events:
            events[-1] = events[-1].model_copy(update={"output": self.output})
        return (*events, *(HistoryShared(calls=some) for some in _in_portions(self.calls)))

    def edited(self, texts: Mapping[int, str]) -> Self:
        """The same with other texts in these places: of the messages, and after them of the calls."""
        if not texts:
            return self
        first = len(self.messages)
        messages = (
            message.model_copy(update={"text": texts[place]}) if place in texts else message
            for place, message in enumerate(self.messages)
        )
        calls = (
            call.model_copy(update={"result": texts[place], "completed": True, "whole": None})
            if place in texts
            else call
            for place, call in enumerate(self.calls, first)
        )
        origin = self.forked_from.model_copy(update={"edited": tuple(sorted(texts))})
        output = None if first - 1 in texts else self.output
        return self._replace(forked_from=origin, messages=tuple(messages), calls=tuple(calls), output=output)

    def origin_of(self, spec: AgentSpec, limits: Limits) -> ForkedFrom:
        """What the new run's start says of the other, where the agent is this one."""
        names = [name for name in AgentSpec.model_fields if name not in ("name", "limits")]
        changed = [name for name in names if getattr(spec, name) != getattr(self.spec, name)]
        changed += ["limits"] if limits != self.limits else []
        return self.forked_from.model_copy(update={"changed": tuple(changed)})


def shared_at(history: History, run_id: str, at: int | str, tools: Tools = "live", upto: int | None = None) -> Shared:
    """What a new run takes over of the run as it stood after a record, or at a checkpoint.

    At a checkpoint that was saved while tools were at work, it is the state once they all had settled. Unless its tools
    are live, it also takes over the other's later calls, up to the record `upto`; None: to its last one.
    Raises UnknownRun, and UsageError where it cannot be restored there, naming the nearest records where it can.
    """
    if history.head(run_id) is None:
        raise UnknownRun(run_id)
    digests, states, calls = [""], [RunState(run_id)], RecordedCalls()
    for stored in history.records(run_id):
        record = decode(stored)
        if upto is None or record.seq <= upto:
            calls.see(states[-1], record)
        states.append(evolve(states[-1], record))
        digests.append(stored.digest)
    seq = _seq(states, at)
    shared = _shared(states[seq], digests[seq])
    if tools == "live":
        return shared
    later = calls.after(seq)
    last = states[-1].seq if upto is None else upto
    origin = shared.forked_from.model_copy(update={"tools": tools, "calls": len(later), "upto": last})
    return shared._replace(forked_from=origin, calls=later)


def forked_at(history: History, run_id: str, at: int | str, changes: Changes) -> tuple[Shared, tuple[str, ...]]:
    """What a fork takes over of the run, and the texts that it has otherwise. Raises as `shared_at`."""
    if changes.tools not in get_args(Tools):
        raise UsageError(f"tools are live, recorded or refused, not {changes.tools!r}")
    shared = shared_at(history, run_id, at, changes.tools)
    places = dict(sorted(places_of(shared, changes.messages, changes.results).items()))
    model = changes.model if isinstance(changes.model, str) else None
    told = {"allowed": tuple(changes.allow), "model": model}
    origin = shared.forked_from.model_copy(update=told)
    return shared._replace(forked_from=origin).edited(places), tuple(places.values())


def places_of(shared: Shared, messages: Mapping[int, str], results: Mapping[str, str]) -> dict[int, str]:
    """By place, what messages (by number, from 0; -1 is the last) and results (by call id) say instead.

    Raises UsageError where the other run has no such message, or no such call with a result.
    """
    run_id, count = shared.forked_from.run_id, len(shared.messages)
    places: dict[int, str] = {}
    for number, text in messages.items():
        if not -count <= number < count:
            raise UsageError(f"run {run_id} had {count} messages there, from 0 on, and none numbered {number}")
        places[number % count] = text
    of_calls = _places_of_results(shared)
    for call_id, text in results.items():
        if call_id not in of_calls:
            raise UsageError(f"run {run_id} has no call {call_id} to edit: {', '.join(of_calls) or 'there is none'}")
        places[of_calls[call_id]] = text
    return places


def forked_agent(agent: AnyDefinition, model: str | Model | None, instructions: str | None) -> AnyDefinition:
    """The agent with another model or instructions; a model's name alone means one of the same provider.

    Raises UsageError for a model that cannot be made.
    """
    changes: dict[str, object] = {} if instructions is None else {"instructions": instructions}
    if model is not None:
        spec = agent.live_model.spec
        here = isinstance(model, str) and not model.startswith(ANTHROPIC) and spec.provider == "openai"
        changes["model"] = model_for(spec.model_copy(update={"name": model})) if here else model
    return agent.but(**changes) if changes else agent


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


def _places_of_results(shared: Shared) -> dict[str, int]:
    """By call id, where the result of the call stands."""
    places: dict[str, int] = {}
    asked: list[str] = []
    for place, message in enumerate(shared.messages):
        if message.role == "tool" and asked:
            places[asked.pop(0)] = place
        elif message.role != "tool":
            asked = [request.call_id for request in message.tool_calls]
    return places | {call.call_id: place for place, call in enumerate(shared.calls, len(shared.messages))}


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
        recalled=state.recalled,
    )
    output = state.output if answered and state.output != messages[-1].text else None
    assert state.agent is not None, "it is restored only where it has one"
    shared = tuple(map(shared_message, messages))
    return Shared(forked_from, shared, (), output, state.agent, state.limits, state.session, state.labels)


def _in_portions(all_of_them: Iterable[Carried]) -> Iterator[tuple[Carried, ...]]:
    """The values, as many in one as a record holds."""
    portion: list[Carried] = []
    size = 0
    for one in all_of_them:
        more = len(one.model_dump_json())
        if portion and size + more > MOST_BYTES:
            yield tuple(portion)
            portion, size = [], 0
        portion.append(one)
        size += more
    if portion:
        yield tuple(portion)
