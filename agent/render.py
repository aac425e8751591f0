"""A model call's request, as a pure function of the state: what replay rebuilds and whose digest the log keeps."""

import hashlib
from typing import Any

import orjson

from ledgent.agent.policies import react
from ledgent.schemas.agents import AgentSpec
from ledgent.schemas.state import RunState, message_as_json, with_files


class Renderer:
    """Renders the requests of one run; keeps the bytes of messages already rendered, which never change."""

    def __init__(self, agent: AgentSpec) -> None:
        fixed: dict[str, Any] = {"model": agent.model.name, **agent.model.parameters}
        if agent.model.stream:
            fixed["stream"] = True
            fixed["stream_options"] = {"include_usage": True}
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
        self._done = 0

    def request(self, state: RunState) -> bytes:
        """The chat-completions request for the model call that comes next."""
        # All results of a round come at once, so no round's files are still to come.
        new = with_files(state.messages[self._done :])
        self._messages += [orjson.dumps(self._message(message)) for message in new]
        self._done = len(state.messages)
        return self._head + b",".join(self._messages) + b"]}"


def request_digest(body: bytes) -> str:
    """SHA-256 of a request's bytes, as hex."""
    return hashlib.sha256(body).hexdigest()
