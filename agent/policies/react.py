"""Reasoning and acting in turn: each answer is a thought with an action or with the final answer. Pure.

A model that knows tool calls thinks in the text beside them. One that does not writes all of it in a text protocol:

    Thought: what it thinks
    Action: the tool's name
    Action Input: its arguments as JSON

and at its end `Final Answer:`. What a tool gave is told it as `Observation:`.
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from ledgent.schemas.agents import AgentSpec, ToolSpec
from ledgent.schemas.events import ThoughtRecorded
from ledgent.schemas.state import Assistant, Message, RunState, ToolResult, User
from ledgent.schemas.state_json import message_as_json
from ledgent.schemas.values import ToolRequest

THINK_FIRST = "Before each tool call, say in a sentence or two what you think and why you make it."
OBSERVATION = "Observation:"
_PROTOCOL = """\
You can use these tools:
{tools}

Answer in this form, one step at a time:
Thought: what you think
Action: the name of one tool
Action Input: its arguments as a JSON object

You will then be told:
Observation: what the tool gave

When you know the answer:
Thought: what you think
Final Answer: the answer"""

_ACTION = re.compile(r"^\s*Action\s*:\s*(?P<name>.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_INPUT = re.compile(r"^\s*Action\s+Input\s*:\s*", re.MULTILINE | re.IGNORECASE)
_FINAL = re.compile(r"^\s*Final\s+Answer\s*:\s*", re.MULTILINE | re.IGNORECASE)
_OBSERVATION = re.compile(r"^\s*Observation\s*:", re.MULTILINE | re.IGNORECASE)
_THOUGHT = re.compile(r"^\s*Thought\s*:\s*", re.IGNORECASE)
_FENCE = re.compile(r"^```\w*\s*\n?|\n?\s*```$")


def instructions(agent: AgentSpec) -> str:
    """The system message of an agent that works so."""
    if not agent.text_protocol:
        return "\n\n".join(filter(None, (agent.instructions, THINK_FIRST)))
    return "\n\n".join(filter(None, (agent.instructions, _PROTOCOL.format(tools=_described(agent.tools)))))


def thought_in(state: RunState, agent: AgentSpec) -> ThoughtRecorded:
    """What the last answer says."""
    call_id, said = state.unread or "", state.messages[-1]
    assert isinstance(said, Assistant), "an answer is unread until something follows on it"
    text = said.text or ""
    if not agent.text_protocol or state.tool_calls:  # asked for otherwise than in text
        return ThoughtRecorded(call_id=call_id, thought=text)
    text = _said(text)
    action, final = _ACTION.search(text), _FINAL.search(text)
    if final and not (action and action.start() < final.start()):
        answer = text[final.end() :].strip()
        return ThoughtRecorded(call_id=call_id, thought=_thought(text[: final.start()]), answer=answer)
    if not action:
        return ThoughtRecorded(call_id=call_id, thought="", answer=_thought(text))
    given = _INPUT.search(text, action.end())
    arguments = text[given.end() : final.start() if final else len(text)] if given else "{}"
    request = ToolRequest(
        call_id=f"{call_id}.t0",
        provider_id=f"{call_id}.t0",
        name=action["name"].strip('`*" '),
        arguments=_FENCE.sub("", arguments.strip()).strip(),
    )
    return ThoughtRecorded(call_id=call_id, thought=_thought(text[: action.start()]), action=request)


def message_as_text(message: Message) -> dict[str, Any]:
    """The message as chat completions write it, for a model that knows no tool calls."""
    match message:
        case ToolResult(text=text):
            return {"role": "user", "content": f"{OBSERVATION} {text}"}
        case Assistant(text=text):
            return {"role": "assistant", "content": _said(text or "")}
        case User():
            return message_as_json(message)


def _said(text: str) -> str:
    """Without what the model made up of what the tool would say."""
    cut = _OBSERVATION.search(text)
    return text[: cut.start()] if cut else text


def _thought(text: str) -> str:
    return _THOUGHT.sub("", text.strip()).strip()


def _described(tools: Sequence[ToolSpec]) -> str:
    lines = [f"- {tool.name}: {tool.description} Arguments: {orjson.dumps(tool.parameters).decode()}" for tool in tools]
    return "\n".join(lines) or "- none"
