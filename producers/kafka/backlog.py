"""The unfinished requests of a process's partitions, and what of them may be committed. No clock, no I/O.

A group's committed offset stays before the first unfinished request, however long its run takes. What was finished
behind it is written into the commit's metadata, so that whoever gets the partition next does not begin it again.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from ledgent.schemas.requests import AnyRequest

MOST_METADATA = 4000
"""Characters; brokers take 4,096 bytes."""
MOST_UNFINISHED = 1000
"""Of one partition; more are read when some have been finished."""
MOST_REMEMBERED = 20_000
"""Ids of finished requests: one that was sent twice is not begun twice."""

Commit = tuple[int, str]
"""The offset of the first unfinished request, and as metadata which ones behind it are finished."""


class Item:
    """A request that is not finished."""

    __slots__ = ("arrival", "begins_at", "given", "not_before_s", "offset", "request", "seen_s")

    def __init__(self, offset: int, request: AnyRequest, begins_at: int | None, seen_s: float, arrival: int) -> None:
        self.offset = offset
        self.request = request
        self.begins_at = begins_at
        """The offset in `events` before which its run cannot have begun; None: not known."""
        self.seen_s = seen_s
        """When it was first seen here."""
        self.arrival = arrival
        """Its place among all requests that this process has read."""
        self.given = False
        self.not_before_s = 0.0
        """When it may be given out again, once it has been given back."""


class Backlog:
    """The unfinished requests of a partition that this process has been assigned, in the order of the log."""

    def __init__(self, committed: int, metadata: str) -> None:
        self.position = committed
        """The offset after the last request read; all that are not among the items are finished."""
        self.items: dict[int, Item] = {}
        self.ready = False
        """Whether it is known where the runs of the requests stand."""
        self.follows_from: int | None = None
        """The offset in `events` from which the runs are known, or soon will be."""
        self.committed: Commit = (committed, metadata)
        self._finished_before = _ranges_in(metadata, committed)

    def was_finished(self, offset: int) -> bool:
        """Whether a process that had the partition before has finished this request."""
        return any(first <= offset <= last for first, last in self._finished_before)

    def add(self, item: Item) -> None:
        self.items[item.offset] = item
        self.position = item.offset + 1

    def skip(self, offset: int) -> None:
        """What is at this offset needs no work."""
        self.position = offset + 1

    @property
    def commit(self) -> Commit:
        if not self.items:
            return self.position, ""
        first = next(iter(self.items))
        words, length = list[str](), 0
        for begin, end in self._finished_behind():
            word = f"{begin - first}-{end - first}"
            length += len(word) + 1
            if length > MOST_METADATA:
                break  # what does not fit is begun again, and finds that it has been done
            words.append(word)
        return first, " ".join(words)

    def _finished_behind(self) -> Iterator[tuple[int, int]]:
        """First and last offset of each stretch of finished requests after the first unfinished one."""
        for unfinished, following in pairwise([*self.items, self.position]):
            if following > unfinished + 1:
                yield unfinished + 1, following - 1
        for first, last in self._finished_before:
            if last >= self.position:  # not read again so far
                yield max(first, self.position), last


def _ranges_in(metadata: str, committed: int) -> list[tuple[int, int]]:
    """The stretches that `Backlog.commit` wrote; none from what somebody else wrote."""
    try:
        pairs = [word.split("-") for word in metadata.split()]
        return [(committed + int(begin), committed + int(end)) for begin, end in pairs]
    except ValueError:
        return []


class Backlogs:
    """Those of all partitions that this process has been assigned; for several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """To be held by who looks at, or gives out, what is in the backlogs."""
        self.of: dict[int, Backlog] = {}
        self._places: dict[str, tuple[int, int]] = {}
        """Partition and offset of each unfinished request."""
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._lost: set[str] = set()
        self._arrivals = 0

    def begin(self, partition: int, commit: Commit) -> Backlog:
        with self.lock:
            backlog = self.of[partition] = Backlog(*commit)
            return backlog

    def put(self, partition: int, offset: int, request: AnyRequest | None, begins_at: int | None, now_s: float) -> None:
        """Takes the next record in; None: it is no request."""
        with self.lock:
            backlog = self.of[partition]
            known = request is None or request.request_id in self._places or request.request_id in self._finished
            if request is None or known or backlog.was_finished(offset):
                backlog.skip(offset)
                return
            self._arrivals += 1
            backlog.add(Item(offset, request, begins_at, now_s, self._arrivals))
            self._places[request.request_id] = (partition, offset)

    def finish(self, request_ids: Iterable[str]) -> None:
        """Also of requests that are not here, or not here yet."""
        with self.lock:
            for request_id in request_ids:
                self._finished[request_id] = None
                if place := self._places.pop(request_id, None):
                    del self.of[place[0]].items[place[1]]
            while len(self._finished) > MOST_REMEMBERED:
                self._finished.popitem(last=False)

    def release(self, request_ids: Iterable[str], not_before_s: float) -> None:
        with self.lock:
            for request_id in request_ids:
                if place := self._places.get(request_id):
                    item = self.of[place[0]].items[place[1]]
                    item.given, item.not_before_s = False, not_before_s

    def lose(self, partitions: Iterable[int]) -> None:
        """Forgets what is in them, and remembers which runs had been given out."""
        with self.lock:
            for partition in partitions:
                backlog = self.of.pop(partition, None)
                for item in backlog.items.values() if backlog else ():
                    del self._places[item.request.request_id]
                    if item.given:
                        self._lost.add(item.request.run_id)

    @property
    def any_lost(self) -> bool:
        return bool(self._lost)

    def lost(self) -> frozenset[str]:
        """The runs that had been given out from partitions that are lost; each is named once."""
        with self.lock:
            lost = frozenset(self._lost)
            self._lost.clear()
            return lost

    def full(self) -> set[int]:
        """The partitions of which no more shall be read at the moment."""
        with self.lock:
            return {number for number, backlog in self.of.items() if len(backlog.items) >= MOST_UNFINISHED}

    def commits(self, partitions: Iterable[int] | None = None) -> dict[int, Commit]:
        """What has changed since it was committed, of these or of all partitions."""
        with self.lock:
            backlogs = ((number, self.of.get(number)) for number in (self.of if partitions is None else partitions))
            return {
                number: backlog.commit
                for number, backlog in backlogs
                if backlog is not None and backlog.commit != backlog.committed
            }

    def committed(self, commits: dict[int, Commit]) -> None:
        with self.lock:
            for number, commit in commits.items():
                if number in self.of:
                    self.of[number].committed = commit
