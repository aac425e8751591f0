"""The worker played by dice: records what is decided, then lets anything legal happen to the run."""

import random
from collections import Counter
from typing import Any, get_args

import orjson
from hypothesis import strategies as st

from ledgent.agent.commands import (
    AskApproval,
    AskSummary,
    AskUser,
    CallModel,
    CallTool,
    CheckOutput,
    Command,
    ReadMemory,
    Record,
    ScheduleRetry,
)
from ledgent.agent.context import MOST_REDUCTIONS
from ledgent.agent.decide import decide, may_begin_early
from ledgent.agent.render import Renderer
from ledgent.agent.resilience.recovering import after_failed_model_call
from ledgent.agent.terminators import when
from ledgent.agent.tools.asking import ask_user
from ledgent.agent.writing import RunWriter
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import AgentSpec, Limits, OnUncertain, OutputSpec, RetryPolicy, ToolSpec
from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    CheckpointSaved,
    HistoryShared,
    MemoryRead,
    MemoryReadStarted,
    MemoryWritten,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    OutputAccepted,
    OutputRejected,
    QuestionAnswered,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    RunCancelRequested,
    RunClaimed,
    RunEndRequested,
    RunFailed,
    RunStarted,
    RunSuspended,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
)
from ledgent.schemas.recovery import Again, Recovery, Then
from ledgent.schemas.state import Assistant, Phase, RunState, SummaryCall, ToolCall, ToolResult
from ledgent.schemas.terminators import StopWords, TokenBudget
from ledgent.schemas.transitions import NONE
from ledgent.schemas.values import ForkedFrom, Part, RecordedCall, ToolRequest, Usage
from tests.agent import predicates
from tests.schemas.chain import SPEC
from tests.simulation.clock import SimulatedClock

MOST_HAPPENINGS = 60

# One or two at a time: with more, the tightest would hide the others.
BOUNDS: dict[str, st.SearchStrategy[Any]] = {
    "steps": st.integers(1, 6),
    "tokens": st.integers(1, 600),
    "cost_usd": st.floats(0.01, 2),
    "seconds": st.floats(0.5, 60),
    "tool_calls": st.integers(1, 6),
    "repeats": st.integers(1, 3),
    "idle_steps": st.integers(1, 3),
    "step_seconds": st.floats(0.5, 30),
}
LIMITS = st.lists(st.sampled_from(sorted(BOUNDS)), max_size=2, unique=True).flatmap(
    lambda names: st.builds(Limits, **{name: BOUNDS[name] for name in names})
)
RECOVERIES = st.builds(
    Recovery,
    code=st.sampled_from(ErrorCode),
    again=st.sampled_from(get_args(Again)),
    then=st.sampled_from(get_args(Then)),
)


def tools_of(approval: bool) -> tuple[ToolSpec, ...]:
    """A run's tools: those of SPEC, one of which a person may have to allow, and a question."""
    tools = (tool.model_copy(update={"approval": approval and tool.name == "pay"}) for tool in SPEC.tools)
    return (*tools, ask_user.spec)


SPECS = st.builds(
    lambda talks, ends, attempts, output, way, approval, stream, context, window, recovery, spare, uncertain, memory: (
        SPEC.model_copy(
            update={
                "conversational": talks,
                "terminators": tuple(ends),
                "output": output,
                "policy": way[0],
                "text_protocol": way[1],
                "tools": tools_of(approval),
                "model": SPEC.model.model_copy(
                    update={"retry": RetryPolicy(attempts=attempts), "stream": stream, "context_window": window}
                ),
                "context": context,
                "recovery": tuple(recovery),
                "fallbacks": (SPEC.model,) * spare,
                "on_uncertain": uncertain,
                "memory": memory,
            }
        )
    ),
    st.booleans(),
    st.lists(
        st.sampled_from([StopWords(words=("stop",)), TokenBudget(tokens=400), when(predicates.after, steps=4)]),
        max_size=2,
    ),
    st.integers(1, 4),
    st.sampled_from([None, None, OutputSpec(name="Receipt", json_schema={}, attempts=2)]),
    st.sampled_from([("tool_loop", False), ("react", False), ("react", True)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, Trim(), Trim(keep=0.1), Summarize(), Summarize(at=0.5)]),
    st.sampled_from([None, 40, 150, 400]),
    st.lists(RECOVERIES, max_size=3),
    st.integers(0, 2),
    st.sampled_from(get_args(OnUncertain)),
    st.sampled_from([None, "notes"]),
)
ERRORS = [code for code in ErrorCode if code not in (ErrorCode.INTERRUPTED, ErrorCode.UNCERTAIN)]
NAMES = ["look_up", "look_up", "pay", "pay", "ask_user", "hang_up", "look_upp", ""]
ACTS = [
    "Thought: hm\nAction: pay\nAction Input: {}",
    "Action: look_up",
    "Final Answer: stop",
    "Action: ?\nAction Input: x",
]
PART = Part(kind="image", media_type="image/png", sha256="ab" * 32, size=3)
ARGUMENTS = ["{}", '{"a":1,"b":2}', '{"b":2, "a":1}', "not JSON", ""]


