"""Images and other files on their way to a model: read, told by their type, put where events can refer to them."""

import asyncio
import mimetypes
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ValidationError

from ledgent.schemas.codec import whole_characters
from ledgent.schemas.errors import FileRefused, UsageError
from ledgent.schemas.ports import Blobs
from ledgent.schemas.values import Part

MAX_FILE_BYTES = 20_000_000
"""Of one file: providers take little more in a whole request, where it is a third larger."""
MAX_NAME_CHARACTERS = 200

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What models see as images; others are files unless it is said otherwise."""

_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)
_NAMES = mimetypes.MimeTypes(filenames=())
"""The types by name that Python knows, and so the same on every machine."""
_TEXTUAL = re.compile(
    r"text/.+|application/(.+\+)?(json|xml|yaml|toml|javascript|sql|x-ndjson|jsonl|x-yaml|x-sh)|.+\+xml"
)


class File:
    """A file for a model: `File("report.pdf")`, or its bytes, `File(content, name="report.pdf")`.

    Its media type is told by how it begins, else by its name, unless it is given. A tool may return one.
    """

    kind: ClassVar[Literal["image", "file"] | None] = None

    def __init__(
        self, source: str | os.PathLike[str] | bytes, *, name: str | None = None, media_type: str | None = None
    ) -> None:
        if not isinstance(source, str | os.PathLike | bytes):
            raise UsageError(f"a file is given as a path or as bytes, not as {type(source).__name__}")
        self.source = source
        self.name = name or (None if isinstance(source, bytes) else Path(source).name)
        self.media_type = media_type

    def __repr__(self) -> str:
        said = f"{len(self.source):,} bytes" if isinstance(self.source, bytes) else repr(os.fspath(self.source))
        return f"{type(self).__name__}({said})"

    def read(self) -> bytes:
        """Its bytes. Raises FileRefused."""
        content = self.source if isinstance(self.source, bytes) else _read(Path(self.source))
        if len(content) > MAX_FILE_BYTES:
            raise FileRefused(f"{self!r} has {len(content):,} bytes; a file may have {MAX_FILE_BYTES:,}")
        if not content:
            raise FileRefused(f"{self!r} is empty")
        return content

    def kept(self, blobs: Blobs) -> Part:
        """What refers to it, once its bytes are durable. Raises FileRefused, BlobsUnavailable."""
        content = self.read()
        media_type = (self.media_type or told_type(content) or _named_type(self.name, content)).partition(";")[0]
        media_type = media_type.strip().lower()
        kind = self.kind or ("image" if media_type in IMAGES else "file")
        if kind == "image" and not media_type.startswith("image/"):
            raise FileRefused(f"{self!r} is no image but {media_type}")
        name = whole_characters(self.name)[-MAX_NAME_CHARACTERS:] if self.name else None
        try:
            part = Part(kind=kind, media_type=media_type, sha256="0" * 64, size=len(content), name=name)
        except ValidationError:
            raise FileRefused(f"{self!r}: {media_type!r:.100} is no media type") from None
        return part.model_copy(update={"sha256": blobs.put(content)})


class Image(File):
    """An image for a model: `Image("chart.png")`, or its bytes. Raises FileRefused, when read, if it is none."""

    kind = "image"


def is_textual(media_type: str) -> bool:
    """Whether such a file is a text, and can be told as one."""
    return _TEXTUAL.fullmatch(media_type) is not None


def told_type(content: bytes) -> str | None:
    """The media type that the beginning of the bytes gives away: that of the kinds that models take."""
    return next((kind for begins, kind in _BEGINNINGS if begins.match(content)), None)


async def kept_files(files: Sequence[str | os.PathLike[str] | File], blobs: Blobs) -> tuple[Part, ...]:
    """What refers to the files, once they are durable. Raises UsageError, FileRefused, BlobsUnavailable."""
    if isinstance(files, str | bytes | os.PathLike | File):
        raise UsageError('several files are expected: files=["a.png"]')
    given = [one if isinstance(one, File) else File(one) for one in files]
    if not given:
        return ()
    return await asyncio.to_thread(lambda: tuple(file.kept(blobs) for file in given))


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise FileRefused(f"{path} is a directory: name the files in it")
        if not stat.S_ISREG(found.st_mode):
            raise FileRefused(f"{path} is no regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise FileRefused(f"{path} has {found.st_size:,} bytes; a file may have {MAX_FILE_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileRefused(f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise FileRefused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _named_type(name: str | None, content: bytes) -> str:
    """By its name, but not where that makes something else of what is plainly a text: `.ts` is video to some."""
    known = _NAMES.guess_type(name or "")[0]
    try:
        content.decode()
    except UnicodeDecodeError:
        return known or "application/octet-stream"
    return known if known and is_textual(known) else "text/plain"
