"""Which code a failed call to an OpenAI-compatible server gets: the tables and their reading. No I/O."""

import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from math import isfinite
from typing import NamedTuple

from ledgent.agent.models.port import ModelFailure
from ledgent.agent.models.retryable import RETRYABLE
from ledgent.schemas.errors import ErrorCode, ErrorInfo

WORDS: dict[str, ErrorCode] = {
    "context_length_exceeded": ErrorCode.CONTEXT_OVERFLOW,
    "context_window_exceeded": ErrorCode.CONTEXT_OVERFLOW,
    "exceed_context_size_error": ErrorCode.CONTEXT_OVERFLOW,
    "model_context_window_exceeded": ErrorCode.CONTEXT_OVERFLOW,
    "insufficient_quota": ErrorCode.QUOTA_EXHAUSTED,
    "insufficient_balance": ErrorCode.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": ErrorCode.QUOTA_EXHAUSTED,
    "billing_not_active": ErrorCode.QUOTA_EXHAUSTED,
    "exceeded_current_quota_error": ErrorCode.QUOTA_EXHAUSTED,
    "1113": ErrorCode.QUOTA_EXHAUSTED,
    "rate_limit_exceeded": ErrorCode.RATE_LIMITED,
    "rate_limit_error": ErrorCode.RATE_LIMITED,
    "rate_limit_reached_error": ErrorCode.RATE_LIMITED,
    "rate_limited": ErrorCode.RATE_LIMITED,
    "ratelimitreached": ErrorCode.RATE_LIMITED,
    "too_many_requests": ErrorCode.RATE_LIMITED,
    "resource_exhausted": ErrorCode.RATE_LIMITED,
    "content_filter": ErrorCode.CONTENT_FILTERED,
    "content_policy_violation": ErrorCode.CONTENT_FILTERED,
    "responsibleaipolicyviolation": ErrorCode.CONTENT_FILTERED,
    "data_inspection_failed": ErrorCode.CONTENT_FILTERED,
    "moderation_blocked": ErrorCode.CONTENT_FILTERED,
    "invalid_api_key": ErrorCode.AUTH,
    "authentication_error": ErrorCode.AUTH,
    "permission_error": ErrorCode.AUTH,
    "unauthenticated": ErrorCode.AUTH,
    "permission_denied": ErrorCode.AUTH,
    "model_not_found": ErrorCode.INVALID_REQUEST,
    "deploymentnotfound": ErrorCode.INVALID_REQUEST,
    "request_too_large": ErrorCode.TOO_LARGE,
    "server_error": ErrorCode.SERVER_ERROR,
    "server_is_overloaded": ErrorCode.SERVER_ERROR,
    "service_unavailable_error": ErrorCode.SERVER_ERROR,
    "overloaded_error": ErrorCode.SERVER_ERROR,
    "engine_overloaded_error": ErrorCode.SERVER_ERROR,
    "internal_server_error": ErrorCode.SERVER_ERROR,
    "unavailable": ErrorCode.SERVER_ERROR,
    "deadline_exceeded": ErrorCode.TIMEOUT,
    # The server threw away what its own model wrote, because it was no valid tool call: asked again, it may do better.
    "tool_use_failed": ErrorCode.MALFORMED_RESPONSE,
}
"""By what servers write as an error's code, type or status, in small letters. Asked first."""

TEXTS: tuple[tuple[ErrorCode, tuple[str, ...]], ...] = (
    (
        ErrorCode.CONTEXT_OVERFLOW,
        (
            "maximum context length",
            "context length exceeded",
            "context window",
            "context size",
            "context limit",
            "than the context length",
            "prompt is too long",
            "maximum prompt length",
            "input is too long",
            "input length too long",
            "input token count",
            "reduce the length of the messages",
            "must be less than max_seq_len",
            "`inputs` tokens + `max_new_tokens` must be",
            "range of input length should be",
        ),
    ),
    (
        ErrorCode.QUOTA_EXHAUSTED,
        (
            "credit balance is too low",
            "insufficient balance",
            "insufficient credits",
            "more credits are required",
            "all available credits",
        ),
    ),
    (
        ErrorCode.CONTENT_FILTERED,
        ("content management policy", "content policy", "usage policy", "safety system", "input was flagged"),
    ),
    (ErrorCode.AUTH, ("incorrect api key", "invalid api key", "api key not valid")),
)
"""By what servers write in their messages, in small letters, where no word above was known."""

