"""Whether a terminator holds in a state, and why. Pure, as far as people's predicates are."""

from collections.abc import Callable, Iterable
from typing import Any

from ledgent.agent.limits import seconds_used
from ledgent.agent.named import function_at, name_of, source_of
from ledgent.schemas.errors import ErrorCode, ErrorInfo, UsageError
from ledgent.schemas.events import RunCompleted, RunFailed, RunLimited
from ledgent.schemas.state import Assistant, RunState
from ledgent.schemas.terminators import (
    AllOf,
    AnyOf,
    CostBudget,
    Deadline,
    Predicate,
    StopWords,
    Terminator,
    TokenBudget,
)

End = RunCompleted | RunLimited


def when(function: Callable[..., Any], **parameters: Any) -> Predicate:
    """Ends a run when `function(state, **parameters)` says so: True, or the reason as a text.

    The function stands at the top level of a module, is pure, and takes JSON values. Raises UsageError.
    """
    name = name_of(function)
    try:
        return Predicate(function=name, parameters=parameters, source=source_of(name))
    except ValueError as error:
        raise UsageError(f"{name}: its parameters must be JSON values: {error}") from error


def terminated(state: RunState, terminators: tuple[Terminator, ...]) -> RunCompleted | RunFailed | RunLimited | None:
    """How the first terminator that holds ends the run; None while none holds."""
    try:
        return next((end for terminator in terminators if (end := _end(state, terminator))), None)
    except Exception as defect:  # noqa: BLE001  # a person's predicate may raise anything
        message = f"a terminator raised {type(defect).__name__}: {defect}"[:8_000]
        return RunFailed(error=ErrorInfo(code=ErrorCode.INTERNAL, message=message))


def _end(state: RunState, terminator: Terminator) -> End | None:
    match terminator:
        case StopWords(words=words):
            text = _last_answer(state)
            word = next((word for word in words if word in text), None)
            return _completed(state, f"the answer says {word!r}") if word else None
        case TokenBudget(tokens=tokens):
            return _limited("tokens", tokens, state.spent.tokens)
        case CostBudget(usd=usd):
            return _limited("cost_usd", usd, state.spent.cost_usd)
        case Deadline(seconds=seconds):
            return _limited("seconds", seconds, seconds_used(state))
        case Predicate(function=function, parameters=parameters):
            said = function_at(function)(state, **parameters)
            return _completed(state, said if isinstance(said, str) else f"{function} holds") if said else None
        case AnyOf(of=of):
            return next((end for each in of if (end := _end(state, each))), None)
        case AllOf(of=of):
            ends = [_end(state, each) for each in of]
            if not all(ends):
                return None
            completed = [end.reason for end in ends if isinstance(end, RunCompleted) and end.reason]
            return _completed(state, " and ".join(completed)) if completed else ends[0]


def changed(terminators: Iterable[Terminator]) -> list[str]:
    """The predicates whose source is not what it was when the run began."""
    names = list[str]()
    for terminator in terminators:
        match terminator:
            case AnyOf(of=of) | AllOf(of=of):
                names += changed(of)
            case Predicate(function=function, source=source) if _source(function) != source:
                names.append(function)
    return names


def _source(function: str) -> str:
    try:
        return source_of(function)
    except UsageError:
        return "it is gone"


def _last_answer(state: RunState) -> str:
    for index in range(len(state.messages) - 1, -1, -1):
        message = state.messages[index]
        if isinstance(message, Assistant):
            return message.text or ""
    return ""


def _completed(state: RunState, reason: str) -> RunCompleted:
    return RunCompleted(output=state.output, reason=reason[:8_000])


def _limited(limit: Any, bound: float, used: float) -> RunLimited | None:
    return RunLimited(limit=limit, bound=bound, used=used) if used >= bound else None
