"""Whether a recorded run is whole, and whether this code would decide as it did. Calls no model and no tool.

Each record is checked against the digest chain and the rule of acceptance; at each decision point `decide` is asked
again and its commands are held against the intents that were recorded, request digests included.
"""

from collections import deque

from ledgent.agent.commands import (
    Command,
)
from ledgent.agent.decide import decide, may_begin_early
from ledgent.agent.divergence import Certificate, Divergence, Verdict, begun_by, likely_cause
from ledgent.agent.expectation import Expectation
from ledgent.agent.shared_check import SharedCheck
from ledgent.schemas.acceptance import ACCEPTED, Guard, advance, judge
from ledgent.schemas.agents import AgentSpec
from ledgent.schemas.codec import Recorded, Stored, digest_of, event_of, read_envelope
from ledgent.schemas.errors import BadRecord, ErrorCode, UnknownRun
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalRequested,
    CheckpointSaved,
    ContextSummarized,
    ContextTrimmed,
    MemoryRead,
    MemoryReadStarted,
    MemoryWritten,
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
    RunStarted,
    RunSuspended,
    ThoughtRecorded,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.ports import Head, History
from ledgent.schemas.run import evolve
from ledgent.schemas.state import RunState

_DECIDED = (
    ApprovalRequested,
    ContextSummarized,
    ContextTrimmed,
    MemoryReadStarted,
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
    ToolCallReused,
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
    MemoryRead,
    MemoryWritten,
)
"""Events that a holder who hands the run over records without deciding on them."""


