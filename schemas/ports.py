"""What a log can do, by capability, and what keeps files. Protocols only; the adapters are in producers/."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ledgent.schemas.acceptance import Guard
from ledgent.schemas.codec import Stored
from ledgent.schemas.requests import AnyRequest
from ledgent.schemas.system_events import AnySystemEvent


class Positioned(NamedTuple):
    """A record with its place in the log."""

    partition: int
    offset: int
    """From 0, ascending within a partition in the order of commit."""
    stored: Stored


class Head(NamedTuple):
    """Where a run stands in the log: its guard, and whether anybody is at work on it."""

    run_id: str
    guard: Guard
    suspended: bool
    """Nobody works on it, whoever claimed it last."""


class Appender(Protocol):
    """Writes records."""

    writer: str
    """This process start's name in records."""

    async def append(
        self, records: Sequence[Stored], *, accept: AnyRequest | None = None, finish: Sequence[str] = ()
    ) -> None:
        """Appends one run's records, all or none; durable and accepted when it returns.

        In the same commit `accept` is stored as a request that this process has taken, and the requests with the ids in
        `finish` are finished. Records that the log already holds are skipped.
        Raises ConcurrentAppend, RecordTooLarge, LogFull, LogUnavailable.
        """
        ...


class History(Protocol):
    """Reads one run, and tells which there are."""

    def run_ids(self, since: str | None = None) -> Iterator[str]:
        """The ids of all runs, those only requested included, in ascending order from `since` on."""
        ...

    def records(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        """The run's accepted records with a seq above `after`, in order; none for an unknown run."""
        ...

    def head(self, run_id: str) -> Head | None:
        """Where the run stands; None for an unknown run."""
        ...

    def misplaced(self, run_id: str) -> list[tuple[int, str]]:
        """Records of the run that stand where they cannot have been written: seq and what is wrong."""
        ...


class Feed(Protocol):
    """Follows the whole log."""

    def read(self, positions: dict[int, int], limit: int, timeout_s: float = 0.0) -> list[Positioned]:
        """Up to `limit` records after these offsets by partition (missing: from the start).

        Waits up to `timeout_s` for one.
        """
        ...

    def ends(self) -> dict[int, int]:
        """The offset of the last record by partition; -1 where there is none."""
        ...


class Requests(Protocol):
    """What comes from outside, for workers."""

    async def submit(self, request: AnyRequest) -> None:
        """Durable when it returns; the same request again changes nothing.

        Raises RequestRefused when the run has ended or is unknown, LogFull, LogUnavailable.
        """
        ...

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        """Open requests for runs that are this process's or nobody's, each given out once.

        Waits up to `timeout_s` for one. A run whose holder is dead, or that is suspended, is nobody's. `agents`: the
        names whose runs may be taken up; a new run is taken whatever its agent, so that it can be failed with a reason.
        None: only requests for runs that this process holds.
        """
        ...

    async def release(self, request_ids: Sequence[str]) -> None:
        """Gives taken requests back, for another process to take."""
        ...

    def lost(self) -> frozenset[str]:
        """Runs whose requests this process has taken, and that have since become another's to work on.

        Each is named once; this process starts nothing more for it, and hands it over.
        """
        ...

    async def finish(self, request_ids: Sequence[str], refused: str | None = None) -> None:
        """Marks requests as done, or as refused with the reason."""
        ...


class System(Protocol):
    """What processes say of themselves, in a stream beside the runs."""

    async def announce(self, event: AnySystemEvent) -> None:
        """Durable when it returns. Raises LogFull, LogUnavailable."""
        ...

    def announced(self, after: int | None, limit: int) -> list[Positioned]:
        """The system records after this offset, in order; None: the last ones. Does not wait."""
        ...


class Log(Appender, History, Feed, Requests, System, Protocol):
    """The whole log."""

    url: str

    def close(self) -> None:
        """Ends what is under way and lets go of everything; what was acknowledged stays."""
        ...


class Blobs(Protocol):
    """Keeps bytes under their SHA-256: what events refer to but do not hold."""

    def put(self, content: bytes) -> str:
        """The SHA-256 as hex; durable when it returns, and the same bytes are kept once. Raises BlobsUnavailable."""
        ...

    def get(self, sha256: str) -> bytes:
        """The bytes. Raises BlobLost when they are missing or are not what they were, BlobsUnavailable."""
        ...
