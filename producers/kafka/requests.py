"""Who is given which request on Kafka, and when: the log's `take`, `release`, `finish` and `lost`.

The partitions of `requests` are shared out among the workers by the broker. A worker is given what is in its own, once
the run is nobody's or its own; it takes a run from another only after that one has been silent for long.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ledgent.producers.kafka.backlog import Backlog, Backlogs, Item
from ledgent.producers.kafka.hearing import Hearing
from ledgent.producers.kafka.index import Index
from ledgent.producers.kafka.member import Bury, Member, Timing
from ledgent.producers.kafka.reading import Readers
from ledgent.producers.kafka.wire import Address
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.requests import AnyRequest, StartRun
from ledgent.schemas.settings import KafkaSettings

logger = logging.getLogger("ledgent.kafka")

LOOK_S = 0.2
"""How often the runs of waiting requests are looked at again."""
REST_S = 0.5
"""How long a request that was given back is left alone."""
FOLLOWING = 4
"""Partitions whose runs are read at the same time, after an assignment."""


class Intake:
    """One process's share of the requests. `take` is for event loops; all else for any thread."""

    def __init__(
        self,
        address: Address,
        settings: KafkaSettings,
        writer: str,
        index: Index,
        readers: Readers,
        bury: Bury,
        timing: Timing | None = None,
    ) -> None:
        self._address = address
        self._settings = settings
        self._writer = writer
        self._index = index
        self._bury = bury
        self._timing = timing or Timing()
        self._hearing = Hearing(address, settings, readers, self._timing.silence_s)
        self._backlogs = Backlogs()
        self._member: Member | None = None
        self._making = threading.Lock()
        self._worker: asyncio.AbstractEventLoop | None = None
        self._sleepers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._followers = ThreadPoolExecutor(FOLLOWING, "ledgent-kafka-follow")
        self._closed = False

    async def attend(self) -> None:
        """To be called before a run is claimed without a request: what it is told from then on will be given out."""
        if not self._hearing.begun:
            await asyncio.to_thread(self._hearing.begin)

    async def take(self, agents: frozenset[str] | None, limit: int, timeout_s: float) -> list[AnyRequest]:
        """As `Requests.take`. With no time to wait, all is looked at that had been submitted before the call.

        Returns early, with nothing, when there are runs that this process has lost.
        """
        deadline = time.monotonic() + timeout_s
        await asyncio.sleep(0)  # what was given out before is begun before it can be lost again
        loop = asyncio.get_running_loop()
        sleeper = (loop, asyncio.Event())
        self._sleepers.add(sleeper)
        try:
            if agents is not None:
                self._worker = loop
                member = self._joined()
                if timeout_s <= 0:
                    await self._settle(member, sleeper[1])
            while True:
                sleeper[1].clear()
                if self._member is not None and loop is self._worker:
                    self._member.touch()
                found = self._give(agents, limit)
                left = deadline - time.monotonic()
                if found or left <= 0 or (agents is not None and self._backlogs.any_lost):
                    return found
                await _wait(sleeper[1], min(LOOK_S, left))
        finally:
            self._sleepers.discard(sleeper)

    def finish(self, request_ids: Sequence[str]) -> None:
        """They are not given out again, here or elsewhere."""
        for request_id in request_ids:
            self._hearing.finish(request_id)
        self._backlogs.finish(request_ids)

    def release(self, request_ids: Sequence[str]) -> None:
        """They are given out again after a rest; those of lost partitions are somebody else's already."""
        for request_id in request_ids:
            self._hearing.release(request_id)
        self._backlogs.release(request_ids, time.monotonic() + REST_S)

    def lost(self) -> frozenset[str]:
        """As `Requests.lost`."""
        return self._backlogs.lost()

    def close(self) -> None:
        """Leaves the group at once. What was given out and is not finished is given to others."""
        self._closed = True
        self._followers.shutdown(wait=False, cancel_futures=True)
        if self._member is not None:
            self._member.close()
        self._hearing.close()

    # giving out -----------------------------------------------------------------------------------------------------

    def _give(self, agents: frozenset[str] | None, limit: int) -> list[AnyRequest]:
        found = list[AnyRequest]()
        member = self._member
        if member is not None and member.failed is not None:
            raise member.failed
        with self._backlogs.lock:
            if member is not None and time.monotonic() - member.polled_s <= self._timing.hang_s:  # a member for sure
                for item in itertools.islice(self._open(agents), limit):
                    item.given = True
                    found.append(item.request)
            own = set(self._backlogs.of)
        return found + self._hearing.take(self._holds, own, limit - len(found))

    def _open(self, agents: frozenset[str] | None) -> Iterator[Item]:
        """The requests that may be given out now, oldest first; those of one run in order."""
        now, backlogs = time.monotonic(), self._backlogs.of
        behind = set[str]()
        each = (
            [(item.arrival, number, item) for item in backlog.items.values()] for number, backlog in backlogs.items()
        )
        for _, number, item in heapq.merge(*each):
            if item.given:
                continue
            run_id = item.request.run_id
            followed = self._followed(number, backlogs[number], item.request, item.begins_at)
            if run_id not in behind and followed and now >= item.not_before_s and self._is_open(item, agents, now):
                yield item
            else:
                behind.add(run_id)

    def _is_open(self, item: Item, agents: frozenset[str] | None, now: float) -> bool:
        request, known = item.request, self._index.head(item.request.run_id)
        if agents is None:
            return self._holds(request.run_id)
        if known is None:  # whatever its agent, so that it can be failed with a reason
            return isinstance(request, StartRun)
        if known.guard.ended:  # to be refused
            return True
        if (known.agent or getattr(request, "agent", "")) not in agents:
            return False
        if known.suspended or known.guard.writer == self._writer:
            return True
        return now - max(known.seen_at, item.seen_s) > self._timing.silence_s

    def _holds(self, run_id: str) -> bool:
        """Whether this process is at work on the run."""
        known = self._index.head(run_id)
        return (
            known is not None and known.guard.writer == self._writer and not known.guard.ended and not known.suspended
        )

    def _wake(self) -> None:
        for loop, event in tuple(self._sleepers):
            with contextlib.suppress(RuntimeError):  # that loop has been closed
                loop.call_soon_threadsafe(event.set)

    # knowing where runs stand ---------------------------------------------------------------------------------------

    def _followed(self, number: int, backlog: Backlog, request: AnyRequest, begins_at: int | None) -> bool:
        """Whether it is known where the request's run stands; if not, it will be soon."""
        if isinstance(request, StartRun):
            wanted = begins_at or 0
        elif backlog.follows_from is None or (backlog.ready and self._index.head(request.run_id) is None):
            wanted = 0  # the run began long ago
        else:
            wanted = backlog.follows_from
        if backlog.follows_from is None or wanted < backlog.follows_from:
            backlog.follows_from, backlog.ready = wanted, False
            with contextlib.suppress(RuntimeError):  # closing
                self._followers.submit(self._follow, number, backlog, wanted)
        return backlog.ready

    def _follow(self, number: int, backlog: Backlog, wanted: int) -> None:
        while not self._closed:
            try:
                self._index.follow(number, wanted)
                self._index.reach(number, self._index.end_offset(number))
                backlog.ready = backlog.follows_from == wanted
                self._wake()
                return
            except LogUnavailable as error:
                logger.warning("the runs of partition %d cannot be read at the moment: %s", number, error)
                time.sleep(REST_S)
            except Exception:
                logger.exception("the runs of partition %d cannot be read", number)
                return

    # joining --------------------------------------------------------------------------------------------------------

    def _joined(self) -> Member:
        with self._making:
            if self._closed:
                raise LogUnavailable("the log has been closed")
            if self._member is None:
                self._member = Member(
                    self._address, self._settings, self._timing, self._backlogs, self._bury, self._wake
                )
            return self._member

    async def _settle(self, member: Member, woken: asyncio.Event) -> None:
        """Waits until the group has let this member in, and all that has been submitted so far can be judged.

        Raises LogUnavailable.
        """
        asked = member.ask()
        deadline = time.monotonic() + self._timing.settle_s
        while member.failed is None:
            woken.clear()
            member.touch()
            if member.answered >= asked and self._all_followed():
                return
            if time.monotonic() >= deadline:
                raise LogUnavailable(
                    f"the workers' group has given no requests for {self._timing.settle_s:g} s; "
                    "`ledgent doctor` says what is wrong with the brokers"
                )
            await _wait(woken, LOOK_S)
        raise member.failed

    def _all_followed(self) -> bool:
        with self._backlogs.lock:
            return all(
                self._followed(number, backlog, item.request, item.begins_at)
                for number, backlog in self._backlogs.of.items()
                for item in backlog.items.values()
                if not item.given
            )


async def _wait(event: asyncio.Event, most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
        async with asyncio.timeout(most_s):
            await event.wait()
