"""A run's state and its messages as JSON-able values: messages in the chat-completions form. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ledgent.schemas.state import (
    Assistant,
    Context,
    Message,
    ModelCall,
    RunState,
    ToolCall,
    ToolResult,
    User,
)
from ledgent.schemas.values import Part


def as_json(state: RunState) -> dict[str, Any]:
    """The state as JSON-able values, for people and for comparing: messages in the chat-completions form."""
    model_call = state.model_call
    return {
        "run_id": state.run_id,
        "status": str(state.status),
        "seq": state.seq,
        "epoch": state.epoch,
        "now": state.now.isoformat() if state.now else None,
        "agent": state.agent.name if state.agent else None,
        "limits": state.limits.model_dump(exclude_none=True),
        "spent": msgspec.structs.asdict(state.spent),
        "checkpoints": state.checkpoints,
        "suspended": state.suspended,
        "cancel_requested": state.cancel_requested,
        "end_requested": state.end_requested,
        "model_call": _call_as_json(model_call) if model_call else None,
        "tool_calls": [_tool_call_as_json(call) for call in state.tool_calls.values()],
        "inbox": [message_as_json(message)["content"] for message in state.inbox],
        "context": _context_as_json(state.context),
        "messages": [message_as_json(message) for message in with_files(state.messages)],
        "recorded": [call.call_id for call in state.recorded],
        "output": state.output,
        "error": state.error.model_dump(mode="json", exclude_none=True) if state.error else None,
        "limit": state.limit,
        "wholes": {call_id: str(whole) for call_id, whole in state.wholes.items()},
        "reading": state.reading,
        "recalled": state.recalled,
        "fell_back": msgspec.to_builtins(state.fell_back),
    }


def message_as_json(message: Message) -> dict[str, Any]:
    """The message as chat completions write it."""
    match message:
        case User(text, ()):
            return {"role": "user", "content": text}
        case User(text, parts):
            said = [{"type": "text", "text": text}] if text else []
            return {"role": "user", "content": [*map(_part_as_json, parts), *said]}
        case ToolResult(provider_id, text):
            return {"role": "tool", "tool_call_id": provider_id, "content": text}
        case Assistant(text, ()):
            return {"role": "assistant", "content": text}
        case Assistant(text, tool_calls):
            asked = [
                {
                    "id": c.provider_id,
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                }
                for c in tool_calls
            ]
            return {"role": "assistant", "content": text, "tool_calls": asked}


def with_files(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages as they can be sent: tool messages hold texts only, so the files of a round follow all its results.

    Each round that gave files is followed by a user's message with them, which says whose they are.
    """
    given: list[ToolResult] = []
    for message in messages:
        if given and not isinstance(message, ToolResult):
            yield _given(given)
            given = []
        if isinstance(message, ToolResult) and message.parts:
            given.append(message)
        yield message
    if given:
        yield _given(given)


def _given(results: list[ToolResult]) -> User:
    told = "; ".join(
        f"{part.name or part.media_type} by {result.provider_id}" for result in results for part in result.parts
    )
    parts = tuple(part for result in results for part in result.parts)
    return User(f"These files were given by tool calls, in this order: {told}.", parts)


def _part_as_json(part: Part) -> dict[str, Any]:
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.reference}}
    # Providers ask for a name, and some go by its ending.
    name = part.name or ("file.pdf" if part.media_type == "application/pdf" else "file")
    return {"type": "file", "file": {"filename": name, "file_data": part.reference}}


def _context_as_json(context: Context) -> dict[str, Any]:
    shortened = {str(place): characters for place, characters in context.shortened.items()}
    return {**msgspec.structs.asdict(context), "shortened": shortened}


def _call_as_json(call: ModelCall) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "attempt": call.attempt,
        "phase": str(call.phase),
        "error": call.error.message if call.error else None,
        "asked": call.asked,
    }


def _tool_call_as_json(call: ToolCall) -> dict[str, Any]:
    return {
        "call_id": call.request.call_id,
        "name": call.request.name,
        "arguments": call.request.arguments,
        "attempt": call.attempt,
        "phase": str(call.phase),
        "answer": call.answer,
        "question": call.question,
        "choices": list(call.choices),
    }
