"""How the failure of a call to a model server is read: its code, its wait, its words. No provider's table, no I/O."""

import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from math import isfinite
from typing import Any, NamedTuple

from ledgent.agent.models.port import ModelFailure
from ledgent.schemas.errors import DeadlineKind, ErrorCode, ErrorInfo
from ledgent.schemas.recovery import RETRYABLE

STATUSES: dict[int, ErrorCode] = {
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.AUTH,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.SERVER_ERROR,  # a lock held on the other side, as the providers' SDKs read it too
    413: ErrorCode.TOO_LARGE,
    425: ErrorCode.SERVER_ERROR,
    429: ErrorCode.RATE_LIMITED,
    501: ErrorCode.INVALID_REQUEST,
    505: ErrorCode.INVALID_REQUEST,
}
"""Where neither word nor text was known. Other statuses: below 500 the request is wrong, from 500 the server."""

MAX_TEXT = 1_000
"""Characters kept of what a server wrote."""

NAMED_IN_TEXT = re.compile(r'"(?:code|type|status)"\s*:\s*"?([\w.-]+)')
"""What an error is called in a body that is no JSON, because it was cut short or wrapped into a text."""

ANSWERS = frozenset({"choices", "content", "delta", "content_block"})
"""Fields that an answer or a piece of one has, and an error has not."""


_HAPPENED = {ErrorCode.CONNECTION: "the connection failed to", ErrorCode.TIMEOUT: "no connection in time to"}


class Said(NamedTuple):
    """What a server said of a failure."""

    text: str
    words: tuple[str, ...] = ()
    """Its code, type and the like, in small letters, the most exact first."""
    status: int | None = None
    """The HTTP status that it names in the body."""


class ErrorTable(NamedTuple):
    """What one API's servers write of failures, and what each of it means."""

    words: Mapping[str, ErrorCode]
    """By what they write as an error's code, type or status, in small letters. Asked first."""
    texts: tuple[tuple[ErrorCode, tuple[str, ...]], ...]
    """By what they write in their messages, in small letters, where no word was known."""
    key_variable: str
    """The environment variable with the key, for advice."""
    address_variable: str

    def of_answer(self, status: int, body: object, headers: Mapping[str, str], where: str) -> ErrorInfo:
        """The error that an answer is. `body` is parsed JSON, or text where it is no JSON; `where` names the server."""
        said = _said(body)
        code = self._code(said, said.status if status < 400 and said.status else status)
        hopeless = headers.get("x-should-retry") == "false" or _can_never_fit(said.text)
        retryable = code in RETRYABLE and not hopeless
        return ErrorInfo(
            code=code,
            message=self.with_hint(code, f"{where} answered {status}: {said.text or 'nothing'}"),
            retryable=retryable,
            retry_after_s=_retry_after_s(headers, said.text) if retryable else None,
            status=status,
        )

    def of_exception(self, raised: BaseException, where: str) -> ErrorInfo:
        """The error that an exception of the wire is."""
        chain = list(_chain(raised))
        code, retryable = next(
            ((code, retry) for kinds, code, retry in exceptions() if any(isinstance(e, kinds) for e in chain)),
            (ErrorCode.CONNECTION, True),
        )
        reason = next((text for text in map(str, reversed(chain)) if text), type(raised).__name__)
        what = _HAPPENED.get(code, "no usable answer from")
        message = self.with_hint(code, f"{what} {where}: {cut(reason)}")
        deadline: DeadlineKind | None = "connect" if code is ErrorCode.TIMEOUT else None
        return ErrorInfo(code=code, message=message, retryable=retryable, deadline=deadline)

    def with_hint(self, code: ErrorCode, message: str) -> str:
        """The message, and what mends it."""
        hints = {
            ErrorCode.AUTH: f"check {self.key_variable}",
            ErrorCode.QUOTA_EXHAUSTED: "the account has to be paid up before another call can succeed",
            ErrorCode.CONNECTION: f"check that the server runs and that {self.address_variable} is its address",
        }
        return f"{message}; {hints[code]}" if code in hints else message

    def _code(self, said: Said, status: int) -> ErrorCode:
        for word in said.words:
            if word in self.words:
                return self.words[word]
        text = said.text.lower()
        for code, phrases in self.texts:
            if any(phrase in text for phrase in phrases):
                return code
        if status in STATUSES:
            return STATUSES[status]
        return ErrorCode.INVALID_REQUEST if 300 <= status < 500 else ErrorCode.SERVER_ERROR


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
        ((aiohttp.ConnectionTimeoutError,), ErrorCode.TIMEOUT, True),
        ((httpx2.InvalidURL, aiohttp.InvalidURL), ErrorCode.INVALID_REQUEST, False),
        ((ContentEncodingError, aiohttp.ClientResponseError), ErrorCode.MALFORMED_RESPONSE, True),
    )


def is_error(body: object) -> bool:
    """Whether a parsed answer, or an event of a streamed one, is an error, whatever its HTTP status says."""
    if not isinstance(body, dict):
        return False
    if body.get("error") or "error" in (body.get("object"), body.get("type")):
        return True
    return ANSWERS.isdisjoint(body) and any(isinstance(body.get(name), str) for name in ("message", "detail", "msg"))


def malformed(message: str) -> ModelFailure:
    """An answer that cannot be read as one."""
    return ModelFailure(ErrorInfo(code=ErrorCode.MALFORMED_RESPONSE, message=message, retryable=True))


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
        text = shown(error or "")
        return Said(text, tuple(NAMED_IN_TEXT.findall(text.lower())))
    inner, details = (_object(error.get(name)) for name in ("innererror", "details"))
    named = [inner.get("code"), details.get("error_code"), *(error.get(key) for key in ("code", "type", "status"))]
    numbers = (error.get("code"), error.get("status"), error.get("status_code"))
    return Said(
        text=next((shown(error[key]) for key in ("message", "detail", "msg") if error.get(key)), shown(error)),
        words=tuple(str(word).lower() for word in named if word and isinstance(word, str | int)),
        status=next((n for n in map(_status, numbers) if n), None),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
