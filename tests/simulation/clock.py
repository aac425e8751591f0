"""A clock whose waits are a thousand times shorter, and whose dice a test can hold."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FASTER = 1000.0


class SimulatedClock:
    """Starts at noon; a millisecond passes with each look at it, and a timer's whole delay when it fires."""

    def __init__(self, seed: int = 0) -> None:
        self.elapsed_s = 0.0
        self.drawn: list[tuple[float, float]] = []
        self._dice = random.Random(seed)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        self.elapsed_s = round(self.elapsed_s + 0.001, 6)
        return self.elapsed_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        due_s = self.elapsed_s + delay_s

        def fire() -> None:
            self.elapsed_s = max(self.elapsed_s, due_s)
            callback()

        return asyncio.get_running_loop().call_later(delay_s / FASTER, fire)

    def draw(self, least: float, most: float) -> float:
        self.drawn.append((least, most))
        return self._dice.uniform(least, most)
