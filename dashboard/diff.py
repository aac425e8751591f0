"""Two runs side by side: their conversations aligned step by step, where they part, and what each step took. Pure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from ledgent.dashboard.timeline import what_of_the_run
from ledgent.schemas.codec import Recorded
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    AnyEvent,
    HistoryShared,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallReused,
    ToolCallStarted,
)
from ledgent.schemas.run import evolve
from ledgent.schemas.sharing import call_key
from ledgent.schemas.state import Assistant, Message, RunState, ToolResult
from ledgent.schemas.values import ForkedFrom, Part, ToolRequest

Mark = Literal["same", "changed", "first_only", "second_only"]


class Figures(NamedTuple):
    """What something took; nothing of what the run only took over from another."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cost_known: bool = True
    took_ms: float = 0.0
    """Of the calls themselves, waits between attempts not included; of a whole run, from its start to its end."""

    def plus(self, other: "Figures") -> "Figures":
        return Figures(
            self.attempts + other.attempts,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
            self.cost_known and other.cost_known,
            self.took_ms + other.took_ms,
        )


class Step(NamedTuple):
    """A message of the conversation, or how the run ended, with all that was recorded on the way to it."""

    role: Literal["user", "assistant", "tool", "end"]
    seq: int
    """Of the record with which it stood."""
    text: str
    calls: tuple[ToolRequest, ...] = ()
    """That an answer asks for."""
    tool: ToolRequest | None = None
    """That the text is the result of."""
    files: tuple[Part, ...] = ()
    figures: Figures = Figures()
    origin: Literal["own", "shared", "reused"] = "own"
    """`shared`: taken over from another run; `reused`: the call was answered as it was there."""

    @property
    def key(self) -> Hashable:
        """What makes two steps the same: no ids, no times, no figures."""
        tool = call_key(self.tool) if self.tool else None
        return self.role, self.text, tuple(map(call_key, self.calls)), tool, self.files


class Side(NamedTuple):
    """One of the two runs."""

    run_id: str
    status: str
    steps: tuple[Step, ...]
    settings: dict[str, Any]
    """The agent's fields and the run's limits as JSON, by name: `instructions`, `model.name`, `tools.look_up`."""
    forked_from: ForkedFrom | None
    model_calls: int
    tool_calls: int
    """Made; those that were reused are not."""
    reused: int
    total: Figures


class Row(NamedTuple):
    """A step of either run, or the same place in both."""

    mark: Mark
    first: Step | None
    second: Step | None


class Comparison(NamedTuple):
    """Two runs, compared."""

    first: Side
    second: Side
    rows: tuple[Row, ...]
    parts_at: int | None
    """The first row in which they are not the same; None: there is none."""
    settings: tuple[tuple[str, Any, Any], ...]
    """What the agents and limits differ in: the name, the one's, the other's."""


def side_of(run_id: str, records: Iterable[Recorded]) -> Side:
    """The run as its records tell it."""
    state, meter = RunState(run_id), _Meter()
    steps: list[Step] = []
    last: Recorded | None = None
    for last in records:
        before, state = state, evolve(state, last)
        meter.see(last.event)
        asked = {call.request.provider_id: call.request for call in before.tool_calls.values()}
        steps += meter.steps(state.messages[len(before.messages) :], last, asked)
    if last is not None:
        steps.append(Step("end", last.seq, _ending(state, last.event), figures=meter.rest()))
    ends = [state.started_at, state.now]
    total = Figures()
    for step in steps:
        total = total.plus(step.figures)
    took_ms = (ends[1] - ends[0]).total_seconds() * 1_000 if ends[0] and ends[1] else 0.0
    return Side(
        run_id,
        str(state.status),
        tuple(steps),
        _settings(state),
        state.origin,
        state.spent.steps,
        state.spent.tool_calls,
        sum(step.origin == "reused" for step in steps),
        total._replace(took_ms=took_ms),
    )


def compare(first: Side, second: Side) -> Comparison:
    """The two, aligned: what they begin with in common, then what is the same in the same order."""
    rows = tuple(_aligned(first.steps, second.steps))
    parts_at = next((place for place, row in enumerate(rows) if row.mark != "same"), None)
    names = dict.fromkeys([*first.settings, *second.settings])
    settings = tuple(
        (name, one, other)
        for name in names
        if (one := first.settings.get(name)) != (other := second.settings.get(name))
    )
    return Comparison(first, second, rows, parts_at, settings)


