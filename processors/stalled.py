"""Which live runs have had no accepted record for too long. Pure: no clock, no ids, no I/O.

Time is a number of seconds that the caller gives, from a clock of its own: what other machines' clocks say is in the
records and is no measure here.
"""

from collections import OrderedDict

from ledgent.processors.run_states import RunEntry
from ledgent.schemas.system_events import AlertRaised, AlertResolved


class Stalled:
    """When each live run was last seen to move. The only thing here that changes."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._moved: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Partition and time by run, the longest ago first."""

    def saw(self, entry: RunEntry, now: float) -> None:
        """The run has moved, or is first looked at."""
        self._moved.pop(entry.run_id, None)
        if entry.live and not entry.alert:
            self._moved[entry.run_id] = (entry.partition, now)

    def forget(self, partitions: frozenset[int]) -> None:
        """Drops the runs of partitions that others look after now."""
        gone = [run_id for run_id, (partition, _) in self._moved.items() if partition in partitions]
        for run_id in gone:
            del self._moved[run_id]

    def overdue(self, now: float, read: frozenset[int]) -> list[str]:
        """The runs that have stood still for too long, in partitions that have been `read` to their end."""
        found = []
        for run_id, (partition, moved) in self._moved.items():
            if now - moved <= self._after_s:
                break
            if partition in read:
                found.append(run_id)
        return found


def alert_on(entry: RunEntry, after_s: float) -> AlertRaised:
    """What is said of a run that stands still; the same where it stands, however often it is said."""
    return AlertRaised(
        alert_id=f"stalled/{entry.run_id}/{entry.seq}",
        kind="stalled",
        subject_run_id=entry.run_id,
        message=(
            f"run {entry.run_id} of {entry.agent or 'an agent not yet known'} has had no record for over {after_s:g} s "
            f"since record {entry.seq}: look whether its worker is alive, and at `ledgent run show {entry.run_id}`"
        ),
    )


def alert_over(entry: RunEntry) -> AlertResolved:
    """What is said once such a run has moved."""
    return AlertResolved(alert_id=entry.alert, subject_run_id=entry.run_id)


def alert_on_broken(run_id: str, seq: int, partition: int, offset: int) -> AlertRaised:
    """What is said of a record whose writer holds the run, but whose digest is wrong."""
    return AlertRaised(
        alert_id=f"broken/{run_id}/{offset}",
        kind="broken",
        subject_run_id=run_id,
        message=(
            f"run {run_id}: the holder's record {seq} (partition {partition}, offset {offset}) does not continue the "
            "chain of digests, so nobody accepts it: was the log written to by other means?"
        ),
    )
