"""Rate limits of models: how long a call waits so that its provider has nothing to refuse. Shared by all runs of a
process; it learns from what providers say. Waits are events of the run, made by agent/intents.py."""

import threading
from typing import Literal, NamedTuple

from ledgent.agent.models.allowance import Allowance
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.values import Usage

BURST = 0.1
"""The share of a minute's allowance that may be used at once; the rest comes evenly over the minute.

So that no minute, wherever it begins, has more than the allowance.
"""
SHORTEST_S = 0.001
"""A wait shorter than this is none."""
KEPT_S = 600.0
"""How long a place in the queue is kept for a call that does not come back for it."""

Reason = Literal["requests", "tokens", "told"]


class Wait(NamedTuple):
    """Before a call may be made."""

    delay_s: float
    reason: Reason


class Bucket:
    """So many a minute. What is taken beyond what there is, is owed, and waited for."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._at = now
        self.allow(per_minute)
        self._level = self._burst

    def allow(self, per_minute: float) -> None:
        """From now on so many."""
        self.per_minute = per_minute
        self._burst = max(1.0, per_minute * BURST)
        self._refill = max(per_minute - self._burst, per_minute * BURST) / 60.0

    def take(self, now: float, amount: float) -> float:
        """How long to wait, seconds, for what is hereby taken."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._refill) - amount
        self._at = max(self._at, now)
        return max(0.0, -self._level / self._refill + self._at - now)

    def give_back(self, amount: float) -> None:
        self._level = min(self._burst, self._level + amount)

    def hold(self, until: float) -> None:
        """Nothing comes before then, and nothing is owed."""
        self._level, self._at = max(0.0, self._level), max(self._at, until)

    def told(self, left: float) -> None:
        """No more than this is left, others' calls included."""
        self._level = min(self._level, left)


class Rates:
    """Of one model at one address. Times are a monotonic clock's; safe to use from several threads."""

    def __init__(self) -> None:
        self._buckets: dict[Reason, Bucket] = {}
        self._own: dict[Reason, int | None] = {"requests": None, "tokens": None}
        self._until = 0.0
        self._places: dict[tuple[str, str, int], float] = {}
        """By attempt, when its turn comes."""
        self._lock = threading.Lock()

    def configure(self, model: ModelSpec, now: float) -> None:
        """As the agent's author says."""
        own: dict[Reason, int | None] = {"requests": model.requests_per_minute, "tokens": model.tokens_per_minute}
        if own != self._own:
            with self._lock:
                self._own = own
                for reason, per_minute in own.items():
                    self._allow(reason, per_minute, now)

    def wait(self, attempt: tuple[str, str, int], tokens: int, now: float) -> Wait | None:
        """How long this attempt (run, call, number) waits before it asks again; None: it may be made now.

        Asking takes its place in the queue.
        """
        if not self._buckets and now >= self._until and not self._places:
            return None
        with self._lock:
            found = Wait(self._until - now, "told")
            if attempt not in self._places:
                for name, bucket in self._buckets.items():
                    found = max(found, Wait(bucket.take(now, tokens if name == "tokens" else 1), name))
                self._prune(now)
            if found.delay_s < SHORTEST_S:
                self._places.pop(attempt, None)
                return None
            self._places[attempt] = now + found.delay_s
            return found

    def learn(self, allowance: Allowance | None, refused: ErrorInfo | None, now: float) -> None:
        """What an answer's headers say, or what it was refused with."""
        until = 0.0
        if refused is not None and refused.code is ErrorCode.RATE_LIMITED and refused.retry_after_s:
            until = now + refused.retry_after_s
        if allowance is None and not until:
            return
        with self._lock:
            if allowance is not None:
                self._hear("requests", allowance.requests, allowance.requests_left, now)
                self._hear("tokens", allowance.tokens, allowance.tokens_left, now)
                until = max(until, now + (allowance.reset_s or 0.0))
            if until > self._until:
                self._until = until
                self._places.clear()  # who waits queues up anew, so that not all go at once when this is over
                for bucket in self._buckets.values():
                    bucket.hold(until)

    def settle(self, thought: int, usage: Usage) -> None:
        """The call used so many tokens, and not those it was thought to use."""
        if (bucket := self._buckets.get("tokens")) is not None:
            with self._lock:
                bucket.give_back(thought - usage.input_tokens - usage.output_tokens)

    def _hear(self, reason: Reason, limit: int | None, left: int | None, now: float) -> None:
        own = self._own.get(reason)
        if limit:
            self._allow(reason, limit if own is None else min(limit, own), now)
        if left is not None and (bucket := self._buckets.get(reason)) is not None:
            bucket.told(left)

    def _allow(self, reason: Reason, per_minute: int | None, now: float) -> None:
        bucket = self._buckets.get(reason)
        if per_minute is None:
            self._buckets.pop(reason, None)
        elif bucket is None:
            self._buckets[reason] = Bucket(per_minute, now)
        elif bucket.per_minute != per_minute:
            bucket.allow(per_minute)

    def _prune(self, now: float) -> None:
        if len(self._places) > 1000:
            self._places = {who: place for who, place in self._places.items() if place > now - KEPT_S}