class Play:
    """A run and everything that may happen to it."""

    def __init__(self, seed: int, spec: AgentSpec, limits: Limits) -> None:
        # Hypothesis chooses what kind of run it is; it would choose too little of what makes a run long.
        self.dice = random.Random(seed)
        self.clock = SimulatedClock()
        self.limits = limits
        self.spec = spec
        self.started = Counter[tuple[str, int]]()
        self.steps: dict[str, list[tuple[str, str, str]]] = {"run": [], "model": [], "tool": []}
        """Before, after, event, wherever one of them moved on."""
        self.requests = 0
        self.told: list[ToolRequest] = []
        """What the model call under way has asked for so far."""
        self.looked_up_to = 0
        """For the messages before this place memory has been read."""
        self.owed: dict[str, str] = {}
        """By provider id, what tools gave that the model has not been told yet."""
        self.writer = RunWriter(MemoryLog(), RunState("run"), Guard(), self.clock)
        self.renderer = Renderer(spec, spec.model)
        self.writer.claim()
        self.put(RunClaimed(reason="started"))
        input = self.dice.choice([None, "hello"]) if spec.conversational else "hello"
        other = random.Random(seed + 1)  # dice of its own: the runs that are not forks stay what they were
        calls = recorded_calls(other) if other.random() < 0.25 else ()
        tools = other.choice(["recorded", "refused"])
        origin = ForkedFrom(
            run_id="other", seq=2, digest="", messages=0, model_calls=0, tools=tools, calls=len(calls), upto=9
        )
        forked_from = origin if calls else None
        self.put(RunStarted(request_id="r", agent=spec, input=input, limits=limits, forked_from=forked_from))
        if calls:
            self.put(HistoryShared(calls=calls))

    @property
    def state(self) -> RunState:
        return self.writer.state

    def put(self, event: AnyEvent) -> int:
        self.clock.elapsed_s += self.dice.choice([0.0, 0.1, 2.0])
        before, seq = self.state, self.writer.record(event, None).seq
        self.see(before, self.state, event.type)
        return seq

    def see(self, before: RunState, after: RunState, event: str) -> None:
        def note(kind: str, old: str, new: str) -> None:
            if old != new:
                self.steps[kind].append((old, new, event))

        note("run", before.status, after.status)
        phases = [state.model_call.phase if state.model_call else NONE for state in (before, after)]
        note("model", phases[0], phases[1])
        for call_id in dict.fromkeys([*before.tool_calls, *after.tool_calls]):
            old, new = before.tool_calls.get(call_id), after.tool_calls.get(call_id)
            if old is None or old.phase is not Phase.SETTLED:  # with the last one, all settled ones go
                gone = NONE if event == "model_call.failed" else Phase.SETTLED
                note("tool", old.phase if old else NONE, new.phase if new else gone)

    def decided(self) -> None:
        """Records what is decided, as the worker does."""
        for _ in range(50):
            commands = decide(self.state)
            if not commands:
                return
            assert not self.state.ended
            for command in commands:
                self.record(command)
        raise AssertionError(f"it never stops deciding: {commands}")

    def record(self, command: Command) -> None:
        spent, limits = self.state.spent, self.limits
        match command:
            case Record(event):
                if isinstance(event, ToolCallReused):
                    self.reuses(event)
                if event.type in TERMINAL_TYPES:
                    calls = (self.state.model_call, *self.state.tool_calls.values())
                    assert Phase.RUNNING not in [call.phase for call in calls if call]
                self.put(event)
            case CallModel(call_id, attempt) if self.dice.random() < 0.1:
                self.put(RateLimitWaited(call_id=call_id, attempt=attempt, delay_s=1, reason="requests"))
            case CallModel(call_id, attempt):
                self.once(call_id, attempt)
                assert not self.state.tool_calls, "it is asked before it can be told what its tools gave"
                self.told = []
                self.tell()
                self.looked_up()
                assert limits.tokens is None or spent.tokens < limits.tokens
                assert limits.cost_usd is None or spent.cost_usd < limits.cost_usd
                asked = ModelCallStarted(
                    call_id=call_id, attempt=attempt, provider="p", model="m", request_digest="0" * 64
                )
                self.fits_together()
                self.put(asked)
            case AskSummary(call_id, attempt, upto) if self.dice.random() < 0.1:
                self.put(RateLimitWaited(call_id=call_id, attempt=attempt, delay_s=1, reason="told", upto=upto))
            case AskSummary(call_id, attempt, upto):
                self.once(call_id, attempt)
                assert max(self.state.context.start, 1) < upto < len(self.state.messages)
                summed = ModelCallStarted(
                    call_id=call_id,
                    attempt=attempt,
                    provider="p",
                    model="m",
                    request_digest="0" * 64,
                    purpose="summary",
                    upto=upto,
                )
                self.put(summed)
            case CallTool(call_id, attempt):
                self.once(call_id, attempt)
                request = self.state.tool_calls[call_id].request
                self.may_begin(request.name)
                if self.state.origin is not None and attempt == 1:
                    spec = self.spec.tool(request.name)
                    refused = self.state.origin.tools == "refused" or not spec or not spec.idempotent
                    same = {call.name for call in self.state.recorded if call.result is None}
                    assert not refused or (spec and spec.approval) or request.name in same
                if request.arguments == "not JSON":
                    self.put(
                        ToolCallRejected(
                            call_id=call_id, name=request.name, reason="invalid_arguments", message="what?"
                        )
                    )
                    return
                called = ToolCallStarted(
                    call_id=call_id,
                    attempt=attempt,
                    name=request.name,
                    arguments=request.arguments,
                    idempotency_key=call_id,
                )
                self.put(called)
            case ReadMemory(query):
                assert self.state.reading is None
                assert set(query.split("\n")) <= {"hello", "and?"}, "what the user said, no more"
                self.looked_up_to = len(self.state.messages)
                self.put(MemoryReadStarted(query=query))
            case AskApproval(call_id):
                assert self.state.model_call is None
                request = self.state.tool_calls[call_id].request
                self.put(ApprovalRequested(call_id=call_id, name=request.name, arguments=request.arguments))
            case AskUser(call_id):
                assert self.state.model_call is None
                if self.state.tool_calls[call_id].request.arguments == "not JSON":
                    self.put(
                        ToolCallRejected(call_id=call_id, name="ask_user", reason="invalid_arguments", message="?")
                    )
                else:
                    self.put(QuestionAsked(call_id=call_id, question="which?"))
            case CheckOutput(attempt):
                fits = self.dice.random() < 0.5
                self.put(OutputAccepted(output="{}") if fits else OutputRejected(attempt=attempt, message="no"))
                assert attempt <= 2
            case ScheduleRetry(call_id, attempt, least_s, most_s, code):
                assert 0 <= least_s <= most_s
                self.put(RetryScheduled(call_id=call_id, attempt=attempt, delay_s=least_s, code=code))
        assert limits.steps is None or self.state.spent.steps <= limits.steps
        assert limits.tool_calls is None or self.state.spent.tool_calls <= limits.tool_calls

    def reuses(self, event: ToolCallReused) -> None:
        """It is the next of the other run's calls that has a result, and only that."""
        request = self.state.tool_calls[event.call_id].request
        self.once(event.call_id, 1)
        there = {call.call_id: call for call in self.state.recorded}[event.reused_from]
        assert (there.name, there.result) == (request.name, event.result)
        assert sorted(there.arguments.replace(" ", "")) == sorted(request.arguments.replace(" ", ""))
        self.owed[request.provider_id] = event.result

    def may_begin(self, name: str) -> None:
        model, spec = self.state.model_call, self.spec.tool(name)
        if model is None:
            return
        assert model.phase in (Phase.RUNNING, Phase.FAILED)
        assert spec is not None
        waits = spec.approval or spec.ends_run
        assert not waits, "for the whole answer"
        if model.error is not None:
            follows = after_failed_model_call(self.state, self.spec, model, model.error)
            ends = isinstance(follows, Record) and isinstance(follows.event, RunFailed)
            assert not ends, "nothing begins any more"

    def tell(self) -> None:
        """The model is told of each call with its result, once each, and of nothing that it has not asked for."""
        if self.spec.text_protocol:
            return  # its calls are in the text
        open_calls: list[str] = []
        for message in self.state.messages:
            if isinstance(message, Assistant):
                assert not open_calls
                open_calls = [request.provider_id for request in message.tool_calls]
            elif isinstance(message, ToolResult):
                assert message.provider_id == open_calls.pop(0)
                assert self.owed.pop(message.provider_id, message.text) == message.text
            else:
                assert not open_calls
        assert not open_calls
        assert not self.owed, "what a tool gave is lost"

    def looked_up(self) -> None:
        """Before the model is asked, memory has been read for each message of the user's, if there is a memory."""
        assert self.state.reading is None
        said = [place for place, message in enumerate(self.state.messages) if message.text in ("hello", "and?")]
        assert self.spec.memory is None or said[-1] < self.looked_up_to

    def fits_together(self) -> None:
        """What is sent is what the state says, whatever was rendered before; no result is without its call."""
        body = self.renderer.request(self.state)
        assert body == Renderer(self.spec, self.spec.model).request(self.state)
        sent = orjson.loads(body)["messages"]
        first = next(message for message in sent if message["role"] == "user")
        said = first["content"] if isinstance(first["content"], str) else first["content"][-1]["text"]
        assert said.startswith(self.state.messages[0].text)
        asked = set[str]()
        for message in sent:
            if message["role"] == "tool":
                assert message["tool_call_id"] in asked
            else:
                asked = {call["id"] for call in message.get("tool_calls", ())}
        assert self.state.context.reductions <= MOST_REDUCTIONS

    def once(self, call_id: str, attempt: int) -> None:
        self.started[call_id, attempt] += 1
        assert self.started[call_id, attempt] == 1, "the same attempt was asked for twice"

    def happenings(self) -> list[Any]:
        """What may happen now, as functions."""
        found: list[Any] = [self.taken_over, self.time_passes]
        self.requests += 1
        request = f"r{self.requests}"
        if self.dice.random() < 0.2:
            found.append(lambda: self.put(RunCancelRequested(request_id=request)))
        if self.spec.conversational:
            found.append(lambda: self.put(MessageReceived(request_id=request, text="and?", files=(PART,))))
            found.append(lambda: self.put(RunEndRequested(request_id=request)))
        found.append(self.handed_over)
        found.append(lambda: self.put(CheckpointSaved(name="here", request_id=request)))
        model = self.state.model_call
        if model and model.phase is Phase.RUNNING:
            found += [lambda: self.answered(model.call_id, model.attempt)] * 6
            if may_begin_early(self.state, self.spec) and not isinstance(self.state.model_call, SummaryCall):
                found += [lambda: self.asks(model.call_id, model.attempt)] * 6
        for call_id, call in self.state.tool_calls.items():
            if call.phase is Phase.HELD:
                found += [lambda call_id=call_id: self.answered_by_a_person(request, call_id)] * 6
            if call.phase is Phase.RUNNING:
                found += [lambda call_id=call_id, call=call: self.returned(call_id, call)] * 6
        if self.state.reading is not None and not self.state.suspended:
            found += [self.remembered] * 6
        for waiting in (model, *self.state.tool_calls.values()):
            if waiting and waiting.phase is Phase.WAITING and waiting.timer_seq:
                found.append(lambda seq=waiting.timer_seq: self.put(TimerFired(timer_seq=seq)))
        return found

    def error(self) -> ErrorInfo:
        wait_s = self.dice.choice([None, 0.0, 100.0])
        retryable = self.dice.random() < 0.7
        if self.spec.context is not None and self.dice.random() < 0.5:
            return ErrorInfo(code=ErrorCode.CONTEXT_OVERFLOW, message="too long")
        return ErrorInfo(code=self.dice.choice(ERRORS), message="no", retryable=retryable, retry_after_s=wait_s)

    def remembered(self) -> None:
        query = self.state.reading or ""
        entries = self.dice.choice([(), ("They like tea.",), ("They like tea.", "long " * 100)])
        error = self.error() if self.dice.random() < 0.2 else None
        self.put(MemoryRead(query=query, entries=() if error else entries, error=error))

    def time_passes(self) -> None:
        self.clock.elapsed_s += 20

    def handed_over(self) -> None:
        if not self.state.suspended:
            self.put(RunSuspended(reason="handed_over"))

    def answered_by_a_person(self, request: str, call_id: str) -> None:
        call = self.state.tool_calls[call_id]
        if call.question is not None and (not call.uncertain or self.dice.random() < 0.4):
            self.put(QuestionAnswered(request_id=request, call_id=call_id, text="this one"))
        elif self.dice.random() < 0.5:
            self.put(ApprovalGranted(request_id=request, call_id=call_id))
        else:
            self.put(ApprovalDenied(request_id=request, call_id=call_id, message="no"))

    def taken_over(self) -> None:
        self.writer.claim()
        self.put(RunClaimed(reason="taken_over"))

    def requested(self, call_id: str, number: int) -> ToolRequest:
        id = f"{call_id}.t{number}"
        name, arguments = self.dice.choice(NAMES), self.dice.choice(ARGUMENTS)
        return ToolRequest(call_id=id, provider_id=f"p{id}", name=name, arguments=arguments)

    def asks(self, call_id: str, attempt: int) -> None:
        """The model has asked for a tool call, and goes on."""
        assert self.state.model_call is not None
        request = self.requested(call_id, self.state.model_call.asked)
        self.told.append(request)
        self.put(ModelCallToolRequested(call_id=call_id, attempt=attempt, request=request))

    def answered(self, call_id: str, attempt: int) -> None:
        usage = Usage(input_tokens=self.dice.randrange(200), output_tokens=self.dice.randrange(200))
        cost = self.dice.choice([None, self.dice.random()])
        if self.dice.random() < 0.2:
            self.put(ModelCallFailed(call_id=call_id, attempt=attempt, error=self.error(), usage=usage, cost_usd=cost))
            return
        first = self.state.model_call.asked if self.state.model_call else 0
        more = (self.requested(call_id, first + n) for n in range(self.dice.choice([0, 1, 1, 2, 4])))
        asked = (*self.told, *more)
        text = self.dice.choice([None, "", "well", "well", "stop", *ACTS])
        self.put(
            ModelCallCompleted(
                call_id=call_id,
                attempt=attempt,
                text=text,
                tool_calls=asked,
                usage=usage,
                cost_usd=cost,
                duration_ms=1,
                purpose="summary" if isinstance(self.state.model_call, SummaryCall) else "answer",
            )
        )

    def returned(self, call_id: str, call: ToolCall) -> None:
        if self.dice.random() < 0.3:
            self.put(ToolCallFailed(call_id=call_id, attempt=call.attempt, error=self.error()))
        else:
            if self.dice.random() < 0.2:
                self.put(MemoryWritten(call_id=call_id, key=call_id, text="They like tea."))
                self.put(MemoryRead(query="tea", entries=("They like tea.",), call_id=call_id))
            result = self.dice.choice(["", "same", "other", "long " * 300])
            self.owed[call.request.provider_id] = result
            files, whole = self.dice.choice([((), None), ((PART,), None), ((), PART)])
            self.put(
                ToolCallCompleted(
                    call_id=call_id, attempt=call.attempt, result=result, duration_ms=1, files=files, whole=whole
                )
            )

    def on(self) -> None:
        """Plays until the run ends, or long enough."""
        for _ in range(MOST_HAPPENINGS):
            self.decided()
            if self.state.ended:
                assert decide(self.state) == ()
                return
            self.dice.choice(self.happenings())()


def recorded_calls(dice: random.Random) -> tuple[RecordedCall, ...]:
    """What another run may have called."""
    return tuple(
        RecordedCall(
            call_id=f"m{number}.t0",
            name=dice.choice(NAMES),
            arguments=dice.choice(ARGUMENTS),
            result=dice.choice([None, "as there"]),
            completed=dice.random() < 0.5,
        )
        for number in range(1, dice.choice([2, 5]))
    )
