"""What the runs of one log share in this process, and how it hears from other processes. No decisions of a run."""

import asyncio
import logging
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ledgent.agent.clock import Clock
from ledgent.agent.models.port import Model
from ledgent.agent.resilience.breaker import Circuit, Circuits, circuit_of_model, name_of
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


class Line(NamedTuple):
    """A model, and what all calls to it at its address have in common."""

    live: Model
    rates: Rates
    places: Places | None
    """None: no bound."""
    circuit: Circuit | None


class Shared:
    """Of all runs of one log in this process."""

    def __init__(self) -> None:
        self.circuits = Circuits()
        self._rates: dict[str, Rates] = {}
        self._places: dict[str, Places] = {}

    def line(self, model: ModelSpec, live: Model, now: float) -> Line:
        """How calls to the model go out; its limits are from now on those of this spec."""
        name, named = name_of(model), circuit_of_model(model)
        rates = self._rates.get(name) or self._rates.setdefault(name, Rates())
        rates.configure(model, now)
        return Line(live, rates, self._places_of(model, name), self.circuits.get(named) if named else None)

    def _places_of(self, model: ModelSpec, name: str) -> Places | None:
        if model.concurrency is None:
            return None
        about = f"a place of {model.concurrency} for calls to {model.name}"
        named = f"{name} {model.concurrency}"
        return self._places.get(named) or self._places.setdefault(named, Places(model.concurrency, about))


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