def verify(history: History, run_id: str, agent: AgentSpec | None = None) -> Certificate:
    """Verifies one run; with `agent`, whether that agent would have decided alike.

    Raises UnknownRun, LogCorrupt, LogUnavailable.
    """
    head = history.head(run_id)
    if head is None:
        raise UnknownRun(run_id)
    misplaced = dict(history.misplaced(run_id))
    check = _Check(history, run_id, agent)
    for stored in history.records(run_id):
        seq = check.guard.seq + 1
        try:
            if seq in misplaced:
                raise Divergence("broken", misplaced[seq])
            check.step(stored)
        except Divergence as found:
            return check.failed(found)
        if seq == head.guard.seq and check.guard != head.guard:
            return check.certificate("broken", seq, "it is not the record that the run's head names")
    if fault := _beyond(history, head, check.guard):
        return check.certificate("broken", *fault)
    return check.certificate("imported" if check.imported else "verified")


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

    def __init__(self, history: History, run_id: str, agent: AgentSpec | None = None) -> None:
        self.guard = Guard()
        self.imported = False
        self._shared = SharedCheck(history)
        self._agent = agent
        self._recorded: AgentSpec | None = None
        self._state = self._decided_from = RunState(run_id)
        self._expected: deque[Command] = deque()
        self._cause = 0
        self._claimed = False
        self._cut_short = False
        self._decisions = 0
        self._expectation = Expectation()
        self._proven_seq: int | None = None

    def certificate(self, verdict: Verdict, seq: int | None = None, reason: str | None = None) -> Certificate:
        """What has been found; complete where nothing is wrong."""
        guard = self.guard
        certificate = Certificate(
            self._state.run_id, verdict, guard.seq, guard.digest, seq is None, self._decisions, seq, reason
        )
        return certificate._replace(cause="log_changed") if verdict == "broken" else certificate

    def failed(self, found: Divergence) -> Certificate:
        """What is wrong with the next record, and what likely lies behind it."""
        cause, why = likely_cause(found, self._state, self._decided_from, self._recorded, self._proven_seq)
        reason = str(found) if found.verdict == "broken" else f"{found}; likely cause: {why}"
        return self.certificate(found.verdict, self.guard.seq + 1, reason)._replace(
            field=found.field, recorded=found.recorded, decided=found.decided, cause=cause
        )

    def step(self, stored: Stored) -> None:
        """Checks and folds the next record. Raises Divergence."""
        record = self._whole(stored)
        if isinstance(record.event, RunStarted):
            record = self._begun(record, record.event)
        if not self.imported:
            self._compare(record)
        try:
            self._state = evolve(self._state, record)
        except (KeyError, TypeError, AttributeError) as error:
            raise Divergence("broken", f"it does not follow from the records before it ({error!r})") from error
        self.guard = advance(record.envelope, stored.digest)
        if not self._expected and not self.imported:
            self._expected.extend(decide(self._state))
            self._decided_from, self._cause = self._state, record.seq

    def _begun(self, record: Recorded, event: RunStarted) -> Recorded:
        """The run's start, as the agent that is asked about would have made it."""
        self._recorded, self.imported = event.agent, event.imported is not None
        return record if self._agent is None else record._replace(event=begun_by(self._agent, event))

    def _whole(self, stored: Stored) -> Recorded:
        body, digest = stored
        seq = self.guard.seq + 1
        # SQLite keeps any type in any column.
        if type(body) is not bytes or digest_of(self.guard.digest, body) != digest:
            raise Divergence("broken", "its bytes or its digest were changed, or the record before it is another")
        try:
            envelope = read_envelope(body)
            if envelope.run_id != self._state.run_id or envelope.seq != seq:
                raise Divergence("broken", f"record {envelope.seq} of run {envelope.run_id} stands in its place")
            if judge(self.guard, envelope, stored) is not ACCEPTED:
                raise Divergence("broken", "its writer did not hold the run")
            return Recorded(envelope, event_of(envelope, stored), digest)
        except BadRecord as error:
            raise Divergence("broken", str(error)) from error

    def _compare(self, record: Recorded) -> None:
        event, agent = record.event, self._state.agent
        if isinstance(event, ModelCallToolRequested) and agent is not None and not may_begin_early(self._state, agent):
            said = f"{event.type} was recorded, but here calls wait for the whole answer"
            raise Divergence("diverged", said, "type", event.type, "nothing")
        if fault := self._shared.fault_of(event, self._state.awaited):
            raise Divergence("diverged", fault)
        if isinstance(event, RunClaimed) or _made_by_the_worker(event, self._claimed):
            self._expected.clear()  # what was decided is cut short, and decided anew by the next holder
            self._cut_short = False
        elif isinstance(event, _OUTCOMES) and (self._cut_short or self._undecided(event)):
            self._expected.clear()
            self._cut_short = True
        elif self._cut_short:
            raise Divergence("diverged", f"{event.type} was recorded where the run was being handed over")
        elif self._expected:
            self._decisions += 1
            self._as_decided(self._expected.popleft(), record)
        elif isinstance(event, _DECIDED):
            said = f"{event.type} was recorded, but this code decides nothing here"
            raise Divergence("diverged", said, "type", event.type, "nothing")
        self._claimed = isinstance(event, RunClaimed)

    def _undecided(self, outcome: AnyEvent) -> bool:
        """Whether the outcome stands where something else had been decided."""
        return bool(self._expected) and not self._expectation.fields(self._state, self._expected[0], outcome)[1]

    def _as_decided(self, command: Command, record: Recorded) -> None:
        expected, found = self._expectation.fields(self._state, command, record.event)
        if not found:
            said = f"{record.event.type} was recorded, but this code decides {command!r:.500}"
            raise Divergence("diverged", said, "type", record.event.type, repr(command))
        for name, value in expected.items():
            if found[name] != value:
                field = f"{record.event.type}.{name}"
                said = f"{field} is {found[name]!r:.200}, but this code decides {value!r:.200}"
                raise Divergence("diverged", said, field, found[name], value)
        if record.envelope.cause != self._cause:
            said = f"its cause is {record.envelope.cause}, but it follows from record {self._cause}"
            raise Divergence("diverged", said, "cause", record.envelope.cause, self._cause)
        if isinstance(record.event, ModelCallStarted):
            self._proven_seq = record.seq


def _made_by_the_worker(event: AnyEvent, claimed: bool) -> bool:
    """What the worker records by itself: a hand-over and, right after its claim, that the run cannot go on."""
    if isinstance(event, RunSuspended):
        return event.reason == "handed_over"
    return claimed and isinstance(event, RunFailed) and event.error.code in _CANNOT_GO_ON


_CANNOT_GO_ON = (ErrorCode.UNKNOWN_AGENT, ErrorCode.INVALID_REQUEST, ErrorCode.TOO_LARGE, ErrorCode.INTERNAL)
