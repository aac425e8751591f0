"""What an agent is to the loop that runs it: who answers, what it may do, how much it may use up.

What of it a run freezes is in schemas/agents.py; the `Agent` that people write adds the ways to run it, in entries.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from ledgent.agent.models.port import Model
from ledgent.agent.models.resolve import model_from
from ledgent.agent.output import OutputType
from ledgent.agent.tools.function import Tool, make_tool
from ledgent.schemas.agents import AgentSpec, Limits
from ledgent.schemas.errors import UsageError
from ledgent.schemas.terminators import Terminator

DEFAULT_LIMITS = Limits(steps=50)


@dataclass(frozen=True)
class Definition:
    """A named agent: a model, its instructions and its tools."""

    name: str
    model: str | Model
    instructions: str = ""
    tools: Sequence[Tool | Callable[..., Any]] = ()
    limits: Limits = DEFAULT_LIMITS
    """Each run's, unless it sets its own."""
    conversational: bool = False
    """Whether an answer without tool calls waits for the next message instead of ending the run."""
    output: Any = None
    """What an answer must be: a pydantic model, or any type that has a JSON Schema; None: any text."""
    output_attempts: int = 3
    """Answers in a row that may fail to fit; the last one fails the run."""
    terminators: Sequence[Terminator] = ()
    """What else ends a run: stop words, budgets, deadlines, `when(predicate)`, `AnyOf`, `AllOf`."""
    output_type: OutputType | None = field(init=False, repr=False, compare=False)
    _tools: dict[str, Tool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise UsageError(f"an agent's name has letters, digits, '-', '_' and '.' only, not {self.name!r}")
        made = [given if isinstance(given, Tool) else make_tool(given) for given in self.tools]
        tools = {tool.spec.name: tool for tool in made}
        if len(tools) != len(made):
            raise UsageError(f"agent {self.name}: two tools have the same name")
        object.__setattr__(self, "_tools", tools)
        expected = None if self.output is None else OutputType(self.output, self.output_attempts)
        object.__setattr__(self, "output_type", expected)

    @cached_property
    def live_model(self) -> Model:
        """The model that answers."""
        return model_from(self.model)

    @cached_property
    def spec(self) -> AgentSpec:
        """What a run freezes of this agent."""
        return AgentSpec(
            name=self.name,
            instructions=self.instructions,
            model=self.live_model.spec,
            tools=tuple(tool.spec for tool in self._tools.values()),
            limits=self.limits,
            terminators=tuple(self.terminators),
            output=self.output_type.spec if self.output_type else None,
            conversational=self.conversational,
        )

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        return self._tools.get(name)

    def but(self, **changes: Any) -> Self:
        """This agent with other fields: `agent.but(model="gpt-4o-mini")`."""
        return replace(self, **changes)
