"""Whether a recorded run is whole, and whether this code would decide as it did. Calls no model and no tool.

Each record is checked against the digest chain and the rule of acceptance; at each decision point `decide` is asked
again and its commands are held against the intents that were recorded, request digests included.
"""

from collections import deque
from typing import Any, Literal, NamedTuple

from ledgent.agent.commands import (
    AskApproval,
    AskSummary,
    AskUser,
    CallModel,
    CallTool,
    CheckOutput,
    Command,
    Record,
    ScheduleRetry,
)
from ledgent.agent.decide import decide, may_begin_early
from ledgent.agent.render import Renderer, request_digest
from ledgent.agent.shared_check import SharedCheck
from ledgent.agent.terminators import changed
from ledgent.agent.tools.asking import question_in
from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import Recorded, Stored, digest_of, event_of, read_envelope
from ledgent.schemas.errors import BadRecord, ErrorCode, UnknownRun
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalRequested,
    CheckpointSaved,
    ContextSummarized,
    ContextTrimmed,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    ModelFellBack,
    OutputAccepted,
    OutputRejected,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunLimited,
    RunSuspended,
    ThoughtRecorded,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.fallbacks import model_in_use, models_of
from ledgent.schemas.ports import Head, History
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState

_DECIDED = (
    ApprovalRequested,
    ContextSummarized,
    ContextTrimmed,
    ModelCallStarted,
    ModelFellBack,
    OutputAccepted,
    OutputRejected,
    RateLimitWaited,
    QuestionAsked,
    RetryScheduled,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunLimited,
    RunSuspended,
    ThoughtRecorded,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
"""Events that only a decision brings about."""

_OUTCOMES = (
    ModelCallToolRequested,
    ModelCallCompleted,
    ModelCallFailed,
    ToolCallCompleted,
    ToolCallFailed,
    TimerFired,
    CheckpointSaved,
)
"""Events that a holder who hands the run over records without deciding on them."""


class Certificate(NamedTuple):
    """What verification found."""

    run_id: str
    verdict: Literal["verified", "diverged", "broken"]
    """`broken`: the log is not what was written. `diverged`: this code decides otherwise."""
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

    @property
    def ok(self) -> bool:
        return self.verdict == "verified"


class _Divergence(Exception):
    def __init__(self, verdict: Literal["diverged", "broken"], reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


def verify(history: History, run_id: str) -> Certificate:
    """Verifies one run. Raises UnknownRun, LogCorrupt, LogUnavailable."""
    head = history.head(run_id)
    if head is None:
        raise UnknownRun(run_id)
    misplaced = dict(history.misplaced(run_id))
    check = _Check(history, run_id)
    for stored in history.records(run_id):
        seq = check.guard.seq + 1
        try:
            if seq in misplaced:
                raise _Divergence("broken", misplaced[seq])
            check.step(stored)
        except _Divergence as found:
            return check.certificate(found.verdict, False, seq, str(found) + check.cause(found))
        if seq == head.guard.seq and check.guard != head.guard:
            return check.certificate("broken", False, seq, "it is not the record that the run's head names")
    if fault := _beyond(history, head, check.guard):
        return check.certificate("broken", False, *fault)
    return check.certificate("verified", True)


def _beyond(history: History, head: Head, guard: Guard) -> tuple[int, str] | None:
    """Records that the head names and the log lacks, or the other way round."""
    if head.guard.seq > guard.seq:
        return guard.seq + 1, f"it is missing: the run's head says that there are {head.guard.seq} records"
    if head.guard.seq < guard.seq:
        now = history.head(head.run_id)  # a run at work may have gone on meanwhile
        if now is None or now.guard.seq < guard.seq:
            return head.guard.seq + 1, f"the run's head says that there are only {head.guard.seq} records"
    return None


class _Check:
    """Folds one run and decides it again."""

    def __init__(self, history: History, run_id: str) -> None:
        self.guard = Guard()
        self._shared = SharedCheck(history)
        self._state = RunState(run_id)
        self._expected: deque[Command] = deque()
        self._cause = 0
        self._claimed = False
        self._cut_short = False
        self._decisions = 0
        self._renderers: dict[int, Renderer] = {}

    def certificate(
        self,
        verdict: Literal["verified", "diverged", "broken"],
        complete: bool,
        seq: int | None = None,
        reason: str | None = None,
    ) -> Certificate:
        guard = self.guard
        return Certificate(self._state.run_id, verdict, guard.seq, guard.digest, complete, self._decisions, seq, reason)

    def cause(self, found: _Divergence) -> str:
        """What is known of why this code decides otherwise."""
        names = changed(self._state.agent.terminators) if self._state.agent else []
        if found.verdict == "broken" or not names:
            return ""
        return f"; the source of {' and '.join(names)} has changed since"

    def step(self, stored: Stored) -> None:
        """Checks and folds the next record. Raises _Divergence."""
        record = self._whole(stored)
        self._compare(record)
        try:
            self._state = evolve(self._state, record)
        except (KeyError, TypeError, AttributeError) as error:
            raise _Divergence("broken", f"it does not follow from the records before it ({error!r})") from error
        self.guard = advance(record.envelope, stored.digest)
        if not self._expected:
            self._expected.extend(decide(self._state))
            self._cause = record.seq

    def _whole(self, stored: Stored) -> Recorded:
        body, digest = stored
        seq = self.guard.seq + 1
        if (
            type(body) is not bytes or digest_of(self.guard.digest, body) != digest
        ):  # SQLite keeps any type in any column
            raise _Divergence("broken", "its bytes or its digest were changed, or the record before it is another")
        try:
            envelope = read_envelope(body)
            if envelope.run_id != self._state.run_id or envelope.seq != seq:
                raise _Divergence("broken", f"record {envelope.seq} of run {envelope.run_id} stands in its place")
            if judge(self.guard, envelope, stored) is not Verdict.ACCEPTED:
                raise _Divergence("broken", "its writer did not hold the run")
            return Recorded(envelope, event_of(envelope, stored), digest)
        except BadRecord as error:
            raise _Divergence("broken", str(error)) from error

    def _compare(self, record: Recorded) -> None:
        event, agent = record.event, self._state.agent
        if isinstance(event, ModelCallToolRequested) and agent is not None and not may_begin_early(self._state, agent):
            raise _Divergence("diverged", f"{event.type} was recorded, but here calls wait for the whole answer")
        if fault := self._shared.fault_of(event, self._state.awaited):
            raise _Divergence("diverged", fault)
        if isinstance(event, RunClaimed) or _made_by_the_worker(event, self._claimed):
            self._expected.clear()  # what was decided is cut short, and decided anew by the next holder
            self._cut_short = False
        elif isinstance(event, _OUTCOMES) and (self._cut_short or self._undecided(event)):
            self._expected.clear()
            self._cut_short = True
        elif self._cut_short:
            raise _Divergence("diverged", f"{event.type} was recorded where the run was being handed over")
        elif self._expected:
            self._decisions += 1
            self._as_decided(self._expected.popleft(), record)
        elif isinstance(event, _DECIDED):
            raise _Divergence("diverged", f"{event.type} was recorded, but this code decides nothing here")
        self._claimed = isinstance(event, RunClaimed)

    def _undecided(self, outcome: AnyEvent) -> bool:
        """Whether the outcome stands where something else had been decided."""
        return bool(self._expected) and not self._fields(self._expected[0], outcome)[1]

    def _as_decided(self, command: Command, record: Recorded) -> None:
        expected, found = self._fields(command, record.event)
        if not found:
            raise _Divergence("diverged", f"{record.event.type} was recorded, but this code decides {command!r:.500}")
        for name, value in expected.items():
            if found[name] != value:
                raise _Divergence(
                    "diverged",
                    f"{record.event.type}.{name} is {found[name]!r:.200}, but this code decides {value!r:.200}",
                )
        if record.envelope.cause != self._cause:
            raise _Divergence(
                "diverged", f"its cause is {record.envelope.cause}, but it follows from record {self._cause}"
            )

    def _fields(self, command: Command, event: AnyEvent) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields that the command fixes, and the event's; nothing found where the event is of another kind."""
        found = dict(event)
        match command, event:
            case Record(decided), _ if decided.type == event.type:
                return dict(decided), found
            case CallModel(call_id, attempt), ModelCallStarted():
                return {"call_id": call_id, "attempt": attempt, **self._asked(None)}, found
            case AskSummary(call_id, attempt, upto), ModelCallStarted():
                return {"call_id": call_id, "attempt": attempt, **self._asked(upto)}, found
            case CallModel(call_id, attempt), RateLimitWaited():
                return {"call_id": call_id, "attempt": attempt, "upto": None}, found
            case AskSummary(call_id, attempt, upto), RateLimitWaited():
                return {"call_id": call_id, "attempt": attempt, "upto": upto}, found
            case CallTool(call_id, attempt), ToolCallStarted():
                request = self._state.tool_calls[call_id].request
                return {
                    "call_id": call_id,
                    "attempt": attempt,
                    "name": request.name,
                    "arguments": request.arguments,
                    "idempotency_key": f"{self._state.run_id}/{call_id}",
                }, found
            case AskApproval(call_id), ApprovalRequested():
                request = self._state.tool_calls[call_id].request
                return {"call_id": call_id, "name": request.name, "arguments": request.arguments}, found
            case AskUser(call_id), QuestionAsked():
                request = self._state.tool_calls[call_id].request
                return (dict(asked), found) if (asked := question_in(request)) else ({}, {})
            case ((CallTool(call_id) | AskApproval(call_id) | AskUser(call_id)), ToolCallRejected()):
                return {"call_id": call_id}, found
            case CheckOutput(), OutputAccepted():
                return {"type": event.type}, found
            case CheckOutput(attempt), OutputRejected():
                return {"attempt": attempt}, found
            case ScheduleRetry(call_id, attempt, least_s, most_s, code), RetryScheduled(delay_s=delay_s):
                within = least_s <= delay_s <= most_s
                return {"call_id": call_id, "attempt": attempt, "code": code} | (
                    {} if within else {"delay_s": f"{least_s:g} to {most_s:g}"}
                ), found
            case _:
                return {}, {}

    def _asked(self, upto: int | None) -> dict[str, Any]:
        agent = self._state.agent
        assert agent is not None, "a model is called only by a run that has started"
        index = model_in_use(self._state)
        model = models_of(agent)[index]
        if index not in self._renderers:
            self._renderers[index] = Renderer(agent, model)
        state, renderer = self._state, self._renderers[index]
        return {
            "provider": model.provider,
            "model": model.name,
            "request_digest": request_digest(
                renderer.request(state) if upto is None else renderer.summary(state, upto)
            ),
            "purpose": "answer" if upto is None else "summary",
            "upto": upto,
        }


def _made_by_the_worker(event: AnyEvent, claimed: bool) -> bool:
    """What the worker records by itself: a hand-over and, right after its claim, that the run cannot go on."""
    if isinstance(event, RunSuspended):
        return event.reason == "handed_over"
    return claimed and isinstance(event, RunFailed) and event.error.code in _CANNOT_GO_ON


_CANNOT_GO_ON = (ErrorCode.UNKNOWN_AGENT, ErrorCode.INVALID_REQUEST, ErrorCode.TOO_LARGE, ErrorCode.INTERNAL)
