"""Exchanges as a recorder might have kept them."""

import json
from typing import Any

from benchmarks.recorded_exchanges import Exchange


def an_exchange(api: str, text: str, kind: str = "json", status: int | None = 200, **more: Any) -> Exchange:
    return Exchange("x", api, "someone", None, status, {}, kind, text)._replace(**more)


def sse(*data: object, end: str = "\n\n") -> str:
    return "".join(f"data: {each if isinstance(each, str) else json.dumps(each)}{end}" for each in data)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}]}


def answered(message: dict[str, Any], **more: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more})
