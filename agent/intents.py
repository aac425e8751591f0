"""What has been decided, on its way to the log: each command as a record, and the calls that begin once it is durable.
No decisions, no waiting."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from ledgent.agent.carry_out import MAX_MESSAGE_CHARACTERS, Intent, Outcome, call_model, call_tool
from ledgent.agent.clock import Clock
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
from ledgent.agent.decide import may_begin_early
from ledgent.agent.limits import time_left
from ledgent.agent.memory_read import READ_TIMEOUT_S, read_memory
from ledgent.agent.models.port import Delta, ModelRequest
from ledgent.agent.output import InvalidOutput
from ledgent.agent.render import Renderers, request_digest
from ledgent.agent.resilience.breaker import Call, Circuit, circuit_of_tool, through
from ledgent.agent.resilience.bulkhead import within
from ledgent.agent.resilience.metered import Metered
from ledgent.agent.resilience.rates import Wait
from ledgent.agent.resilience.recovering import LONGEST_PAUSE_S, longer
from ledgent.agent.resilience.shared import Line, shared_of
from ledgent.agent.spec import Definition
from ledgent.agent.tools.asking import question_in
from ledgent.agent.tools.function import InvalidArguments, Tool
from ledgent.agent.tools.read_result import read_result
from ledgent.agent.tools.results import Wholes
from ledgent.agent.writing import RunWriter
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalRequested,
    MemoryReadStarted,
    ModelCallStarted,
    ModelCallToolRequested,
    OutputAccepted,
    OutputRejected,
    RateLimitWaited,
    RetryScheduled,
    ToolCallRejected,
    ToolCallStarted,
)
from ledgent.schemas.fallbacks import model_in_use
from ledgent.schemas.ports import Blobs, System
from ledgent.schemas.sent import BYTES_PER_TOKEN
from ledgent.schemas.values import ToolRequest

GRACE_S = 0.005
"""A call that runs into the run's deadline is given this much more, so that its outcome falls after the deadline."""

SetTimer = Callable[[float, int, tuple[str | int, ...]], None]
"""Has a timer fire after so many seconds, for the record of this seq, in this span."""


