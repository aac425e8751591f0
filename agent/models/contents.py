"""From a request that refers to files to one that holds them, just before it is sent. The log knows the first only."""

import asyncio
import re
from base64 import b64encode
from typing import Any

import orjson

from ledgent.agent.models.port import ModelFailure, ModelRequest
from ledgent.agent.models.reading import fields
from ledgent.producers.files import is_textual
from ledgent.schemas.errors import BlobLost, ErrorCode, ErrorInfo, LedgentError
from ledgent.schemas.ports import Blobs
from ledgent.schemas.values import REFERENCE

_REFERENCE = re.compile(re.escape(REFERENCE) + "([^;,]+);sha256,([0-9a-f]{64})")
_MARK = f'"{REFERENCE}'.encode()


def refers_to_files(request: ModelRequest) -> bool:
    """Whether there is anything to put in."""
    return request.blobs is not None and _MARK in request.body


async def with_contents(request: ModelRequest, reads_texts: bool) -> bytes:
    """The body with data URLs where it refers to files; without `reads_texts`, with their text where they are texts.

    Raises ModelFailure (missing_file).
    """
    if request.blobs is None:
        return request.body
    try:
        return await asyncio.to_thread(_filled, request.body, request.blobs, reads_texts)
    except LedgentError as error:
        message = f"a file of this conversation cannot be sent: {error}"
        lost = ErrorInfo(code=ErrorCode.MISSING_FILE, message=message, retryable=not isinstance(error, BlobLost))
        raise ModelFailure(lost) from None


def _filled(body: bytes, blobs: Blobs, reads_texts: bool) -> bytes:
    asked = orjson.loads(body)
    for message in asked["messages"]:
        if isinstance(message["content"], list):
            message["content"] = [_part(part, blobs, reads_texts) for part in message["content"]]
    return orjson.dumps(asked)


def _part(part: dict[str, Any], blobs: Blobs, reads_texts: bool) -> dict[str, Any]:
    image, file = fields(part.get("image_url")), fields(part.get("file"))
    found = _REFERENCE.fullmatch(str(image.get("url") or file.get("file_data")))
    if found is None:
        return part
    media_type, content = found[1], blobs.get(found[2])
    if file and is_textual(media_type):
        if not reads_texts:
            text = content.decode(errors="replace")
            return {"type": "text", "text": f"The file {file['filename']}:\n{text}"}
        media_type = "text/plain"
    url = f"data:{media_type};base64,{b64encode(content).decode()}"
    if image:
        return {"type": "image_url", "image_url": {**image, "url": url}}
    return {"type": "file", "file": {**file, "file_data": url}}
