"""What runs have in common: messages of a state as values that an event can carry, and back; the same calls. Pure."""

import orjson

from ledgent.schemas.state import Assistant, Message, ToolResult, User
from ledgent.schemas.values import RecordedCall, SharedMessage, ToolRequest


def call_key(request: ToolRequest | RecordedCall) -> tuple[str, bytes]:
    """A tool call without what only names it: the same arguments in another order are the same call."""
    try:
        return request.name, orjson.dumps(orjson.loads(request.arguments), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return request.name, request.arguments.encode(errors="surrogatepass")


def left_after(recorded: tuple[RecordedCall, ...], request: ToolRequest) -> tuple[RecordedCall, ...]:
    """The other run's calls that may still be made again in order, once this one has begun; none after another one."""
    return recorded[1:] if recorded and call_key(recorded[0]) == call_key(request) else ()


def shared_message(message: Message) -> SharedMessage:
    """The message as a value."""
    match message:
        case User(text, parts):
            return SharedMessage(role="user", text=text, parts=parts)
        case Assistant(text, tool_calls):
            return SharedMessage(role="assistant", text=text, tool_calls=tool_calls)
        case ToolResult(provider_id, text, parts):
            return SharedMessage(role="tool", text=text, provider_id=provider_id, parts=parts)


def message_of(shared: SharedMessage) -> Message:
    """The message that the value is of."""
    match shared.role:
        case "user":
            return User(shared.text or "", shared.parts)
        case "assistant":
            return Assistant(shared.text, shared.tool_calls)
        case "tool":
            return ToolResult(shared.provider_id, shared.text or "", shared.parts)
