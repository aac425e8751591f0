"""What recorded bodies have in common: JSON, events and errors, read without a line of the code under test."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]


class Call(NamedTuple):
    id: str | None
    """None: the recording gives none."""
    name: str
    arguments: str


class Answer(NamedTuple):
    """A response that answers."""

    text: str | None
    reasoning: str | None
    calls: list[Call]
    finish: str | None
    input: int
    output: int
    cached: int
    thought: int


class Failure(NamedTuple):
    """A response that is an error, or no whole answer."""

    code: str
    status: int | None
    """The HTTP status; None: the failure is ours to see, not the server's to say."""
    words: str
    """What the server wrote to people."""


NAMED = (
    (r"context_(length|window|size)|exceed_context|^1261$", "context_overflow"),
    (
        r"insufficient_(quota|balance|credits)|billing|spend_limit|exceeded_current_quota|^arrearage$|^1113$",
        "quota_exhausted",
    ),
    (r"content_(filter|policy)|responsibleai|moderation|data_?inspection|^1301$", "content_filtered"),
    (r"overloaded", "server_error"),
    (r"rate_?limit|too_many_(requests|tokens)|resource_exhausted|throttl|quota_exceeded|^130[0235]$", "rate_limited"),
    (r"^(invalid|wrong)_?api_?key|authenti|permission|^(unauthori[sz]ed|forbidden)$|accessdenied", "auth"),
    (r"(request|payload)_too_large", "too_large"),
    (r"tool_use_failed|json_validate_failed", "malformed_response"),
    (r"deadline_exceeded|^timeout_error$", "timeout"),
    (r"^(internal_)?server_error$|unavailable", "server_error"),
    (r"not_?found", "invalid_request"),
)
"""By what an error is called: OpenAI's, Anthropic's, Azure's, Google's and others' documented codes and types."""

WORDED = (
    (
        r"context (length|window|size|limit)|prompt is too long|input (is|length) too long|input token count"
        r"|maximum prompt length|max_seq_len|reduce the length of the messages|max_tokens must be at least 1, got -",
        "context_overflow",
    ),
    (r"credit balance is too low|insufficient (balance|credits)|more credits|api usage limits", "quota_exhausted"),
    (r"content (management )?policy|content filtering policy|safety system|input was flagged", "content_filtered"),
    (r"(incorrect|invalid) (x-)?api.key|api key not valid|organization has been disabled", "auth"),
)

BY_STATUS = {
    401: "auth",
    402: "quota_exhausted",
    403: "auth",
    408: "timeout",
    409: "server_error",
    413: "too_large",
    425: "server_error",
    429: "rate_limited",
    501: "invalid_request",
    505: "invalid_request",
}


def error_of(status: int, text: str) -> Failure:
    """The error that a body is, by its names, then its words, then its status."""
    words = _words(json_of(text) or next(iter(payloads(text)), None))
    return Failure(_code(status, text, words), status, words)


def _code(status: int, text: str, words: str) -> str:
    names = re.findall(r'"(?:code|type|status|error_code)"\s*:\s*"?([\w.-]+)', text.lower())
    for pattern, code in NAMED:
        if any(re.search(pattern, name) for name in names):
            return code
    for pattern, code in WORDED:
        if re.search(pattern, (words or text).lower()):
            return code
    if status < 400:
        numbers = [int(name) for name in names if re.fullmatch(r"[45]\d\d", name)]
        status = numbers[0] if numbers else 500
    return BY_STATUS.get(status, "server_error" if status >= 500 else "invalid_request")


def _words(body: Any) -> str:
    """The first message to people in the body, from the outside in."""
    level = [body]
    while level:
        for node in level:
            for name in ("message", "detail", "msg", "error"):
                if isinstance(node, dict) and isinstance(node.get(name), str) and node[name]:
                    return str(node[name])
        level = [child for node in level for child in _children(node)]
    return ""


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def is_error(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    if body.get("error") or "error" in (body.get("object"), body.get("type")):
        return True
    answers = {"choices", "content", "delta", "content_block"} & set(body)
    return not answers and any(isinstance(body.get(name), str) for name in ("message", "detail", "msg"))


CUT = Failure("connection", None, "")
MALFORMED = Failure("malformed_response", None, "")


def withheld(answer: Answer | Failure) -> Answer | Failure:
    """A content_filtered failure, where a filter has left nothing of the answer."""
    if isinstance(answer, Failure) or answer.text or answer.calls:
        return answer
    filtered = answer.finish in ("content_filter", "sensitive", "refusal")
    return Failure("content_filtered", None, "") if filtered else answer


def json_of(text: str) -> Any:
    """The value of a JSON text, half surrogate pairs as U+FFFD; None where it is none."""
    try:
        value = json.loads(text.removeprefix("\ufeff"), parse_constant=lambda _: None)
    except ValueError:
        return None
    plain = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(plain)


def payloads(text: str) -> Iterator[Any]:
    """What a stream's events hold: JSON, "[DONE]", or None for what is neither; less a last one that was cut off."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    *blocks, rest = re.split(r"\n\n+", lines + "\n\n")
    whole = re.search(r"\n\n$", lines) is not None
    filled = [payload for block in [*blocks, rest] for payload in _of_block(block)]
    for place, payload in enumerate(filled):
        value = "[DONE]" if payload.strip() == "[DONE]" else json_of(payload)
        if value is None and place == len(filled) - 1 and not whole:
            return
        yield value if isinstance(value, dict) or value == "[DONE]" else None


def _of_block(block: str) -> list[str]:
    data = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
    joined = "\n".join(data)
    if len(data) > 1 and json_of(joined) is None:
        return data  # events whose blank lines were forgotten
    return [joined] if joined else []


def dumped(value: Any) -> str:
    return "" if value is None else json.dumps(value)
