"""Values that several events carry. Nothing else."""

from typing import Annotated

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


class ToolRequest(Frozen):
    """A tool call as the model asked for it."""

    call_id: str
    """Ours, from the state: `m1.t0`."""
    provider_id: str
    """The provider's own id, sent back to it; not unique, never a key."""
    name: str
    arguments: str
    """As the model wrote it: usually JSON, not always."""
