"""What a tool gave, as a model is told it: a text, files beside it, and the whole of a text that is cut. No log."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pydantic_core

from ledgent.producers.files import File
from ledgent.schemas.codec import beginning, whole_characters
from ledgent.schemas.errors import LedgentError, ToolError
from ledgent.schemas.ports import Blobs
from ledgent.schemas.values import Part

_WHERE = re.compile(r"^Error serializing to JSON: (\w+Error: )?")


class Output(NamedTuple):
    """What a tool gave."""

    text: str
    files: tuple[File, ...] = ()
    media_type: str = "text/plain"
    """Of the text."""


class Told(NamedTuple):
    """What is recorded of it; all bytes that it refers to are durable."""

    text: str
    files: tuple[Part, ...] = ()
    whole: Part | None = None


@dataclass(frozen=True)
class Wholes:
    """The results of one run that a model was told only the beginning of."""

    parts: Mapping[str, Part]
    """By call id."""
    blobs: Blobs
    readable: bool = False
    """Whether the agent has the tool that reads on in them."""

    def text(self, call_id: str) -> str:
        """The whole result of a call. Raises ToolError."""
        part = self.parts.get(call_id)
        if part is None:
            known = ", ".join(self.parts) or "none"
            raise ToolError(f"No result of a call {call_id!r} was cut. The calls whose results were: {known}.")
        try:
            return self.blobs.get(part.sha256).decode()
        except LedgentError as error:
            raise ToolError(f"The whole result of {call_id} cannot be read: {error}") from error


def output_of(name: str, result: Any) -> Output:
    """A `str` verbatim, an `Output` as it is, anything else as JSON, in which each `File` is named.

    Raises ToolError for what cannot be written as JSON.
    """
    if isinstance(result, Output):
        return result
    if isinstance(result, str):
        return Output(result)
    files: list[File] = []

    def other(value: Any) -> str:
        if not isinstance(value, File):
            raise TypeError(f"{type(value).__name__} is no JSON type")
        files.append(value)
        return named(value)

    if isinstance(result, File):
        return Output(other(result), tuple(files))
    try:
        text = pydantic_core.to_json(result, inf_nan_mode="null", fallback=other).decode()
    except (ValueError, TypeError, RecursionError) as error:
        reason = _WHERE.sub("", str(error).partition("\n")[0][:300])
        raise ToolError(f"{name} has done its work, but its result cannot be written as JSON: {reason}") from error
    return Output(text, tuple(files), "application/json")


def named(file: File) -> str:
    """What stands for a file in a text."""
    return f"[{type(file).__name__.lower()} {file.name}]" if file.name else f"[{type(file).__name__.lower()}]"


async def told(output: Output, name: str, call_id: str, most: int, wholes: Wholes) -> Told:
    """What the model is told, once all that it refers to is durable. Raises ToolError where that cannot be.

    A text of more than `most` characters, or too large for a record, is cut and kept whole.
    """
    text = whole_characters(output.text)
    if not output.files and len(beginning(text[:most])) == len(text):
        return Told(text)
    try:
        return await asyncio.to_thread(_kept, output._replace(text=text), call_id, most, wholes)
    except LedgentError as error:
        raise ToolError(f"{name} has done its work, but what it gave cannot be kept: {error}") from error


def _kept(output: Output, call_id: str, most: int, wholes: Wholes) -> Told:
    files = tuple(file.kept(wholes.blobs) for file in output.files)
    text = output.text
    shown = beginning(text[:most])
    if len(shown) == len(text):
        return Told(text, files)
    content = text.encode()
    name = f"{call_id}.{'json' if output.media_type == 'application/json' else 'txt'}"
    whole = Part(
        kind="file",
        media_type=output.media_type,
        sha256=wholes.blobs.put(content),
        size=len(content),
        name=name,
    )
    further = f'; read_result(call_id="{call_id}", offset={len(shown)}) reads on' if wholes.readable else ""
    return Told(f"{shown}\n[cut: {len(shown):,} of {len(text):,} characters are shown{further}]", files, whole)
