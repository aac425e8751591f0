"""What has to come before a model call so that its request fits the model, and after one that did not. Pure.

Between two answers what is sent is reduced a few times at most: first as the agent's policy says, then by trimming.
"""

from typing import NamedTuple

from msgspec.structs import replace

from ledgent.agent.abridged import LEAST_CHARACTERS, OMITTED, as_sent, first_as_sent, shortened
from ledgent.agent.commands import AskSummary, CallModel, Command, Record
from ledgent.agent.limits import before_model_call
from ledgent.schemas.agents import AgentSpec
from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import ContextSummarized, ContextTrimmed, RunFailed
from ledgent.schemas.sent import room_in, tokens_fixed, tokens_in, tokens_of, tokens_sent
from ledgent.schemas.state import Message, ModelCall, RunState, SummaryCall, ToolResult, User

MOST_REDUCTIONS = 5
"""Between two answers. Each halves what is sent, so more would help nobody."""


class _Plan(NamedTuple):
    """What would be sent from here on."""

    start: int
    """The first message that would still be sent besides the user's first."""
    shortened: tuple[int, ...]
    longest: int | None
    tokens: int
    """Of the request then."""


def model_call(state: RunState, agent: AgentSpec, call_id: str, attempt: int) -> Command:
    """An attempt at a model call, or what has to come before it so that its request fits."""
    if isinstance(state.model_call, SummaryCall):
        return AskSummary(call_id, attempt, state.model_call.upto)
    policy, room = agent.context, room_in(state, agent)
    if policy is not None and room is not None:
        tokens, allowed = tokens_sent(state), policy.at * room
        if tokens > allowed and (instead := _reduced(state, agent, policy, tokens, allowed, refused=False)):
            return instead
    return CallModel(call_id, attempt)


def after_last_failure(state: RunState, agent: AgentSpec, call: ModelCall, error: ErrorInfo) -> Command:
    """What follows on a call that is not made again as it was: a shorter request where that helps, or the run's end."""
    if isinstance(call, SummaryCall):
        return _without_summary(state, agent, call)
    policy, room = agent.context, room_in(state, agent)
    begun = bool(state.tool_calls)  # it had been answering already: its length was not what it failed of
    if policy is None or error.code is not ErrorCode.CONTEXT_OVERFLOW or begun:
        return Record(RunFailed(error=error))
    tokens = tokens_sent(state)
    allowed = float(tokens) if room is None else min(policy.at * room, tokens)
    if instead := _reduced(state, agent, policy, tokens, allowed, refused=True):
        return instead
    remedy = (
        "the request cannot be made shorter: instructions, tools, the user's first and last message are sent whole; "
        "make them shorter, or take a model with a larger window"
    )
    return Record(RunFailed(error=error.model_copy(update={"message": f"{error.message}; {remedy}"})))


def after_summary(state: RunState, agent: AgentSpec, call: SummaryCall) -> Command:
    """What follows on what the model wrote: the summary takes effect, if there is one that saves anything."""
    summary, before = (call.text or "").strip(), tokens_sent(state)
    context = replace(state.context, summary=summary, omitted=False)
    after = _tokens_after(state, replace(state, context=context), agent, call.upto)
    if not summary or after >= before:
        return _without_summary(state, agent, call)
    return Record(
        ContextSummarized(
            call_id=call.call_id, upto=call.upto, summary=summary, tokens_before=before, tokens_after=after
        )
    )


def _without_summary(state: RunState, agent: AgentSpec, call: SummaryCall) -> Command:
    without = replace(state, context=replace(state.context, omitted=True))
    after = _tokens_after(state, without, agent, call.upto)
    return Record(ContextTrimmed(start=call.upto, tokens_before=tokens_sent(state), tokens_after=after))