def _aligned(first: Sequence[Step], second: Sequence[Step]) -> Iterator[Row]:
    common = 0
    for one, other in zip(first, second, strict=False):
        if one.key != other.key:
            break
        common += 1
        yield Row("same", one, other)
    for mark, some, others in _blocks(first[common:], second[common:], lambda step: step.key):
        if mark == "equal":
            yield from (Row("same", one, other) for one, other in zip(some, others, strict=True))
            continue
        # Within what differs, steps of the same kind face each other: where they part, and then wherever they can.
        facing = 0
        while facing < min(len(some), len(others)) and _kind(some[facing]) == _kind(others[facing]):
            yield Row("changed", some[facing], others[facing])
            facing += 1
        for kind, ones, others_too in _blocks(some[facing:], others[facing:], _kind):
            if kind == "equal":
                yield from (Row("changed", one, other) for one, other in zip(ones, others_too, strict=True))
            else:
                yield from (Row("first_only", one, None) for one in ones)
                yield from (Row("second_only", None, other) for other in others_too)


def _kind(step: Step) -> Hashable:
    return step.role, step.tool.name if step.tool else None


def _blocks(
    first: Sequence[Step], second: Sequence[Step], key: Callable[[Step], Hashable]
) -> Iterator[tuple[str, Sequence[Step], Sequence[Step]]]:
    matcher = SequenceMatcher(None, [key(step) for step in first], [key(step) for step in second], autojunk=False)
    for mark, a, b, c, d in matcher.get_opcodes():
        yield mark, first[a:b], second[c:d]


class _Meter:
    """What has been used on the way to the next step of each kind, and the calls that are still to be answered."""

    def __init__(self) -> None:
        self._model = Figures()
        self._tools: dict[str, Figures] = {}
        self._reused: set[str] = set()
        self._pending: list[ToolRequest] = []

    def see(self, event: AnyEvent) -> None:
        match event:
            case ModelCallStarted():
                self._model = self._model.plus(Figures(attempts=1))
            case ModelCallCompleted() | ModelCallFailed():
                used = event.usage
                unknown = event.cost_usd is None and bool(used.input_tokens or used.output_tokens)
                cost, took = event.cost_usd or 0.0, event.duration_ms or 0.0
                spent = Figures(0, used.input_tokens, used.output_tokens, cost, not unknown, took)
                self._model = self._model.plus(spent)
            case ToolCallStarted():
                self._add(event.call_id, Figures(attempts=1))
            case ToolCallCompleted() | ToolCallFailed():
                self._add(event.call_id, Figures(took_ms=event.duration_ms or 0.0))
            case ToolCallReused():
                self._reused.add(event.call_id)
            case _:
                pass

    def steps(self, messages: Iterable[Message], record: Recorded, asked: dict[str, ToolRequest]) -> Iterator[Step]:
        """The steps that new messages are; `asked`: the calls that were open, by the provider's id."""
        taken_over = len(record.event.messages) if isinstance(record.event, HistoryShared) else 0
        for place, message in enumerate(messages):
            shared = place < taken_over
            if isinstance(message, Assistant):
                self._pending = list(message.tool_calls)
                figures = Figures() if shared else self._take_model()
                step = Step("assistant", record.seq, message.text or "", message.tool_calls, figures=figures)
            elif isinstance(message, ToolResult):
                tool = self._pending.pop(0) if self._pending else asked.get(message.provider_id)
                step = Step("tool", record.seq, message.text, tool=tool, files=message.parts)
                if tool is not None and not shared:
                    figures = self._tools.pop(tool.call_id, Figures())
                    step = step._replace(figures=figures, origin="reused" if tool.call_id in self._reused else "own")
            else:
                step = Step("user", record.seq, message.text, files=message.parts)
            yield step._replace(origin="shared") if shared else step

    def rest(self) -> Figures:
        """Of what led to no step."""
        left = self._take_model()
        for figures in self._tools.values():
            left = left.plus(figures)
        return left

    def _add(self, call_id: str, figures: Figures) -> None:
        self._tools[call_id] = self._tools.get(call_id, Figures()).plus(figures)

    def _take_model(self) -> Figures:
        taken, self._model = self._model, Figures()
        return taken


def _settings(state: RunState) -> dict[str, Any]:
    if state.agent is None:
        return {}
    fields = state.agent.model_dump(mode="json", exclude={"limits", "tools"})
    fields["tools"] = {tool.name: tool.model_dump(mode="json") for tool in state.agent.tools}
    fields["limits"] = state.limits.model_dump(mode="json", exclude_none=True)
    settings: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            settings |= {f"{name}.{within}": one for within, one in value.items()}
        else:
            settings[name] = value
    return settings


def _ending(state: RunState, event: AnyEvent) -> str:
    if event.type == "run.completed" or event.type not in TERMINAL_TYPES:
        return f"{state.status}, waits for {state.suspended}" if state.suspended else str(state.status)
    return f"{state.status}: {what_of_the_run(event)}"
