"""A model call's request, as a pure function of the state: what replay rebuilds and whose digest the log keeps."""

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from ledgent.agent.abridged import as_sent, first_as_sent, instructions_of, transcript
from ledgent.agent.policies import react
from ledgent.schemas.agents import AgentSpec, ModelSpec
from ledgent.schemas.fallbacks import model_in_use, models_of
from ledgent.schemas.state import Context, Message, RunState
from ledgent.schemas.state_json import message_as_json, with_files

OF_ANSWERS = frozenset(
    {
        "function_call",
        "functions",
        "parallel_tool_calls",
        "prediction",
        "response_format",
        "stop",
        "tool_choice",
        "web_search_options",
    }
)
"""Parameters that are about an agent's answers and tools; a call for a summary has none of them."""


class Renderer:
    """Renders one run's requests to one model; keeps the bytes of messages already rendered.

    Those change only when less is sent from then on.
    """

    def __init__(self, agent: AgentSpec, model: ModelSpec) -> None:
        fixed: dict[str, Any] = {"model": model.name, **model.parameters}
        if model.stream:
            fixed["stream"] = True
            fixed["stream_options"] = {"include_usage": True}
        self._agent = agent
        self._of_summary = {name: value for name, value in fixed.items() if name not in OF_ANSWERS}
        if agent.output is not None:
            schema = {"name": agent.output.name, "schema": agent.output.json_schema}
            fixed["response_format"] = {"type": "json_schema", "json_schema": schema}
        if agent.text_protocol:
            fixed.setdefault("stop", [react.OBSERVATION])
        elif agent.tools:
            fixed["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in agent.tools
            ]
        self._head = orjson.dumps(fixed)[:-1] + b',"messages":['
        self._messages: list[bytes] = []
        instructions = react.instructions(agent) if agent.policy == "react" else agent.instructions
        if instructions:
            self._messages.append(orjson.dumps({"role": "system", "content": instructions}))
        self._message = react.message_as_text if agent.text_protocol else message_as_json
        self._system = len(self._messages)
        self._next = 0
        self._context = Context()

    def request(self, state: RunState) -> bytes:
        """The chat-completions request for the model call that comes next."""
        context = state.context
        if _sends_otherwise(context, self._context):
            del self._messages[self._system :]
            self._next = 0
        self._context = context
        if self._next == 0 and context.start > 1:
            self._messages.append(orjson.dumps(self._message(first_as_sent(state))))
            self._next = context.start
        unsent: Iterable[Message] = state.messages[self._next :]
        if context.shortened:
            unsent = [as_sent(context, place, message) for place, message in enumerate(unsent, self._next)]
        # All results of a round come at once, so no round's files are still to come.
        new = with_files(unsent)
        self._messages += [orjson.dumps(self._message(message)) for message in new]
        self._next = len(state.messages)
        return self._head + b",".join(self._messages) + b"]}"

    def summary(self, state: RunState, upto: int) -> bytes:
        """The request for a summary of the messages before a place."""
        messages = [
            {"role": "system", "content": instructions_of(self._agent)},
            {"role": "user", "content": transcript(state, self._agent, upto)},
        ]
        return orjson.dumps({**self._of_summary, "messages": messages})


class Renderers:
    """One run's, by which of the agent's models is asked."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[ModelSpec, Renderer]] = {}

    def of(self, state: RunState, agent: AgentSpec) -> tuple[ModelSpec, Renderer]:
        """The model that the next attempt goes to, and what renders its requests."""
        index = model_in_use(state)
        if index not in self._made:
            model = models_of(agent)[index]
            self._made[index] = model, Renderer(agent, model)
        return self._made[index]


def _sends_otherwise(context: Context, before: Context) -> bool:
    """Whether messages that were rendered before are sent no more, or in another form."""
    if context.start == before.start and context.shortened is before.shortened and context.summary is before.summary:
        return context.omitted != before.omitted
    return (context.start, context.shortened, context.summary, context.omitted) != (
        *(before.start, before.shortened, before.summary),
        before.omitted,
    )


def request_digest(body: bytes) -> str:
    """SHA-256 of a request's bytes, as hex."""
    return hashlib.sha256(body).hexdigest()
