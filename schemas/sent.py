"""What of a run's messages is sent to the model, and how many tokens that takes: counted, not scanned. Pure.

The provider's own count of the last call is exact for what was sent and answered; only what has come since is
estimated. Here too are the reducers of the events that send less.
"""

from typing import Any

import orjson
from msgspec.structs import replace

from ledgent.schemas.agents import AgentSpec, ModelSpec
from ledgent.schemas.codec import Envelope
from ledgent.schemas.events import ContextSummarized, ContextTrimmed, ModelCallCompleted, ModelCallStarted
from ledgent.schemas.fallbacks import model_asked
from ledgent.schemas.state import Assistant, Context, Message, ModelCall, Phase, RunState, SummaryCall
from ledgent.schemas.values import Usage

BYTES_PER_TOKEN = 4
"""Of UTF-8. Over recorded requests of more than 500 tokens the estimate's median is 1.02 of the provider's count."""
TOKENS_PER_MESSAGE = 4
"""What a message takes besides its texts."""
TOKENS_PER_FILE = 1_000
"""About what an image takes; of other files only the provider knows, and its count is taken after the first call."""

ANSWER_TOKENS = 1_000
"""What an answer is thought to take where nothing is asked for."""


def tokens_in(text: str) -> int:
    """About how many tokens a text takes. No tokenizer: each model has its own, and this is asked all the time."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def tokens_of(message: Message) -> int:
    """About how many tokens a message takes."""
    tokens = TOKENS_PER_MESSAGE + tokens_in(message.text or "")
    if isinstance(message, Assistant):
        return tokens + sum(tokens_in(call.name) + tokens_in(call.arguments) for call in message.tool_calls)
    return tokens + TOKENS_PER_FILE * len(message.parts)


def tokens_fixed(agent: AgentSpec) -> int:
    """About how many tokens each request takes before any message: instructions, tools, the answer's schema."""
    tools = [[tool.name, tool.description, tool.parameters] for tool in agent.tools]
    schema = agent.output.json_schema if agent.output else {}
    return tokens_in(agent.instructions) + len(orjson.dumps([tools, schema])) // BYTES_PER_TOKEN


def tokens_sent(state: RunState) -> int:
    """How many tokens the next request takes, as things stand."""
    context = state.context
    known = context.tokens or (tokens_fixed(state.agent) if state.agent else 0)
    return known + sum(map(tokens_of, state.messages[context.counted :]))


def room_in(state: RunState, agent: AgentSpec) -> int | None:
    """How many tokens the next request may take: the window, less what is asked for the answer; None: not known."""
    model = model_asked(state, agent)
    window, answer = model.context_window, most_answered(model)
    if window is None:
        return None
    return window - max(0, min(answer, window // 2)) if answer is not None else window


def most_answered(model: ModelSpec) -> int | None:
    """How many tokens an answer may have, as is asked for; None: nothing is."""
    answer = model.parameters.get("max_completion_tokens") or model.parameters.get("max_tokens")
    return answer if isinstance(answer, int) else None


def usage_guessed(state: RunState, model: ModelSpec) -> Usage:
    """What the model call under way uses, or the next one, as far as can be said before its answer."""
    answer = most_answered(model)
    return Usage(input_tokens=tokens_sent(state), output_tokens=ANSWER_TOKENS if answer is None else max(0, answer))


def answered(state: RunState, event: ModelCallCompleted) -> Context:
    """The context after an answer. Reasoning was counted too, but is not sent back."""
    usage = event.usage
    tokens = usage.input_tokens + usage.output_tokens - usage.reasoning_tokens
    if not usage.input_tokens:
        tokens = tokens_sent(state) + tokens_of(Assistant(event.text, event.tool_calls))
    return replace(state.context, tokens=tokens, counted=len(state.messages) + 1, reductions=0)


def summary_started(state: RunState, event: ModelCallStarted) -> dict[str, Any]:
    """The answer's call that was refused for its length waits behind it, if there is one."""
    before, context = state.model_call, state.context
    if event.attempt == 1:
        context = replace(context, summaries=context.summaries + 1)
    if isinstance(before, SummaryCall):
        return {"model_call": started_again(before, event.attempt), "context": context}
    call = SummaryCall(event.call_id, event.attempt, upto=event.upto or 0, refused=before)
    return {"model_call": call, "context": context}


def started_again(call: ModelCall, attempt: int) -> ModelCall:
    """A further attempt at the call, or one that had to wait."""
    return replace(call, attempt=attempt, phase=Phase.RUNNING, error=None, timer_seq=None, due_at=None)


def context_summarized(state: RunState, event: ContextSummarized, _: Envelope) -> dict[str, Any]:
    return _sends_less(state, event.upto, event.tokens_after, {}, event.summary, False)


def context_trimmed(state: RunState, event: ContextTrimmed, _: Envelope) -> dict[str, Any]:
    context = state.context
    shortened = dict.fromkeys(event.shortened, event.longest or 0)
    omitted = context.omitted or event.start > context.start
    return _sends_less(state, event.start, event.tokens_after, shortened, context.summary, omitted)


def _sends_less(
    state: RunState, start: int, tokens: int, shortened: dict[int, int], summary: str | None, omitted: bool
) -> dict[str, Any]:
    context = state.context
    after = Context(
        tokens=tokens,
        counted=len(state.messages),
        start=start,
        summary=summary,
        omitted=omitted,
        shortened={place: size for place, size in (context.shortened | shortened).items() if place >= start},
        summaries=context.summaries,
        reductions=context.reductions + 1,
    )
    return {"context": after, "model_call": _due(state.model_call)}


def _due(call: ModelCall | None) -> ModelCall | None:
    """The call that was refused for its length may be made again."""
    refused = call.refused if isinstance(call, SummaryCall) else call
    return replace(refused, phase=Phase.DUE) if refused else None