class Intents:
    """Of one run."""

    def __init__(
        self,
        agent: Definition,
        writer: RunWriter,
        clock: Clock,
        on_delta: Callable[[Delta], None] | None,
        set_timer: SetTimer,
        post: Callable[[Outcome], None],
        log: System,
        blobs: Blobs,
    ) -> None:
        self.starting: list[Intent] = []
        """Recorded, to begin once that is durable."""
        self._agent = agent
        self._writer = writer
        self._clock = clock
        self._on_delta = on_delta
        self._set_timer = set_timer
        self._post = post
        self._blobs = blobs
        self._log = log
        self._shared = shared_of(log)
        self._renderers = Renderers()
        self._lines: dict[int, Line] = {}
        """By which of the agent's models is asked."""

    def let_go(self) -> None:
        """Forgets the loop that it belongs to: as a circle the two would stay until the garbage collector comes."""
        self._set_timer = self._post = _nothing

    def record(self, command: Command, cause: int) -> None:
        match command:
            case Record(event):
                self._writer.record(event, cause, *_span_of(event))
            case CallModel(call_id, attempt):
                self._intend_model_call(call_id, attempt, cause)
            case AskSummary(call_id, attempt, upto):
                self._intend_model_call(call_id, attempt, cause, upto)
            case CallTool(call_id, attempt):
                self._intend_tool_call(call_id, attempt, cause)
            case ReadMemory(query):
                self._intend_memory_read(query, cause)
            case CheckOutput(attempt):
                self._writer.record(self._checked(attempt), cause)
            case AskApproval(call_id):
                self._ask_approval(call_id, cause)
            case AskUser(call_id):
                self._ask_user(call_id, cause)
            case ScheduleRetry(call_id, attempt, least_s, most_s, code):
                delay_s = self._clock.draw(least_s, most_s)
                event = RetryScheduled(call_id=call_id, attempt=attempt, delay_s=delay_s, code=code)
                span = (call_id, attempt, "wait")
                self._set_timer(delay_s, self._writer.record(event, cause, *span).seq, span)

    def _checked(self, attempt: int) -> AnyEvent:
        expected = self._agent.output_type
        try:
            if expected is None:
                raise InvalidOutput("This agent takes no answer of a type any more.")
            return OutputAccepted(output=expected.accepted(self._writer.state.output or ""))
        except InvalidOutput as error:
            return OutputRejected(attempt=attempt, message=str(error)[:MAX_MESSAGE_CHARACTERS])

    def _intend_model_call(self, call_id: str, attempt: int, cause: int, upto: int | None = None) -> None:
        """With `upto` it is for a summary, of which nobody is told piece by piece: it is no answer."""
        spec = self._writer.state.agent or self._agent.spec
        state, answers, now = self._writer.state, upto is None, self._clock.monotonic()
        index = model_in_use(state)
        model, renderer = self._renderers.of(state, spec)
        if index not in self._lines:
            self._lines[index] = self._shared.line(model, self._agent.live_model_of(index, model), now)
        line = self._lines[index]
        body = renderer.request(state) if upto is None else renderer.summary(state, upto)
        tokens = len(body) // BYTES_PER_TOKEN
        waits = line.rates.wait((state.run_id, call_id, attempt), tokens, now)
        if waits is not None:
            self._wait_for_turn(call_id, attempt, upto, waits, cause)
            return
        event = ModelCallStarted(
            call_id=call_id,
            attempt=attempt,
            provider=model.provider,
            model=model.name,
            request_digest=request_digest(body),
            purpose="answer" if answers else "summary",
            upto=upto,
        )
        span = (call_id, attempt)
        seq = self._writer.record(event, cause, *span).seq
        state = self._writer.state
        times = longer(state, spec)
        timeout_s, left_of = self._within_deadline(model.timeout_s * times)
        early = partial(self._tell_of_request, event, seq, span) if answers and may_begin_early(state, spec) else None
        ask = partial(
            call_model,
            Metered(line.live, line.rates, tokens, self._clock),
            event,
            clock=self._clock,
            on_delta=self._on_delta if answers else None,
            first_call=state.model_call.asked if state.model_call else 0,
            on_request=early,
        )
        asked = ModelRequest(call_id, attempt, body, timeout_s, times, self._blobs)
        call = partial(ask, asked, left_of)
        if line.places is not None:
            call = partial(within, line.places, ask, asked, left_of, time_left(state))
        self.starting.append(Intent(self._through(line.circuit, call, event), event, seq, span))

    def _tell_of_request(
        self, started: ModelCallStarted, seq: int, span: tuple[str | int, ...], request: ToolRequest
    ) -> None:
        event = ModelCallToolRequested(call_id=started.call_id, attempt=started.attempt, request=request)
        self._post(Outcome(event, seq, span))

    def _wait_for_turn(self, call_id: str, attempt: int, upto: int | None, waits: Wait, cause: int) -> None:
        delay_s = min(waits.delay_s, LONGEST_PAUSE_S)
        if (ends := time_left(self._writer.state)) is not None:
            delay_s = min(delay_s, max(0.0, ends.left_s))  # then the run ends, and need not wait for that
        event = RateLimitWaited(call_id=call_id, attempt=attempt, delay_s=delay_s, reason=waits.reason, upto=upto)
        span = (call_id, attempt, "turn", self._writer.state.seq)
        self._set_timer(delay_s, self._writer.record(event, cause, *span).seq, span)

    def _ask_approval(self, call_id: str, cause: int) -> None:
        request = self._writer.state.tool_calls[call_id].request
        if self._parsed(call_id, (call_id, 1), cause) is not None:
            event = ApprovalRequested(call_id=call_id, name=request.name, arguments=request.arguments)
            self._writer.record(event, cause, call_id, 1)

    def _ask_user(self, call_id: str, cause: int) -> None:
        asked = question_in(self._writer.state.tool_calls[call_id].request)
        if self._parsed(call_id, (call_id, 1), cause) is not None and asked is not None:
            self._writer.record(asked, cause, call_id, 1)

    def _parsed(self, call_id: str, span: tuple[str | int, ...], cause: int) -> tuple[Tool, dict[str, object]] | None:
        """The tool of a call and its arguments; None where the call is rejected."""
        request = self._writer.state.tool_calls[call_id].request
        tool = self._agent.tool(request.name)
        try:
            if tool is None:
                raise InvalidArguments(f"The tool {request.name} is not available at the moment.")
            return tool, tool.parse(request.arguments)
        except InvalidArguments as error:
            rejected = ToolCallRejected(
                call_id=call_id, name=request.name, reason="invalid_arguments", message=str(error)[:8000]
            )
            self._writer.record(rejected, cause, *span)
            return None

    def _intend_tool_call(self, call_id: str, attempt: int, cause: int) -> None:
        request = self._writer.state.tool_calls[call_id].request
        span = (call_id, attempt)
        parsed = self._parsed(call_id, span, cause)
        if parsed is None:
            return
        tool, arguments = parsed
        event = ToolCallStarted(
            call_id=call_id,
            attempt=attempt,
            name=request.name,
            arguments=request.arguments,
            idempotency_key=f"{self._writer.state.run_id}/{call_id}",
        )
        seq = self._writer.record(event, cause, *span).seq
        run_id, (left_s, left_of) = self._writer.state.run_id, self._within_deadline(float("inf"))

        def on_event(event: AnyEvent) -> None:
            self._post(Outcome(event, seq, span))

        can_read = self._agent.tool(read_result.spec.name) is read_result
        wholes = Wholes(self._writer.state.wholes, self._blobs, can_read)
        call = partial(
            call_tool,
            *(tool, event, arguments, run_id, left_s, self._clock, self._agent.threads, self._on_delta, on_event),
            wholes=wholes,
            left_of=left_of,
        )
        named = circuit_of_tool(self._agent.spec, tool.spec)
        circuit = self._shared.circuits.get(named) if named else None
        self.starting.append(Intent(self._through(circuit, call, event), event, seq, span))

    def _intend_memory_read(self, query: str, cause: int) -> None:
        event, span = MemoryReadStarted(query=query), ("memory", len(self._writer.state.messages))
        seq = self._writer.record(event, cause, *span).seq
        timeout_s, _ = self._within_deadline(READ_TIMEOUT_S)
        call = partial(read_memory, self._agent.memory, event, timeout_s, self._clock, self._agent.threads)
        self.starting.append(Intent(call, event, seq, span))

    def _through(self, circuit: Circuit | None, call: Call, started: ModelCallStarted | ToolCallStarted) -> Call:
        """The call, as its circuit allows."""
        return call if circuit is None else partial(through, circuit, call, started, self._log, self._clock)

    def _within_deadline(self, timeout_s: float) -> tuple[float, Literal["run", "step"] | None]:
        """At most so many seconds; and whose deadline that is, where it is not the call's own."""
        ends = time_left(self._writer.state)
        if ends is None or ends.left_s + GRACE_S >= timeout_s:
            return timeout_s, None
        return max(0.0, ends.left_s + GRACE_S), ends.of


def _nothing(*_: object) -> None:
    """What comes of a timer or an outcome once the run has ended."""


def _span_of(event: AnyEvent) -> tuple[str | int, ...]:
    """The span of an event that was decided: its call's attempt, or the run's own."""
    said = vars(event)  # to ask an event for a field that it lacks would cost as much as a step's own decisions
    return (said["call_id"], said.get("attempt", 1)) if said.get("call_id") else ()
