"""Values that several events carry. Nothing else."""

from typing import Annotated, Literal

from pydantic import Field

from ledgent.schemas.frozen import Frozen

Tokens = Annotated[int, Field(ge=0, lt=2**53)]


class Usage(Frozen):
    """Tokens as the provider counted them."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cached_tokens: Tokens = 0
    """Of the input, read from the provider's cache."""
    reasoning_tokens: Tokens = 0
    """Of the output, spent on reasoning."""


class Cut(Frozen):
    """What a text was before it was cut to fit a record."""

    size: int
    """UTF-8 bytes."""
    sha256: str


class Part(Frozen):
    """An image or another file beside a text: what it is and where its bytes are, never the bytes."""

    kind: Literal["image", "file"]
    media_type: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+_-]*/[a-z0-9][a-z0-9.+_-]*$", max_length=127)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its bytes, as hex; a blob store has them under it."""
    size: int
    """Bytes."""
    name: str | None = None

    @property
    def reference(self) -> str:
        """What stands for the bytes in a request that is not yet sent; written as the data URL that replaces it."""
        return f"{REFERENCE}{self.media_type};sha256,{self.sha256}"

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.name, self.media_type, f"{self.size:,} bytes")))


REFERENCE = "ledgent:"
"""How a part's reference begins."""


class Imported(Frozen):
    """Where a run was recorded that another system made."""

    source: str
    """The form that it was in: `openai`, chat-completions messages."""
    sha256: str
    """Of the bytes that it was made from."""
    left_out: int = 0
    """Messages and parts of messages that no event can hold."""


class ToolRequest(Frozen):
    """A tool call as the model asked for it."""

    call_id: str
    """Ours, from the state: `m1.t0`."""
    provider_id: str
    """The provider's own id, sent back to it; not unique, never a key."""
    name: str
    arguments: str
    """As the model wrote it: usually JSON, not always."""


class SharedMessage(Frozen):
    """A message of a conversation that two runs share."""

    role: Literal["user", "assistant", "tool"]
    text: str | None = None
    tool_calls: tuple[ToolRequest, ...] = ()
    """That an answer asked for."""
    provider_id: str = ""
    """Of the call that a tool's text is the result of."""
    parts: tuple[Part, ...] = ()
    """Beside the text of a user or a tool."""


class RecordedCall(Frozen):
    """A tool call that another run had made after the point where this one went on from it, and what came of it."""

    call_id: str
    """That run's."""
    name: str
    arguments: str
    result: str | None = None
    """What its model was told; None: nothing that stands here, and an identical call is decided anew."""
    completed: bool = False
    """Whether the tool returned it."""
    parts: tuple[Part, ...] = ()
    whole: Part | None = None


class ForkedFrom(Frozen):
    """Where a run began from another one, and what is otherwise in it."""

    run_id: str
    seq: int
    """Of its last record that counts."""
    digest: str
    """That record's."""
    messages: int
    """In its conversation there; `history.shared` holds them."""
    model_calls: int
    """Made up to there: the numbering goes on."""
    tools: Literal["live", "recorded", "refused"] = "live"
    """What becomes of tool calls: all are made; or those that the other run made too, in the same order, are answered
    as they were there. From the first that it did not make on, `recorded` makes those of idempotent tools and those
    that a person allows, `refused` none."""
    allowed: tuple[str, ...] = ()
    """Tools that are called none the less; `*`: all."""
    calls: int = 0
    """Of that run's later tool calls; `history.shared` holds them after the messages."""
    upto: int = 0
    """That run's last record when its later calls were read; 0: they were not."""
    edited: tuple[int, ...] = ()
    """Places of messages, and after them of calls, that say something else here than there; counted from 0."""
    model: str | None = None
    """The name of the model that this run was given in place of its agent's."""
    changed: tuple[str, ...] = ()
    """The fields of the agent in which it is not as it was in that run; `limits` are the run's."""
    recalled: int = 0
    """Of the messages, how many from the first on need no memory to be read for them any more."""
