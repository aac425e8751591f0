"""What a provider's headers say of its rate limits. No I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple


class Allowance(NamedTuple):
    """For a minute, as the provider counts; None: it does not say."""

    requests: int | None = None
    requests_left: int | None = None
    tokens: int | None = None
    tokens_left: int | None = None
    reset_s: float | None = None
    """Until there are some again, where none are left."""


_PARTS = ("limit", "remaining", "reset")
_HEADERS = (
    tuple(f"x-ratelimit-{part}-{what}" for what in ("requests", "tokens") for part in _PARTS),
    tuple(f"anthropic-ratelimit-{what}-{part}" for what in ("requests", "tokens") for part in _PARTS),
)
"""Limit, what is left, when it is whole again: of requests, then of tokens. OpenAI and those like it; Anthropic."""


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """What the headers of an answer say; None: nothing."""
    for names in _HEADERS:
        if names[1] in headers or names[4] in headers:
            limit, left, reset, token_limit, tokens_left, token_reset = (headers.get(name) for name in names)
            found = Allowance(_count(limit), _count(left), _count(token_limit), _count(tokens_left))
            waits = [
                _seconds(when)
                for none_left, when in ((found.requests_left == 0, reset), (found.tokens_left == 0, token_reset))
                if none_left
            ]
            return found._replace(reset_s=max((wait for wait in waits if wait is not None), default=None))
    return None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,15}", text) else None


def _seconds(text: str | None) -> float | None:
    """From `6m0s`, `120ms`, `1.5` or a moment such as `2026-01-02T12:00:30Z`."""
    if text is None:
        return None
    written = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s)?)?", text)
    if written is not None and any(written.groups()):
        hours, minutes, amount, unit = written.groups()
        seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(amount or 0) * (0.001 if unit == "ms" else 1)
        return seconds if isfinite(seconds) else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else None