def _reduced(
    state: RunState, agent: AgentSpec, policy: Summarize | Trim, tokens: int, allowed: float, *, refused: bool
) -> Command | None:
    """How less is sent from here on; None where that cannot be, or has been tried often enough."""
    if state.context.reductions >= MOST_REDUCTIONS:
        return None
    plan = _plan(state, agent, policy.keep, tokens, allowed, refused)
    if plan is None:
        return None
    drops, fits = plan.start > max(state.context.start, 1), plan.tokens <= allowed
    if (
        isinstance(policy, Summarize) and not state.context.reductions and drops and fits
    ):  # else it would be paid in vain
        end = before_model_call(state)
        return AskSummary(f"s{state.context.summaries + 1}", 1, plan.start) if end is None else Record(end)
    return Record(
        ContextTrimmed(
            start=plan.start,
            shortened=plan.shortened,
            longest=plan.longest,
            tokens_before=tokens,
            tokens_after=plan.tokens,
        )
    )


def _plan(state: RunState, agent: AgentSpec, keep: float, tokens: int, allowed: float, refused: bool) -> _Plan | None:
    """The newest rounds that fit, at least the last one; None where all are sent as it is and nothing can be cut.

    Looks at what is sent, not at all messages. Estimates are scaled to what the provider has counted.
    """
    start = max(state.context.start, 1)
    sent = _sent_from(state, start)
    fixed = tokens_fixed(agent) + tokens_of(first_as_sent(state))
    scale = tokens / max(1, fixed + sum(map(tokens_of, sent)))
    movable = tokens - scale * fixed
    usable = max(0.0, min(allowed - scale * fixed, movable))
    newest, kept, cut, cut_kept = _newest_round(state) - start, 0.0, len(sent), 0.0
    for place in range(len(sent) - 1, -1, -1):
        kept += scale * tokens_of(sent[place])
        if isinstance(sent[place], ToolResult):
            continue
        if place < newest and kept > keep * usable:
            break
        cut, cut_kept = place, kept
    excess = cut_kept - (keep * usable if refused else usable)
    shorter, longest, saved = _cut_results(sent[cut:], excess / scale) if excess > 0 else ((), None, 0)
    if cut == 0 and longest is None:
        return None
    note = tokens_in(OMITTED) if cut and not state.context.omitted else 0
    after = int(tokens - movable + cut_kept - scale * saved) + note
    places = tuple(start + cut + place for place in shorter)
    return _Plan(start + cut if cut or state.context.start else 0, places, longest, after)


def _cut_results(messages: list[Message], excess: float) -> tuple[tuple[int, ...], int | None, int]:
    """Which results to shorten to how many characters so that so many estimated tokens are saved, as far as may be."""
    results = {place: message for place, message in enumerate(messages) if isinstance(message, ToolResult)}
    longest = max((len(result.text) for result in results.values()), default=0) // 2
    found: tuple[tuple[int, ...], int | None, int] = (), None, 0
    while longest >= LEAST_CHARACTERS and found[2] < excess:
        saved = {
            place: tokens_in(result.text) - tokens_in(shortened(result.text, longest))
            for place, result in results.items()
        }
        if any(saved.values()):
            found = tuple(place for place, tokens in saved.items() if tokens), longest, sum(saved.values())
        longest //= 2
    return found


def _newest_round(state: RunState) -> int:
    """The place from which all is sent: the last answer with its results, or what the user has said since the last."""
    messages, place = state.messages, len(state.messages) - 1
    while place > 0 and isinstance(messages[place], User):
        place -= 1
    if not isinstance(messages[place], ToolResult):
        return place + 1
    while isinstance(messages[place], ToolResult):
        place -= 1
    return place


def _sent_from(state: RunState, start: int) -> list[Message]:
    return [as_sent(state.context, place, state.messages[place]) for place in range(start, len(state.messages))]


def _tokens_after(state: RunState, changed: RunState, agent: AgentSpec, start: int) -> int:
    """What a request takes that is sent from a place on as things then stand; scaled to what the provider counted."""
    now = _estimate(state, agent, max(state.context.start, 1))
    return int(tokens_sent(state) * _estimate(changed, agent, start) / now)


def _estimate(state: RunState, agent: AgentSpec, start: int) -> int:
    sent = sum(map(tokens_of, _sent_from(state, start)))
    return max(1, tokens_fixed(agent) + tokens_of(first_as_sent(state)) + sent)