STATUSES: dict[int, ErrorCode] = {
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.AUTH,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.SERVER_ERROR,  # a lock held on the other side, as the SDK reads it too
    413: ErrorCode.TOO_LARGE,
    425: ErrorCode.SERVER_ERROR,
    429: ErrorCode.RATE_LIMITED,
    501: ErrorCode.INVALID_REQUEST,
    505: ErrorCode.INVALID_REQUEST,
}
"""Where neither word nor text was known. Other statuses: below 500 the request is wrong, from 500 the server."""

HINTS: dict[ErrorCode, str] = {
    ErrorCode.AUTH: "check OPENAI_API_KEY",
    ErrorCode.QUOTA_EXHAUSTED: "the account has to be paid up before another call can succeed",
    ErrorCode.CONNECTION: "check that the server runs and that OPENAI_BASE_URL is its address",
}
"""What mends it, after the message."""

MAX_TEXT = 1_000
"""Characters kept of what a server wrote."""


@cache
def exceptions() -> tuple[tuple[tuple[type[BaseException], ...], ErrorCode, bool], ...]:
    """By exception class, first match wins: code, and whether the same call may succeed later.

    Everything else that the wire raises is a connection that failed. A function, since only a process that makes calls
    shall load these packages.
    """
    import aiohttp
    import httpx2
    from aiohttp.http_exceptions import ContentEncodingError

    return (
        ((ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError), ErrorCode.CONNECTION, False),
        ((httpx2.InvalidURL, aiohttp.InvalidURL), ErrorCode.INVALID_REQUEST, False),
        ((ContentEncodingError, aiohttp.ClientResponseError), ErrorCode.MALFORMED_RESPONSE, True),
    )


class Said(NamedTuple):
    """What a server said of a failure."""

    text: str
    words: tuple[str, ...] = ()
    """Its code, type and the like, in small letters."""
    status: int | None = None
    """The HTTP status that it names in the body."""


def error_of_answer(status: int, body: object, headers: Mapping[str, str], where: str) -> ErrorInfo:
    """The error that an answer is. `body` is parsed JSON, or text where it is no JSON; `where` names the server."""
    said = _said(body)
    code = _code(said, said.status if status < 400 and said.status else status)
    retryable = code in RETRYABLE and not _can_never_fit(said.text)
    return ErrorInfo(
        code=code,
        message=with_hint(code, f"{where} answered {status}: {said.text or 'nothing'}"),
        retryable=retryable,
        retry_after_s=_retry_after_s(headers, said.text) if retryable else None,
        status=status,
    )


def error_of_exception(raised: BaseException, where: str) -> ErrorInfo:
    """The error that an exception of the wire is."""
    chain = list(_chain(raised))
    code, retryable = next(
        ((code, retry) for kinds, code, retry in exceptions() if any(isinstance(e, kinds) for e in chain)),
        (ErrorCode.CONNECTION, True),
    )
    reason = next((text for text in map(str, reversed(chain)) if text), type(raised).__name__)
    what = "the connection failed to" if code is ErrorCode.CONNECTION else "no usable answer from"
    return ErrorInfo(code=code, message=with_hint(code, f"{what} {where}: {cut(reason)}"), retryable=retryable)


def is_error(body: object) -> bool:
    """Whether a parsed answer is an error, whatever its HTTP status says."""
    if not isinstance(body, dict):
        return False
    return bool(body.get("error")) or body.get("object") == "error" or body.get("type") == "error"


