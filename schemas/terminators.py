"""When a run is over though its model would go on: conditions on the state, as an agent's spec freezes them. Data only.

Looked at between calls, after each answer and after each round of tools; agent/terminators.py judges them.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from ledgent.schemas.frozen import Frozen


class StopWords(Frozen):
    """The last answer holds one of these, as it is written here: the run is completed."""

    type: Literal["stop_words"] = "stop_words"
    words: tuple[str, ...] = Field(min_length=1)


class TokenBudget(Frozen):
    """So many tokens are used, input and output: the run is limited."""

    type: Literal["token_budget"] = "token_budget"
    tokens: int = Field(ge=1)


class CostBudget(Frozen):
    """So much is spent: the run is limited."""

    type: Literal["cost_budget"] = "cost_budget"
    usd: float = Field(gt=0)


class Deadline(Frozen):
    """So long ago the run began: it is limited. Unlike `Limits.seconds` it stops no call that is under way."""

    type: Literal["deadline"] = "deadline"
    seconds: float = Field(gt=0)


class Predicate(Frozen):
    """A function of the state says so, and why: the run is completed. Made by `when(function, **parameters)`."""

    type: Literal["predicate"] = "predicate"
    function: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    """`module:function`. It takes the `RunState` and the parameters, and gives a bool or the reason; pure."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    source: str = ""
    """SHA-256 of the function's source when the run began."""


class AnyOf(Frozen):
    """One of them holds."""

    type: Literal["any_of"] = "any_of"
    of: tuple["Terminator", ...] = Field(min_length=1)


class AllOf(Frozen):
    """All of them hold. The run is limited where budgets and deadlines alone say so."""

    type: Literal["all_of"] = "all_of"
    of: tuple["Terminator", ...] = Field(min_length=1)


Terminator = Annotated[
    StopWords | TokenBudget | CostBudget | Deadline | Predicate | AnyOf | AllOf, Field(discriminator="type")
]

AnyOf.model_rebuild()
AllOf.model_rebuild()
