"""What the calls of one minute came to, by agent and by model or tool. Pure: no clock, no ids, no I/O.

Each partition of the log has windows of its own, folded in its order; those of the same minute add up. A window knows
the last offset that it has taken in and skips what is at or below it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec import field
from msgspec.structs import replace

from ledgent.processors.run_states import Judged
from ledgent.schemas.acceptance import Verdict
from ledgent.schemas.events import (
    AnyEvent,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    RetryScheduled,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.values import Usage

UNREADABLE = "unreadable"
"""Stands in `errors` for bytes that are no record."""
OPEN_FOR, OPEN_OFFSETS = timedelta(hours=2), 100_000
"""How far a partition is past a window that no further record will belong to: by both, time and records.

Time alone does not tell. A window begins by a worker's clock or by the broker's, a clock may be wrong, and an old log
may be copied to a new place. And so many records are far more than a batch: a window that is ahead of its partition's
marker is never past.
"""


class WindowKey(NamedTuple):
    """Which window."""

    partition: int
    start: datetime
    """The full minute, by the records' own time; of those not accepted, by the broker's."""
    kind: str
    """model, tool, or record: those that were not accepted, by verdict."""
    agent: str
    name: str
    """The model's or the tool's; empty for a tool that there is not."""


class Window(msgspec.Struct, frozen=True):
    """The sums of a window."""

    partition: int
    start: datetime
    kind: str
    agent: str
    name: str
    folded_to: int = -1
    """The offset of the last record that it has taken in."""
    calls: int = 0
    """Each counted once, however many attempts it took."""
    attempts: int = 0
    retries: int = 0
    """Further attempts that were scheduled."""
    errors: dict[str, int] = field(default_factory=dict)
    """By code: failed attempts, calls without a known outcome (`uncertain`) and rejected ones; or verdicts."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    """Answers whose cost is not known."""
    latency_ms_sum: float = 0.0
    latency_ms_max: float = 0.0
    latency_count: int = 0
    """Attempts whose duration is known."""


def window_of(partition: int, at: datetime, judged: Judged | None) -> WindowKey | None:
    """The window that a record belongs to; None if nothing about it is counted. `judged`: None for garbage."""
    start = at.replace(second=0, microsecond=0)
    if judged is None:
        return WindowKey(partition, start, "record", "", "")
    if judged.verdict is not Verdict.ACCEPTED:
        return WindowKey(partition, start, "record", judged.agent, "")
    return WindowKey(partition, start, judged.call.kind, judged.agent, judged.call.name) if judged.call.kind else None


def fold(
    key: WindowKey, window: Window | None, offset: int, judged: Judged | None, event: AnyEvent | None
) -> Window | None:
    """The window after the record at this offset; None if it has taken it in already."""
    window = window or Window(*key)
    if offset <= window.folded_to:
        return None
    window = replace(window, folded_to=offset)
    if judged is None or judged.verdict is not Verdict.ACCEPTED:
        return _failed(window, UNREADABLE if judged is None else judged.verdict)
    match event:
        case ModelCallStarted(attempt=attempt) | ToolCallStarted(attempt=attempt):
            return replace(window, calls=window.calls + (attempt == 1), attempts=window.attempts + 1)
        case ModelCallCompleted():
            window = _spent(window, event.usage, event.cost_usd)
            window = replace(window, unpriced=window.unpriced + (event.cost_usd is None))
            return _took(window, event.duration_ms)
        case ModelCallFailed():
            window = _spent(_failed(window, event.error.code), event.usage, event.cost_usd)
            return _took(window, event.duration_ms)
        case ToolCallCompleted():
            return _took(window, event.duration_ms)
        case ToolCallFailed():
            return _took(_failed(window, event.error.code), event.duration_ms)
        case ToolCallRejected(reason=reason):
            return _failed(window, reason)
        case ToolCallUncertain():
            return _failed(window, "uncertain")
        case RetryScheduled():
            return replace(window, retries=window.retries + 1)
        case _:
            return window


def _failed(window: Window, code: str) -> Window:
    return replace(window, errors={**window.errors, str(code): window.errors.get(code, 0) + 1})


def _spent(window: Window, usage: Usage, cost_usd: float | None) -> Window:
    return replace(
        window,
        input_tokens=window.input_tokens + usage.input_tokens,
        output_tokens=window.output_tokens + usage.output_tokens,
        cached_tokens=window.cached_tokens + usage.cached_tokens,
        reasoning_tokens=window.reasoning_tokens + usage.reasoning_tokens,
        cost_usd=window.cost_usd + (cost_usd or 0.0),
    )


def _took(window: Window, duration_ms: float | None) -> Window:
    if duration_ms is None:
        return window
    return replace(
        window,
        latency_ms_sum=window.latency_ms_sum + duration_ms,
        latency_ms_max=max(window.latency_ms_max, duration_ms),
        latency_count=window.latency_count + 1,
    )


def encode_key(key: WindowKey) -> bytes:
    """The key on Kafka: the same window always has the same."""
    return _write(key)


def encode_window(window: Window) -> bytes:
    return _write(window)


def decode_window(value: bytes) -> Window:
    return _decode(value)


class _Reach(msgspec.Struct, frozen=True):
    """What of a window tells whether it is past."""

    partition: int
    start: datetime
    folded_to: int


def outlived(windows: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys of windows that no further record will belong to: their partition is long past them."""
    reaches = {key: _reach(value) for key, value in windows.items()}
    newest: dict[int, datetime] = {}
    furthest: dict[int, int] = {}
    for each in reaches.values():
        newest[each.partition] = max(each.start, newest.get(each.partition, each.start))
        furthest[each.partition] = max(each.folded_to, furthest.get(each.partition, each.folded_to))
    return [
        key
        for key, each in reaches.items()
        if newest[each.partition] - each.start > OPEN_FOR and furthest[each.partition] - each.folded_to > OPEN_OFFSETS
    ]


_write = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Window).decode
_reach = msgspec.json.Decoder(_Reach).decode