def malformed(message: str) -> ModelFailure:
    """An answer that cannot be read as one."""
    return ModelFailure(ErrorInfo(code=ErrorCode.MALFORMED_RESPONSE, message=message, retryable=True))


def with_hint(code: ErrorCode, message: str) -> str:
    """The message, and what mends it."""
    return f"{message}; {HINTS[code]}" if code in HINTS else message


def shown(value: object) -> str:
    """A value in one short line."""
    try:
        return cut(value if isinstance(value, str) else str(value))
    except RecursionError:
        return "a value nested too deep to be shown"


def cut(text: str) -> str:
    """The text in one short line; of a page of HTML, its title."""
    text = text[: 10 * MAX_TEXT]
    if "<html" in text[:500].lower() or "<!doctype" in text[:500].lower():
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = f"a page of HTML ({title[1].strip()})" if title else "a page of HTML"
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[:MAX_TEXT] + "..."


def _code(said: Said, status: int) -> ErrorCode:
    for word in said.words:
        if word in WORDS:
            return WORDS[word]
    text = said.text.lower()
    for code, phrases in TEXTS:
        if any(phrase in text for phrase in phrases):
            return code
    if status in STATUSES:
        return STATUSES[status]
    return ErrorCode.INVALID_REQUEST if 300 <= status < 500 else ErrorCode.SERVER_ERROR


def _said(body: object) -> Said:
    """Servers nest errors once, twice or not at all, in objects, lists or plain text."""
    error = body
    while True:
        if isinstance(error, list) and error:
            error = error[0]
        elif isinstance(error, dict) and error.get("error"):
            error = error["error"]
        else:
            break
    if not isinstance(error, dict):
        return Said(shown(error or ""))
    inner = error.get("innererror")
    named = [error.get(key) for key in ("code", "type", "status")]
    named += [inner.get("code")] if isinstance(inner, dict) else []
    numbers = (error.get("code"), error.get("status"), error.get("status_code"))
    return Said(
        text=next((shown(error[key]) for key in ("message", "detail", "msg") if error.get(key)), shown(error)),
        words=tuple(str(word).lower() for word in named if word and isinstance(word, str | int)),
        status=next((n for n in map(_status, numbers) if n), None),
    )


def _status(value: object) -> int | None:
    number = re.fullmatch(r"[45]\d\d", str(value)) if isinstance(value, int | str) else None
    return int(number[0]) if number else None


def _can_never_fit(text: str) -> bool:
    """Whether a rate limit is smaller than this one request, so that no wait helps."""
    said = re.search(r"limit:? ([\d,]+), requested:? ([\d,]+)", text, re.IGNORECASE)
    if said is None:
        return False
    limit, requested = (int(number.replace(",", "") or 0) for number in said.groups())
    return requested > limit


def _retry_after_s(headers: Mapping[str, str], text: str) -> float | None:
    """The wait asked for, seconds: by header, or by a text such as "try again in 1m2.5s"."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        asked = headers.get(name)
        if asked is None:
            continue
        try:
            seconds = float(asked) * unit
        except ValueError:
            dated = _seconds_until(asked, headers.get("date"))
            if dated is None:
                continue
            seconds = dated
        if isfinite(seconds):
            return max(0.0, seconds)
    written = re.search(
        r"(?:try again|retry) in (?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d+)?)(ms|s))?", text, re.IGNORECASE
    )
    if written is None or not any(written.groups()):
        return None
    minutes, amount, unit_name = written.groups()
    return int(minutes or 0) * 60 + float(amount or 0) * (0.001 if unit_name == "ms" else 1.0)


def _seconds_until(date: str, now: str | None) -> float | None:
    """From the server's own clock, where it tells it, since ours may be wrong."""
    try:
        then = parsedate_to_datetime(date)
        start = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return (then - start).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def _chain(raised: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while raised is not None and id(raised) not in seen:
        seen.add(id(raised))
        yield raised
        raised = raised.__cause__ or raised.__context__
