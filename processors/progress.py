"""Whether the processors keep up with the log. Pure: no clock, no ids, no I/O; time is given, in seconds."""


class Progress:
    """How far each partition has been folded, and how far it goes. The only thing here that changes."""

    def __init__(self, now: float, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._ends_at: float | None = None
        """When the broker last said how far the log goes."""
        self._began = now
        self._folded: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._fine_at: dict[int, float] = {}
        """When each partition last moved, or had nothing more to fold."""
        self._lost: list[str] = []

    def assigned(self, folded: dict[int, int], now: float) -> None:
        """These partitions, folded up to these offsets (-1: not begun), are this process's from now on."""
        self._folded = dict(folded)
        self._ends = {}
        self._fine_at = dict.fromkeys(folded, now)

    def folded(self, partition: int, offset: int, now: float) -> None:
        """The partition has been folded up to this offset."""
        self._folded[partition] = offset
        self._fine_at[partition] = now

    def ends(self, ends: dict[int, int], now: float) -> None:
        """The last offset of each partition, as the broker says; -1: none."""
        self._ends, self._ends_at = ends, now
        for partition in self.read():
            self._fine_at[partition] = now

    def lost(self, partition: int, first: int, last: int) -> None:
        """Records that were handed on without having been folded; nothing here brings them back."""
        self._lost.append(f"offsets {first} to {last} of partition {partition} were never folded")

    def read(self) -> frozenset[int]:
        """The partitions that had nothing more to fold when the broker was last asked."""
        return frozenset(
            partition
            for partition, folded in self._folded.items()
            if partition in self._ends and folded >= self._ends[partition]
        )

    def lag(self) -> int:
        """Records that are there and not folded."""
        return sum(max(end - self._folded.get(partition, end), 0) for partition, end in self._ends.items())

    def trouble(self, now: float) -> str:
        """What is wrong; empty: nothing."""
        if self._lost:
            return "; ".join(self._lost)
        if self._ends_at is None and now - self._began <= self._stuck_s:
            return "starting"
        silent = now - (self._began if self._ends_at is None else self._ends_at)
        if silent > self._stuck_s:
            return f"the broker has not said for {silent:.0f} s how far the log goes"
        stuck = [
            f"partition {partition} has stood at offset {self._folded[partition]} of {end} for {still:.0f} s"
            for partition, end in sorted(self._ends.items())
            if (still := now - self._fine_at.get(partition, now)) > self._stuck_s
        ]
        return "; ".join(stuck)
