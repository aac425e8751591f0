"""What the runs of one log share in this process, and how it hears from other processes. No decisions of a run."""

import asyncio
import logging
from weakref import WeakKeyDictionary

from ledgent.agent.clock import Clock
from ledgent.agent.resilience.breaker import Circuits, name_of
from ledgent.agent.resilience.rates import Rates
from ledgent.agent.tools.places import Places
from ledgent.schemas.agents import ModelSpec
from ledgent.schemas.errors import LogError, LogUnavailable, UnknownEventType, UnreadableRecord
from ledgent.schemas.ports import System
from ledgent.schemas.system_events import decode_system

logger = logging.getLogger("ledgent.circuits")

FOLLOW_S = 1.0
"""How long what another process announced may go unheard."""
LAST = 100
"""System records that a process which begins looks back at."""


class Shared:
    """Of all runs of one log in this process."""

    def __init__(self) -> None:
        self.circuits = Circuits()
        self._rates: dict[str, Rates] = {}
        self._places: dict[str, Places] = {}

    def rates(self, model: ModelSpec, now: float) -> Rates:
        """The rate limits of all calls to the model at its address, as this spec has them."""
        name = name_of(model)
        rates = self._rates.get(name) or self._rates.setdefault(name, Rates())
        rates.configure(model, now)
        return rates

    def places(self, model: ModelSpec) -> Places | None:
        """The places of calls to the model at its address; None: no bound."""
        if model.concurrency is None:
            return None
        name = f"{name_of(model)} {model.concurrency}"
        about = f"a place of {model.concurrency} for calls to {model.name}"
        return self._places.get(name) or self._places.setdefault(name, Places(model.concurrency, about))


_shared: WeakKeyDictionary[System, Shared] = WeakKeyDictionary()


def shared_of(log: System) -> Shared:
    """The same for all who work on this log in this process."""
    return _shared.setdefault(log, Shared())


async def follow(log: System, writer: str, clock: Clock) -> None:
    """Hears what other processes announce, until cancelled."""
    circuits, after = shared_of(log).circuits, None
    while True:
        try:
            for place in await asyncio.to_thread(log.announced, after, LAST):
                after = place.offset
                try:
                    record = decode_system(place.stored)
                except (UnknownEventType, UnreadableRecord) as unread:
                    logger.warning("a system record was passed over: %s", unread)
                    continue
                if record.envelope.writer != writer:
                    age_s = (clock.now() - record.envelope.at).total_seconds()
                    circuits.hear(record.event, clock.monotonic(), age_s)
        except (LogError, LogUnavailable) as error:
            logger.debug("the system stream cannot be read: %s", error)
        await asyncio.sleep(FOLLOW_S)
