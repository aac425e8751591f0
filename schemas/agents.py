"""What a run freezes of its agent: the spec in `run.started`. Data only; the live `Agent` is in agent/spec.py."""

from typing import Literal

from pydantic import Field, JsonValue

from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.frozen import Frozen
from ledgent.schemas.prices import Price
from ledgent.schemas.recovery import Recovery
from ledgent.schemas.terminators import Terminator

OnUncertain = Literal["ask_model", "ask_person", "stop"]
"""What comes of a tool call that may have happened, since its process went away, and may happen only once.

`ask_model`: the model is told so. `ask_person`: the run sleeps until somebody says what became of it. `stop`: it fails.
"""


class Limits(Frozen):
    """What a run may use up; None: no bound. A run overruns a bound by at most one call."""

    steps: int | None = Field(default=None, ge=1)
    """Model calls."""
    tokens: int | None = Field(default=None, ge=1)
    """Input and output tokens of all calls."""
    cost_usd: float | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)
    """Wall time since `run.started`, time asleep included."""
    tool_calls: int | None = Field(default=None, ge=1)
    """Tool calls, each counted once however many attempts it took."""
    repeats: int | None = Field(default=None, ge=1)
    """The same tool with the same arguments in a row; one more ends the run before it is made."""
    idle_steps: int | None = Field(default=None, ge=1)
    """Rounds of tool calls in a row that brought nothing new: each call had been made, with the same result."""
    step_seconds: float | None = Field(default=None, gt=0)
    """Wall time of a step: a model call with all its attempts, and the tool calls of its answer.

    Counted anew once a person has answered a question, or whether a call is allowed.
    """


class RetryPolicy(Frozen):
    """How often a failed call is made again, and how long the pause before it is.

    The pause before attempt n + 1 is drawn evenly from [0, min(max_s, first_s * 2 ** (n - 1))] ("full jitter"), and is
    never shorter than the other side asked for.
    """

    attempts: int = Field(default=4, ge=1)
    """Attempts in all, the first included."""
    first_s: float = Field(default=0.5, ge=0)
    max_s: float = Field(default=30.0, ge=0)


class Timeouts(Frozen):
    """How long each part of a model call over HTTP may take; the whole has `ModelSpec.timeout_s`."""

    connect_s: float = Field(default=10.0, gt=0)
    """Until the connection stands, name and TLS included."""
    first_token_s: float = Field(default=60.0, gt=0)
    """From the request to the first piece of a streamed answer."""
    between_tokens_s: float = Field(default=60.0, gt=0)
    """From one piece of a streamed answer to the next."""


class CircuitPolicy(Frozen):
    """When calls are no longer made for a while: a share of those in a rolling window has failed."""

    calls: int = Field(default=10, ge=1)
    """In the window, before their failures count."""
    rate: float = Field(default=0.5, gt=0, le=1)
    """The share of them that has failed."""
    window_s: float = Field(default=60.0, gt=0)
    open_s: float = Field(default=30.0, gt=0)
    """Then one call is let through: as it goes, calls are made again, or refused for as long once more."""


class ModelSpec(Frozen):
    """Which model answers, and how it is asked. Never holds a key."""

    provider: str
    name: str
    base_url: str | None = None
    """None: the provider's own address, or what OPENAI_BASE_URL or ANTHROPIC_BASE_URL says."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Sent with each request as they are: temperature, max_tokens and the like."""
    stream: bool = False
    timeout_s: float = Field(default=120.0, gt=0)
    """For a whole call, its stream included."""
    retry: RetryPolicy = RetryPolicy()
    context_window: int | None = Field(default=None, ge=1)
    """The most tokens that a request and its answer may have together; None: not known."""
    timeouts: Timeouts = Timeouts()
    circuit: CircuitPolicy | None = CircuitPolicy()
    """For all calls to this model by one process; None: they are made whatever became of others."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Of all runs of one process; None: what the provider's headers say, if anything."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """The same of tokens; a call's are guessed before it is made."""
    concurrency: int | None = Field(default=None, ge=1)
    """Calls to it at once in one process; None: no bound."""
    price: Price | None = None
    """What its tokens cost, for estimates; None: not known."""


class ToolSpec(Frozen):
    """What the model is told of a tool, and how the worker treats it."""

    name: str
    description: str
    parameters: dict[str, JsonValue]
    """JSON Schema of the arguments."""
    timeout_s: float = Field(default=60.0, gt=0)
    idempotent: bool = False
    """Whether calling it again with the same idempotency key has no second effect."""
    attempts: int = Field(default=1, ge=1)
    """Attempts in all; more than one only for an idempotent tool."""
    approval: bool = False
    """Whether a person has to allow each call before it is made."""
    ends_run: bool = False
    """Whether the run completes once it has returned."""
    concurrency: int | None = Field(default=None, ge=1)
    """Calls of it at once in one process; None: no bound."""
    resources: tuple[str, ...] = ()
    """What it needs for itself: calls that name the same do not overlap in one process."""
    service: str | None = None
    """The external service behind it: tools that name the same share a circuit."""
    circuit: CircuitPolicy | None = None
    """When it is no longer called for a while; None: only a tool with a service has a circuit, the usual one."""
    asks: bool = False
    """Whether a call of it is a question to the user: it is not made, and the answer is its result."""
    max_result_chars: int = Field(default=50_000, ge=1)
    """Of a result that the model is told; a longer one is kept whole, and cut for the model."""
    on_uncertain: OnUncertain | None = None
    """None: as the agent says."""


class OutputSpec(Frozen):
    """The type that an agent's answers are of."""

    name: str
    json_schema: dict[str, JsonValue]
    attempts: int = Field(default=3, ge=1)
    """Answers in a row that may fail to fit; the last one fails the run."""


class AgentSpec(Frozen):
    """An agent as it was when the run started: enough to fold, verify and fork the run after the code has changed."""

    name: str
    instructions: str = ""
    """The system message; none is sent when empty."""
    model: ModelSpec
    tools: tuple[ToolSpec, ...] = ()
    limits: Limits = Limits(steps=50)
    terminators: tuple[Terminator, ...] = ()
    """What else ends a run."""
    output: OutputSpec | None = None
    """What an answer must be; None: any text."""
    policy: Literal["tool_loop", "react"] = "tool_loop"
    """What comes after an answer: its tool calls, or first the thought that led to them (agent/policies/)."""
    text_protocol: bool = False
    """Whether tools are described, asked for and answered in plain text, for models that know no tool calls."""
    conversational: bool = False
    """Whether an answer without tool calls waits for the next message instead of ending the run."""
    context: Summarize | Trim | None = Field(default=None, discriminator="type")
    """What happens before a request grows too long for the model; None: the model refuses it."""
    recovery: tuple[Recovery, ...] = ()
    """Rows of its own instead of the table's (schemas/recovery.py)."""
    fallbacks: tuple[ModelSpec, ...] = ()
    """Asked in this order once the model is given up for a call (schemas/fallbacks.py)."""
    fallback_s: float = Field(default=60.0, ge=0, le=1e9)
    """For so long new calls go to the fallback too, before they try the first model again."""
    on_uncertain: OnUncertain = "ask_model"
    memory: str | None = None
    """The name of the memory that is read before the model answers what the user says; None: there is none."""

    def tool(self, name: str) -> ToolSpec | None:
        """The tool of that name."""
        return next((tool for tool in self.tools if tool.name == name), None)
