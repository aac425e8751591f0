"""How many calls may be at work at once: places that they wait for, whichever event loop they are on. No log."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

HUNG_S = 600.0
"""A call that was given up and has not returned this much later is taken for hung: its places are given to others."""


class Places:
    """So many at once in this process, over all threads and event loops; first come, first served."""

    def __init__(self, count: int, about: str, *, exclusive: bool = False) -> None:
        self.about = about
        """What they are, for people and models."""
        self.exclusive = exclusive
        """Whether two holders would do harm, rather than be one too many: a hung call keeps such a place."""
        self._free = count
        self._waiting: deque[_Waiter] = deque()
        self._lock = threading.RLock()  # a waiter that the garbage collector ends may come in between

    async def take(self) -> None:
        """Returns once a place is taken."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            waiter = _Waiter()
            self._waiting.append(waiter)
        try:
            await waiter.woken
        except BaseException:
            with self._lock:
                if waiter.given:
                    self.give_back()
                elif waiter in self._waiting:
                    self._waiting.remove(waiter)
            raise

    def give_back(self) -> None:
        """Gives a place to who has waited longest."""
        with self._lock:
            while self._waiting:
                waiter = self._waiting.popleft()
                try:
                    waiter.loop.call_soon_threadsafe(waiter.wake)
                except RuntimeError:  # its event loop is closed: nobody waits there any more
                    continue
                waiter.given = True
                return
            self._free += 1


class _Waiter:
    """Somebody who waits for a place, on the running event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.woken: asyncio.Future[None] = self.loop.create_future()
        self.given = False

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Turn:
    """What one call must hold while it is at work. All take it in one order, so that no two wait for each other."""

    def __init__(self, needs: Sequence[Places], hung_s: float = HUNG_S) -> None:
        self._needs = needs
        self._hung_s = hung_s
        self._held: list[Places] = []
        self._lock = threading.Lock()
        self._hung: threading.Timer | None = None
        self.waits_for = ""

    async def begin(self) -> None:
        """Returns once all that the call needs is its own."""
        try:
            for places in self._needs:
                self.waits_for = places.about
                await places.take()
                self._held.append(places)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Gives everything back; in any thread, and as often as one likes."""
        self._give_back(keeping=())
        if self._hung is not None:
            self._hung.cancel()

    def outlived(self) -> None:
        """The call was given up but its thread runs on: it keeps what it holds until `end`, or until it seems hung.

        Were places never given back, a few hung calls would stop the agent for ever; but what is exclusive stays with
        the call that may still be using it, until it returns.
        """
        with self._lock:
            if any(not places.exclusive for places in self._held):
                self._hung = threading.Timer(self._hung_s, self._taken_for_hung)
                self._hung.daemon = True
                self._hung.start()

    def _taken_for_hung(self) -> None:
        self._give_back(keeping=[places for places in self._needs if places.exclusive])

    def _give_back(self, keeping: Sequence[Places]) -> None:
        with self._lock:
            held, self._held = self._held, [places for places in self._held if places in keeping]
        for places in held:
            if places not in keeping:
                places.give_back()


_resources: dict[str, Places] = {}


def resource(name: str) -> Places:
    """The one place of the resource, the same for all who name it in this process."""
    return _resources.setdefault(name, Places(1, f"the resource {name}", exclusive=True))
