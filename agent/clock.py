"""The worker's clock and dice, passed in so that a simulation can hold them. No policy."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as the worker sees it."""

    def now(self) -> datetime:
        """UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls back on the running event loop."""
        ...

    def draw(self, least: float, most: float) -> float:
        """A number drawn evenly from the range."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def draw(self, least: float, most: float) -> float:
        return random.uniform(least, most)
