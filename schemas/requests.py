"""What comes from outside: the requests that start, feed and stop runs. Data only.

Each has an id; the event that it causes carries that id, so a redelivered request does nothing twice.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from ledgent.schemas.agents import Limits
from ledgent.schemas.errors import RecordTooLarge, UnreadableRecord, UsageError
from ledgent.schemas.frozen import Frozen
from ledgent.schemas.values import ForkedFrom, Part


class StartRun(Frozen):
    """Begin a run of the agent with this name."""

    type: Literal["start_run"] = "start_run"
    request_id: str
    run_id: str
    agent: str
    input: str | None = None
    limits: Limits | None = None
    """Its set fields override the agent's."""
    session: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    forked_from: ForkedFrom | None = None
    """The run that the new one goes on from."""
    texts: tuple[str, ...] = ()
    """What each place in `forked_from.edited` says instead."""
    instructions: str | None = None
    """In place of the agent's; only for a run that goes on from another."""
    files: tuple[Part, ...] = ()
    """Sent with the input; their bytes are in the blob store before the request is made."""


class SendMessage(Frozen):
    """Say something more in a conversation."""

    type: Literal["send_message"] = "send_message"
    request_id: str
    run_id: str
    text: str
    files: tuple[Part, ...] = ()


class EndConversation(Frozen):
    """Let a conversation end once what is under way has settled."""

    type: Literal["end_conversation"] = "end_conversation"
    request_id: str
    run_id: str


class CancelRun(Frozen):
    """Stop what is under way, then end the run as cancelled."""

    type: Literal["cancel_run"] = "cancel_run"
    request_id: str
    run_id: str
    reason: str = ""


class ApproveCall(Frozen):
    """Allow a tool call that waits for it."""

    type: Literal["approve_call"] = "approve_call"
    request_id: str
    run_id: str
    call_id: str
    by: str = ""
    """Who, as they say."""


class DenyCall(Frozen):
    """Do not allow a tool call that waits for it; the model is told."""

    type: Literal["deny_call"] = "deny_call"
    request_id: str
    run_id: str
    call_id: str
    by: str = ""
    reason: str = ""


class AnswerQuestion(Frozen):
    """Answer a question that a call asks."""

    type: Literal["answer_question"] = "answer_question"
    request_id: str
    run_id: str
    call_id: str
    text: str
    by: str = ""
    """Who, as they say."""


class SaveCheckpoint(Frozen):
    """Give the run's state a name, to show it or to restore the run there."""

    type: Literal["save_checkpoint"] = "save_checkpoint"
    request_id: str
    run_id: str
    name: str


AnyRequest = (
    StartRun | SendMessage | EndConversation | CancelRun | ApproveCall | DenyCall | AnswerQuestion | SaveCheckpoint
)

_REQUEST: TypeAdapter[AnyRequest] = TypeAdapter(Annotated[AnyRequest, Field(discriminator="type")])


MAX_REQUEST_BYTES = 600_000
"""Of an encoded request: what it causes must fit into a record beside the agent's spec."""


_CHECKPOINT = re.compile(r"[^\W\d_][\w.-]{0,99}")


def checkpoint_name(name: str) -> str:
    """The name, if a checkpoint can have it. Raises UsageError."""
    if not _CHECKPOINT.fullmatch(name):
        raise UsageError(
            "a checkpoint's name begins with a letter and has letters, digits, '-', '_' and '.' only, 100 at most, "
            f"not {name!r:.200}"
        )
    return name


def encode_request(request: AnyRequest) -> bytes:
    """The stored form: JSON. Raises RecordTooLarge, UsageError."""
    try:
        body = request.__pydantic_serializer__.to_json(request)
    except PydanticSerializationError as error:
        raise UsageError(
            f"a text in this {request.type} request holds half a character, which UTF-8 cannot store: {error}"
        ) from error
    if len(body) > MAX_REQUEST_BYTES:
        raise RecordTooLarge(
            f"run {request.run_id}: a {request.type} request would take {len(body):,} bytes; it may have "
            f"{MAX_REQUEST_BYTES:,}: pass large data by reference"
        )
    return body


def decode_request(body: bytes) -> AnyRequest:
    """The request in these bytes. Raises UnreadableRecord."""
    try:
        return _REQUEST.validate_json(body)
    except ValidationError as error:
        raise UnreadableRecord(f"a request cannot be read: {error}") from error
