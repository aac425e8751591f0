"""From a chat-completions request to one in the Anthropic messages format: a pure function of its bytes.

The log knows requests in the first form only. What becomes of its parts:

- `system` and `developer` messages, wherever they stand, are the `system` prompt.
- Tool calls are `tool_use` blocks. Arguments that are no JSON object are sent as `{"INVALID_JSON": "<the text>"}`.
- Tool messages are `tool_result` blocks, all of one round in one user message; a user's words follow in the same one.
- Ids of calls get the letters that Anthropic allows, and a number where one is used twice; results follow their calls.
- `image_url` and `file` parts are image and document blocks. Parts that are not known go as they are.
- Empty texts, which Anthropic refuses, are left out; a user who said nothing says EMPTY, also before an assistant who
  speaks first.
- `stop`, `max_completion_tokens`, `user`, `tool_choice`, `parallel_tool_calls`, `response_format` with a schema and
  `reasoning_effort` have other names here. `max_tokens`, which must be given, is MAX_TOKENS unless it is set.
- The schema of a `response_format` goes as a sentence of the system prompt where it cannot go as one of Anthropic's:
  to models without structured outputs, or with words that these do not know.
- IGNORED parameters mean nothing here. All others go as they are, Anthropic's own among them (`thinking`, `top_k`).
- A manual `thinking` is left out while tool results are sent back: its blocks would have to be sent back too, signed,
  and the log does not hold them. Adaptive thinking does not ask for them.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from ledgent.agent.models.anthropic_parts import EMPTY, blocks_of, joined_text
from ledgent.agent.models.anthropic_schema import SUPPORTING, constrained
from ledgent.agent.models.port import ModelFailure
from ledgent.agent.models.reading import fields, string
from ledgent.schemas.errors import ErrorCode, ErrorInfo

IGNORED = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "safety_identifier",
        "seed",
        "store",
        "stream_options",
        "top_logprobs",
        "verbosity",
    }
)

SENT_FIRST = {"model", "messages"}

MAX_TOKENS: tuple[tuple[str, int], ...] = (
    (r"claude-(instant|[12]\b|3-(haiku|opus|sonnet))", 4_096),
    (r"claude-3-5", 8_192),
    (r"claude-(3-7|(opus|sonnet)-4(-[01])?([-@]?\d{8}|$))", 16_000),
    (r"claude-", 64_000),
    (r"", 8_192),
)
"""By model, first match: within what it can write; for the older ones less, since that counts against the context."""

THINKING_ROOM = 8_192
"""Tokens for the answer itself, where a thinking budget is as large as the default or larger."""


class Asked(NamedTuple):
    """A request as it is sent."""

    body: bytes
    betas: tuple[str, ...]
    """Named in a header, not in the body."""


def messages_request(body: bytes) -> Asked:
    """The request in the messages format. Raises ModelFailure (invalid_request): the bytes are no chat request."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refused(f"it is not JSON: {error}") from None
    messages = fields(asked).get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _refused("it has no list of messages")
    output, words = _output(asked)
    system, turns = _conversation([*messages, *words])
    betas = asked.pop("betas", None)
    request = {
        "model": asked.get("model"),
        "max_tokens": _max_tokens(asked),
        **({"system": system} if system else {}),
        "messages": turns,
        **_tools(asked),
        **_renamed(asked),
        **({"output_config": output} if output else {}),
        **{name: value for name, value in asked.items() if name not in IGNORED | SENT_FIRST},
    }
    if fields(request.get("thinking")).get("type") == "enabled" and _lacks_thinking(turns):
        del request["thinking"]
    named = betas if isinstance(betas, list) else [betas]
    try:
        return Asked(orjson.dumps(request), tuple(beta for beta in named if isinstance(beta, str)))
    except orjson.JSONEncodeError as error:
        raise _refused(str(error)) from None


class _Ids:
    """The ids under which calls and their results are sent."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: list[tuple[str, str]] = []

    def begin(self) -> None:
        """A new round: results belong to its calls only."""
        self._open = []

    def call(self, given: object) -> str:
        """The id for a call."""
        base = re.sub(r"[^a-zA-Z0-9_-]", "_", string(given) or "call")
        number, id = 1, base
        while id in self._used:
            number += 1
            id = f"{base}_{number}"
        self._used.add(id)
        self._open.append((str(given), id))
        return id

    def result(self, given: object) -> str:
        """The id for a result: its call's, of several with the same id the first that has none yet."""
        for place, (asked, id) in enumerate(self._open):
            if asked == str(given):
                del self._open[place]
                return id
        return re.sub(r"[^a-zA-Z0-9_-]", "_", str(given))


