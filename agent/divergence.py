"""What verification can find, and why this code likely decides otherwise than was recorded. Calls no model, no tool."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any, Literal, NamedTuple

from ledgent.agent.decide import decide
from ledgent.agent.named import function_at
from ledgent.agent.render import Renderers, request_digest
from ledgent.agent.terminators import changed
from ledgent.schemas.agents import AgentSpec
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import RunStarted
from ledgent.schemas.state import RunState
from ledgent.schemas.terminators import AllOf, AnyOf, Predicate, Terminator

Verdict = Literal["verified", "imported", "diverged", "broken"]
Cause = Literal["log_changed", "agent_changed", "predicate_changed", "nondeterministic", "code_changed"]

NEAR = 20
"""Characters shown on either side of where two texts part."""
_CLOCKS = ("time", "time_ns", "monotonic", "perf_counter", "now", "utcnow", "today")
_DICE = ("random", "randint", "choice", "shuffle", "uniform", "uuid1", "uuid4", "uuid7", "urandom", "token_hex")
_WORLD = ("environ", "getenv", "open", "input", "getpid")
_IMPURE = frozenset((*_CLOCKS, *_DICE, *_WORLD))
"""Names that a pure function has no use for."""


class Certificate(NamedTuple):
    """What verification found."""

    run_id: str
    verdict: Verdict
    """`broken`: the log is not what was written. `diverged`: this code decides otherwise. `imported`: the records are
    what was written, and were decided elsewhere: nothing of it can be decided again."""
    records: int
    """How many records were found good, from the first on."""
    head_digest: str
    """Of the last good record."""
    complete: bool
    """Whether the log's own head says that these are all of the run's records."""
    decisions: int
    """Intents that were decided again."""
    seq: int | None = None
    """The first record that is not as it should be."""
    reason: str | None = None
    field: str | None = None
    """Where this code decides otherwise, as in `model_call.started.request_digest`."""
    recorded: str | None = None
    decided: str | None = None
    cause: Cause | None = None
    """What most likely lies behind it; the reason says why that is thought."""

    @property
    def ok(self) -> bool:
        return self.verdict in ("verified", "imported")


class Divergence(Exception):
    """A record is not as it should be."""

    def __init__(
        self, verdict: Verdict, reason: str, field: str | None = None, recorded: Any = None, decided: Any = None
    ) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.field = field
        self.recorded = None if recorded is None else f"{recorded!s:.2000}"
        self.decided = None if decided is None else f"{decided!s:.2000}"


def begun_by(agent: AgentSpec, event: RunStarted) -> RunStarted:
    """A run's start, had this agent made it; limits that the run set for itself stay."""
    own = {name: value for name, value in dict(event.limits).items() if value != getattr(event.agent.limits, name)}
    return event.model_copy(update={"agent": agent, "limits": agent.limits.model_copy(update=own)})


def likely_cause(
    found: Divergence, state: RunState, decided_from: RunState, recorded: AgentSpec | None, proven_seq: int | None
) -> tuple[Cause, str]:
    """What most likely lies behind a divergence, and in words why.

    `state`: before the record. `decided_from`: what the decision was made from, by the agent in it; `recorded`: the
    agent that the run itself names. `proven_seq`: the last model call whose request came out as recorded.
    """
    agent = state.agent
    if found.verdict == "broken" or agent is None:
        return "log_changed", "the log was changed"
    about_request = found.field == "model_call.started.request_digest"
    if recorded is not None and recorded != agent:
        differing = f"the agent is not what it was: {'; '.join(differences(recorded, agent))}"
        if about_request and _digest(recorded, state) != found.recorded and _digest(agent, state) == found.recorded:
            return "log_changed", f"record 2 was changed: with today's agent the request is as recorded; {differing}"
        return "agent_changed", differing
    if _digest(agent, state) != _digest(agent, state):
        return "nondeterministic", "two requests made from the same state differ"
    if decide(decided_from) != decide(decided_from):
        return "nondeterministic", "decided twice from the same state, it came out differently each time"
    if names := changed(agent.terminators):
        return "predicate_changed", f"the source of {' and '.join(names)} has changed since"
    if impure := list(_impure(agent.terminators)):
        return "nondeterministic", f"what it reads may differ each time: {'; '.join(impure)}"
    if about_request and proven_seq is not None:
        return (
            "log_changed",
            f"the request of record {proven_seq} is as recorded, and so are instructions, tools and parameters: one of "
            f"the records since was changed, or the code that renders messages",
        )
    if about_request:
        return (
            "log_changed",
            "the instructions, tools, parameters or first message in record 2 were changed, or the code that renders "
            "them (--agents compares them with today's)",
        )
    return "code_changed", f"nothing else explains it; this is {code_version()}"


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two specs differ: the path of each place, and how it was and is."""
    if old == new:
        return []
    if hasattr(old, "model_fields_set") and type(old) is type(new):
        fields: dict[str, Any] = type(old).model_fields
        return [
            found
            for name in fields
            for found in differences(getattr(old, name), getattr(new, name), f"{path}.{name}" if path else name)
        ]
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        pairs = zip(old, new, strict=True)
        return [
            found for at, (a, b) in enumerate(pairs) for found in differences(a, b, f"{path}.{getattr(a, 'name', at)}")
        ]
    if isinstance(old, dict) and isinstance(new, dict):
        names = {**old, **new}
        return [found for name in names for found in differences(old.get(name), new.get(name), f"{path}.{name}")]
    if isinstance(old, str) and isinstance(new, str):
        at = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        near = slice(max(at - NEAR, 0), at + NEAR)
        return [f"{path} differs at character {at + 1}: {old[near]!r} -> {new[near]!r}"]
    return [f"{path}: {_short(old)} -> {_short(new)}"]


@cache
def code_version() -> str:
    """This version of ledgent and a digest of the source that folds and decides."""
    digest = hashlib.sha256()
    house = Path(__file__).resolve().parent.parent
    for path in sorted((*(house / "schemas").rglob("*.py"), *(house / "agent").rglob("*.py"))):
        digest.update(path.relative_to(house).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"ledgent {version('ledgent')} ({digest.hexdigest()[:16]})"


def _digest(agent: AgentSpec, state: RunState) -> str:
    return request_digest(Renderers().of(state, agent)[1].request(state))


def _impure(terminators: tuple[Terminator, ...]) -> Iterator[str]:
    """Predicates that name a clock, dice or the world outside."""
    for terminator in terminators:
        match terminator:
            case AnyOf(of=of) | AllOf(of=of):
                yield from _impure(of)
            case Predicate(function=name):
                names = sorted(_IMPURE.intersection(_names_in(name)))
                if names:
                    yield f"{name} uses {', '.join(names)}"
            case _:
                pass


def _names_in(function: str) -> Iterator[str]:
    try:
        found: Callable[..., Any] = function_at(function)
    except UsageError:
        return
    codes: list[Any] = [getattr(found, "__code__", None)]
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            yield from code.co_names
            codes += code.co_consts


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:119] + "…"
