"""From the content of chat-completions messages to content blocks of the Anthropic messages format. Pure."""

import re
from base64 import b64decode
from typing import Any

from ledgent.agent.models.reading import fields, string

EMPTY = "(no text)"
"""What stands for a user's message without content: Anthropic refuses one that has none."""

DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,(.*)", re.DOTALL)


def blocks_of(content: object) -> list[Any]:
    """The blocks of a message's content, which is a text, a part or a list of parts; texts of nothing are left out."""
    parts = content if isinstance(content, list) else [content]
    return [block for block in map(_block, parts) if block is not None]


def joined_text(contents: list[Any]) -> Any:
    """The system prompt of several system messages: one text if they are all texts, else blocks."""
    if all(content is None or isinstance(content, str) for content in contents):
        return "\n\n".join(content for content in contents if content and content.strip())
    return [block for content in contents for block in blocks_of(content)]


def _block(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part} if part.strip() else None
    match fields(part).get("type"):
        case "text":
            return part if (string(part.get("text")) or "").strip() else None
        case "refusal":
            return _block(string(part.get("refusal")) or "")
        case "image_url":
            image = part.get("image_url")
            return _with_rest(part, "image_url", _image(image if isinstance(image, str) else fields(image).get("url")))
        case "file":
            return _with_rest(part, "file", _document(fields(part.get("file"))))
        case _:
            return part


def _with_rest(part: dict[str, Any], kind: str, block: dict[str, Any]) -> dict[str, Any]:
    """The block, with what else the part has: a cache_control, for one."""
    return {**block, **{name: value for name, value in part.items() if name not in ("type", kind)}}


def _image(url: object) -> dict[str, Any]:
    data = DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if data is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": data[1], "data": data[2]}}


def _document(file: dict[str, Any]) -> dict[str, Any]:
    title = {"title": file["filename"]} if string(file.get("filename")) else {}
    if file.get("file_id"):
        return {"type": "document", "source": {"type": "file", "file_id": file["file_id"]}, **title}
    data = DATA_URL.fullmatch(string(file.get("file_data")) or "")
    if data is not None and data[1].startswith("image/"):
        return _image(file["file_data"])
    if data is not None and data[1].startswith("text/"):
        return {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": _text(data[2])},
            **title,
        }
    kind, content = (data[1], data[2]) if data else ("application/pdf", file.get("file_data"))
    return {"type": "document", "source": {"type": "base64", "media_type": kind, "data": content}, **title}


def _text(data: str) -> str:
    try:
        return b64decode(data).decode(errors="replace")
    except ValueError:
        return data