def _conversation(messages: Iterable[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """The system prompt, and turns of user and assistant that alternate."""
    system: list[Any] = []
    turns: list[dict[str, Any]] = []
    ids = _Ids()
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            system.append(content)
        elif role == "tool":
            _say(turns, "user", [_result(message, ids)])
        elif role == "assistant":
            ids.begin()
            said = blocks_of(content) or blocks_of(message.get("refusal"))
            calls = message.get("tool_calls")
            asked = [_call(fields(call), ids) for call in (calls if isinstance(calls, list) else ())]
            _say(turns, "assistant", said + asked)
        else:
            _say(turns, string(role) or "user", blocks_of(content) or [{"type": "text", "text": EMPTY}])
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": EMPTY}]})
    return joined_text(system), turns


def _say(turns: list[dict[str, Any]], role: str, blocks: list[Any]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        turns.append({"role": role, "content": blocks})


def _call(call: dict[str, Any], ids: _Ids) -> dict[str, Any]:
    function = fields(call.get("function"))
    return {
        "type": "tool_use",
        "id": ids.call(call.get("id")),
        "name": function.get("name"),
        "input": _input(function.get("arguments")),
    }


def _input(arguments: object) -> object:
    """The arguments as they were written, where they are an object; else an object that holds them."""
    if not isinstance(arguments, str):
        return fields(arguments)
    try:
        if isinstance(orjson.loads(arguments), dict):
            return orjson.Fragment(arguments)
    except orjson.JSONDecodeError:
        pass
    return {"INVALID_JSON": arguments} if arguments.strip() else {}


def _result(message: dict[str, Any], ids: _Ids) -> dict[str, Any]:
    content = message.get("content")
    said = content if isinstance(content, str) else blocks_of(content)
    result = {"type": "tool_result", "tool_use_id": ids.result(message.get("tool_call_id"))}
    return {**result, "content": said} if said else result


def _tools(asked: dict[str, Any]) -> dict[str, Any]:
    tools, choice = asked.pop("tools", None), asked.pop("tool_choice", None)
    one_at_a_time = asked.pop("parallel_tool_calls", None) is False
    if not isinstance(tools, list) or not tools:
        return {}
    chosen = _choice(choice)
    if one_at_a_time:
        chosen = {"type": "auto", **(chosen or {}), "disable_parallel_tool_use": True}
    return {"tools": [_tool(tool) for tool in tools], **({"tool_choice": chosen} if chosen else {})}


def _tool(tool: Any) -> Any:
    """A function as a tool; other tools, such as those that Anthropic runs itself, go as they are."""
    function = fields(tool).get("function")
    if not isinstance(function, dict):
        return tool
    kept = {name: function[name] for name in ("description", "strict") if function.get(name)}
    schema = {"type": "object", **(fields(function.get("parameters")) or {"properties": {}})}
    rest = {name: value for name, value in tool.items() if name not in ("type", "function")}
    return {"name": function.get("name"), **kept, "input_schema": schema, **rest}


def _choice(choice: object) -> dict[str, Any] | None:
    if isinstance(choice, dict):
        name = fields(choice.get("function")).get("name")
        return {"type": "tool", "name": name} if name else choice
    names = {"auto": "auto", "none": "none", "required": "any"}
    return {"type": names[choice]} if isinstance(choice, str) and choice in names else None


def _renamed(asked: dict[str, Any]) -> dict[str, Any]:
    """What has another name in the messages format; taken out of `asked`."""
    renamed: dict[str, Any] = {}
    stop, user = asked.pop("stop", None), asked.pop("user", None)
    if stop:
        renamed["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if user:
        renamed["metadata"] = {"user_id": user, **fields(asked.pop("metadata", None))}
    return renamed


def _output(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is said of the answer's form, taken out of `asked`: to the server, and as messages to the model."""
    output = dict(fields(asked.pop("output_config", None)))
    effort = asked.pop("reasoning_effort", None)
    if effort and effort != "none":
        output.setdefault("effort", "low" if effort == "minimal" else effort)
    schema = fields(fields(asked.pop("response_format", None)).get("json_schema")).get("schema")
    if not isinstance(schema, dict) or "format" in output:
        return output, []
    said = constrained(schema) if SUPPORTING.search(string(asked.get("model")) or "") else None
    if said is not None:
        return {**output, "format": {"type": "json_schema", "schema": said}}, []
    words = f"Answer with nothing but JSON that fits this JSON Schema: {orjson.dumps(schema).decode()}"
    return output, [{"role": "system", "content": words}]


def _max_tokens(asked: dict[str, Any]) -> Any:
    new, old = asked.pop("max_completion_tokens", None), asked.pop("max_tokens", None)
    if new or old:
        return new or old
    name = string(asked.get("model")) or ""
    default = next(tokens for pattern, tokens in MAX_TOKENS if re.search(pattern, name))
    budget = fields(asked.get("thinking")).get("budget_tokens")
    return budget + THINKING_ROOM if isinstance(budget, int) and budget >= default else default


def _lacks_thinking(turns: list[dict[str, Any]]) -> bool:
    """Whether tool results are sent back to a turn of the model whose thinking is not."""
    if len(turns) < 2 or not any(fields(block).get("type") == "tool_result" for block in turns[-1]["content"]):
        return False
    return fields(turns[-2]["content"][0]).get("type") not in ("thinking", "redacted_thinking")


def _refused(why: str) -> ModelFailure:
    return ModelFailure(ErrorInfo(code=ErrorCode.INVALID_REQUEST, message=f"the request cannot be sent: {why}"))
