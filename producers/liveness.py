"""Which processes are alive, by the counters that they advance. It has no clock: the time is passed in."""

import threading


class Liveness:
    """Remembers when it last saw each counter move, by this process's own monotonic clock."""

    def __init__(self, dead_after_s: float) -> None:
        self._dead_after_s = dead_after_s
        self._looking = threading.Lock()  # event loops and the writer thread look at once
        self._seen: dict[str, tuple[int, float]] = {}

    def alive(self, counters: dict[str, int], now_s: float) -> set[str]:
        """The writers that are alive: their counter moved, or was first seen, less than `dead_after_s` ago.

        A writer without a counter has left.
        """
        with self._looking:
            for writer, counter in counters.items():
                seen = self._seen.get(writer)
                if seen is None or seen[0] != counter:
                    self._seen[writer] = (counter, now_s)
            self._seen = {writer: seen for writer, seen in self._seen.items() if writer in counters}
            return {writer for writer, (_, since) in self._seen.items() if now_s - since < self._dead_after_s}
