"""What an agent is to the loop that runs it: who answers, what it may do, how much it may use up.

What of it a run freezes is in schemas/agents.py; the `Agent` that people write adds the ways to run it, in entries.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

from ledgent.agent.memory import Memory
from ledgent.agent.models.port import Model
from ledgent.agent.models.resolve import model_for, model_from
from ledgent.agent.output import OutputType
from ledgent.agent.tools.function import Tool
from ledgent.agent.tools.places import Places
from ledgent.agent.tools.remembering import MemoryTools
from ledgent.agent.tools.toolkit import Toolkit, tools_of
from ledgent.schemas.agents import AgentSpec, Limits, ModelSpec, OnUncertain
from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.errors import UsageError
from ledgent.schemas.recovery import Recovery
from ledgent.schemas.terminators import Terminator

DEFAULT_LIMITS = Limits(steps=50)


@dataclass(frozen=True)
class Definition:
    """A named agent: a model, its instructions and its tools."""

    name: str
    model: str | Model
    instructions: str = ""
    tools: Sequence[Tool | Toolkit | Callable[..., Any]] = ()
    limits: Limits = DEFAULT_LIMITS
    """Each run's, unless it sets its own."""
    conversational: bool = False
    """Whether an answer without tool calls waits for the next message instead of ending the run."""
    policy: Literal["tool_loop", "react"] = "tool_loop"
    """`react`: each answer is a thought and an action or the final answer; the thoughts are events of their own."""
    text_protocol: bool = False
    """With `react`: tools are asked for in plain text, for models that know no tool calls."""
    output: Any = None
    """What an answer must be: a pydantic model, or any type that has a JSON Schema; None: any text."""
    output_attempts: int = 3
    """Answers in a row that may fail to fit; the last one fails the run."""
    terminators: Sequence[Terminator] = ()
    """What else ends a run: stop words, budgets, deadlines, `when(predicate)`, `AnyOf`, `AllOf`."""
    output_type: OutputType | None = field(init=False, repr=False, compare=False)
    tool_threads: int = 16
    """Calls of tools that are not async at once, over all runs of this agent in one process.

    One that was given up keeps its thread until it returns, or for ten minutes: then it is taken for hung.
    """
    context: Summarize | Trim | None = Summarize()
    """What happens before a request grows too long for the model; None: the model refuses it, and the run fails."""
    recovery: Sequence[Recovery] = ()
    """What is done after model calls that failed with these codes, instead of the usual (docs/resilience.md)."""
    fallbacks: Sequence[str | Model] = ()
    """Models that are asked in this order once the first is given up for a call (docs/resilience.md)."""
    fallback_s: float = 60.0
    """For so long new calls go to the fallback too, before they try the first model again."""
    on_uncertain: OnUncertain = "ask_model"
    """What comes of a tool call that may have happened, since its process went away, and may happen only once.

    `ask_model`: the model is told so. `ask_person`: the run sleeps until somebody says what became of it
    (docs/resilience.md). `stop`: the run fails. A tool may say otherwise.
    """
    memory: Memory | None = None
    """What it remembers from run to run, say `SqliteMemory("travel")`: read before it answers what the user says, and
    by the tools `remember` and `recall`, which it then has."""
    threads: Places = field(init=False, repr=False, compare=False)
    _tools: dict[str, Tool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise UsageError(f"an agent's name has letters, digits, '-', '_' and '.' only, not {self.name!r}")
        if self.policy not in ("tool_loop", "react"):
            raise UsageError(f"agent {self.name}: there is no policy {self.policy!r}: tool_loop and react are")
        if self.text_protocol and self.policy != "react":
            raise UsageError(f"agent {self.name}: text_protocol=True needs policy='react'")
        if self.context is not None and not isinstance(self.context, Summarize | Trim):
            raise UsageError(f"agent {self.name}: context is Summarize(), Trim() or None, not {self.context!r}")
        if len({row.code for row in self.recovery}) != len(self.recovery):
            raise UsageError(f"agent {self.name}: two rows of recovery= are for the same code")
        if self.on_uncertain not in get_args(OnUncertain):
            known = ", ".join(get_args(OnUncertain))
            raise UsageError(f"agent {self.name}: on_uncertain is one of {known}, not {self.on_uncertain!r}")
        if self.memory is not None and not isinstance(self.memory, Memory):
            raise UsageError(
                f"agent {self.name}: memory is an object with a name, add and search, such as SqliteMemory('notes'), "
                f"not {self.memory!r:.200}"
            )
        made = tools_of([*self.tools, MemoryTools(self.memory)] if self.memory else self.tools)
        tools = {tool.spec.name: tool for tool in made}
        if len(tools) != len(made):
            raise UsageError(f"agent {self.name}: two tools have the same name")
        object.__setattr__(self, "_tools", tools)
        if self.tool_threads < 1:
            raise UsageError(f"agent {self.name}: tool_threads is {self.tool_threads}, and must be at least 1")
        object.__setattr__(self, "threads", Places(self.tool_threads, f"a thread of {self.tool_threads}"))
        expected = None if self.output is None else OutputType(self.output, self.output_attempts)
        object.__setattr__(self, "output_type", expected)

    @cached_property
    def live_model(self) -> Model:
        """The model that answers."""
        return model_from(self.model)

    @cached_property
    def live_models(self) -> tuple[Model, ...]:
        """The model that answers, and its fallbacks."""
        return (self.live_model, *map(model_from, self.fallbacks))

    def live_model_of(self, index: int, frozen: ModelSpec) -> Model:
        """The model of that place; one made from what a run froze of it, where this agent has no such place any more.

        Raises UsageError.
        """
        return self.live_models[index] if index < len(self.live_models) else model_for(frozen)

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
            policy=self.policy,
            text_protocol=self.text_protocol,
            output=self.output_type.spec if self.output_type else None,
            conversational=self.conversational,
            context=self.context,
            recovery=tuple(self.recovery),
            fallbacks=tuple(model.spec for model in self.live_models[1:]),
            fallback_s=self.fallback_s,
            on_uncertain=self.on_uncertain,
            memory=self.memory.name if self.memory else None,
        )

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        return self._tools.get(name)

    def but(self, **changes: Any) -> Self:
        """This agent with other fields: `agent.but(model="gpt-4o-mini")`."""
        return replace(self, **changes)
