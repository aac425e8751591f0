"""Messages of a state as values that an event can carry, and back. Pure."""

from ledgent.schemas.state import Assistant, Message, ToolResult, User
from ledgent.schemas.values import SharedMessage


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
