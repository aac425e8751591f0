"""Circuits: calls that keep failing are not made for a while. One for each model, tool or service, for all runs of a
process; what changes is announced on the log's system stream. No decisions of a run."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple

from ledgent.agent.clock import Clock
from ledgent.schemas.agents import AgentSpec, CircuitPolicy, ModelSpec, ToolSpec
from ledgent.schemas.errors import ErrorCode, ErrorInfo, LogError, LogUnavailable
from ledgent.schemas.events import AnyEvent, ModelCallFailed, ModelCallStarted, ToolCallFailed, ToolCallStarted
from ledgent.schemas.ports import System
from ledgent.schemas.recovery import TABLE
from ledgent.schemas.system_events import AnySystemEvent, CircuitClosed, CircuitHalfOpened, CircuitOpened

logger = logging.getLogger("ledgent.circuits")

BUCKETS = 10
"""That a window is counted in."""

Call = Callable[[], Coroutine[Any, Any, AnyEvent]]


class Circuit:
    """Whether calls of one kind are made. Times are a monotonic clock's; safe to use from several threads."""

    def __init__(self, name: str, policy: CircuitPolicy) -> None:
        self.name = name
        self.policy = policy
        self.state: Literal["closed", "open", "half_open"] = "closed"
        self._until = 0.0
        self._buckets: deque[list[float]] = deque()
        """When each began, its calls, its failures."""
        self._lock = threading.Lock()

    def refused_s(self, now: float) -> float | None:
        """How much longer calls are refused; None: this one may be made. When it is let through to see, `half_open`."""
        if self.state == "closed":
            return None
        with self._lock:
            if self.state == "open" and now >= self._until:
                self.state = "half_open"
                return None
            if self.state == "half_open":
                return self.policy.open_s  # as long as if the one that was let through fails
            return max(0.0, self._until - now)

    def settled(self, now: float, failure: ErrorCode | None, *, probe: bool = False) -> AnySystemEvent | None:
        """Counts a call that was made; the change that this brings, if any. `probe`: it was let through to see."""
        with self._lock:
            if self.state == "half_open" and probe:
                if failure is None:
                    self._close()
                    return CircuitClosed(circuit=self.name)
                return self._opened(now, 1, 1, failure)
            if self.state != "closed":  # it began before
                return None
            self._count(now, failure is not None)
            if failure is None:
                return None
            calls = sum(int(bucket[1]) for bucket in self._buckets)
            failures = sum(int(bucket[2]) for bucket in self._buckets)
            if calls < self.policy.calls or failures < self.policy.rate * calls:
                return None
            return self._opened(now, calls, failures, failure)

    def unsettled(self) -> None:
        """The call that was let through was broken off: another may be let through."""
        with self._lock:
            if self.state == "half_open":
                self.state = "open"

    def heard_open(self, until: float) -> None:
        """Another process has opened it."""
        with self._lock:
            self.state, self._until = "open", max(self._until, until)

    def heard_closed(self) -> None:
        """Another process has found that calls succeed again."""
        with self._lock:
            self._close()

    def _count(self, now: float, failed: bool) -> None:
        width = self.policy.window_s / BUCKETS
        while self._buckets and self._buckets[0][0] <= now - self.policy.window_s:
            self._buckets.popleft()
        if not self._buckets or self._buckets[-1][0] + width <= now:
            self._buckets.append([now, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += failed

    def _opened(self, now: float, calls: int, failures: int, reason: ErrorCode) -> CircuitOpened:
        self.state, self._until = "open", now + self.policy.open_s
        return CircuitOpened(
            circuit=self.name, calls=calls, failures=failures, open_s=self.policy.open_s, reason=reason
        )

    def _close(self) -> None:
        self.state = "closed"
        self._buckets.clear()


class Named(NamedTuple):
    """A circuit by its name, and when it opens."""

    name: str
    policy: CircuitPolicy


def circuit_of_model(model: ModelSpec) -> Named | None:
    """That of all calls to the model at its address."""
    return None if model.circuit is None else Named(f"model:{name_of(model)}", model.circuit)


def name_of(model: ModelSpec) -> str:
    """The model at its address."""
    return f"{model.provider}/{model.name}" + (f"@{model.base_url}" if model.base_url else "")


def circuit_of_tool(agent: AgentSpec, tool: ToolSpec) -> Named | None:
    """That of its service, or its own."""
    if tool.service is not None:
        return Named(f"service:{tool.service}", tool.circuit or CircuitPolicy())
    return Named(f"tool:{agent.name}/{tool.name}", tool.circuit) if tool.circuit is not None else None


class Circuits:
    """All circuits of the runs of one log in this process."""

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}

    def get(self, named: Named) -> Circuit:
        """The circuit, as this policy has it."""
        circuit = self._circuits.get(named.name) or self._circuits.setdefault(named.name, Circuit(*named))
        circuit.policy = named.policy
        return circuit

    def hear(self, event: AnySystemEvent, now: float, age_s: float) -> None:
        """What another process announced so long ago."""
        if isinstance(event, CircuitOpened) and (left_s := event.open_s - max(0.0, age_s)) > 0:
            self.get(Named(event.circuit, CircuitPolicy(open_s=event.open_s))).heard_open(now + left_s)
        elif isinstance(event, CircuitClosed) and event.circuit in self._circuits:
            self._circuits[event.circuit].heard_closed()


async def through(
    circuit: Circuit, call: Call, started: ModelCallStarted | ToolCallStarted, log: System, clock: Clock
) -> AnyEvent:
    """The call's outcome; where the circuit is open, a failure, and the call is not made."""
    refused_s = circuit.refused_s(clock.monotonic())
    if refused_s is not None:
        return _refused(circuit, started, refused_s)
    probe = circuit.state == "half_open"
    try:
        if probe:
            await _announce(log, CircuitHalfOpened(circuit=circuit.name))
        event = await call()
    except BaseException:
        if probe:
            circuit.unsettled()
        raise
    if change := circuit.settled(clock.monotonic(), _failure(event), probe=probe):
        await _announce(log, change)
    return event


def _failure(event: AnyEvent) -> ErrorCode | None:
    """Why the service did not work; None: it did, or what went wrong is not its doing."""
    if not isinstance(event, ModelCallFailed | ToolCallFailed):
        return None
    error = event.error
    counts = error.retryable and TABLE[error.code].scope == "service" and error.deadline not in ("run", "step", "wait")
    return error.code if counts else None


async def _announce(log: System, event: AnySystemEvent) -> None:
    logger.warning("%s: %s", event.type, event)
    try:
        await log.announce(event)
    except (LogError, LogUnavailable) as error:  # the run meets the same with its next append, and tells it
        logger.warning("%s could not be announced: %s", event.type, error)


def _refused(
    circuit: Circuit, started: ModelCallStarted | ToolCallStarted, refused_s: float
) -> ModelCallFailed | ToolCallFailed:
    message = (
        f"not called: too many calls have failed lately, so that none is made for {refused_s:.3g} s ({circuit.name})"
    )
    error = ErrorInfo(code=ErrorCode.CIRCUIT_OPEN, message=message, retryable=True, retry_after_s=refused_s)
    outcome = ModelCallFailed if isinstance(started, ModelCallStarted) else ToolCallFailed
    return outcome(call_id=started.call_id, attempt=started.attempt, error=error, duration_ms=0.0)
