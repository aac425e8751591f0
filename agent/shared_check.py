"""Whether a restored run shares with the run that it went on from what it says. Reads; decides nothing."""

from collections import deque

from ledgent.agent.fork import shared_at
from ledgent.schemas.errors import BadRecord, UsageError
from ledgent.schemas.events import AnyEvent, HistoryShared, RunStarted
from ledgent.schemas.ports import History
from ledgent.schemas.values import RecordedCall, SharedMessage


class SharedCheck:
    """Of one run, record by record; held against nothing where the log does not have the other run."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._other: str | None = None
        self._left: deque[SharedMessage | RecordedCall] = deque()
        self._calls = 0
        self._output: str | None = None
        self._edited = frozenset[int]()
        self._place = 0

    def fault_of(self, event: AnyEvent, awaited: int) -> str | None:
        """What is wrong with the run's next record, where so many messages and calls are awaited."""
        if isinstance(event, RunStarted) and event.forked_from is not None:
            return self._fault_of_origin(event)
        if isinstance(event, HistoryShared):
            return self._fault_of_messages(event, awaited)
        return None

    def _fault_of_origin(self, started: RunStarted) -> str | None:
        origin = started.forked_from
        if origin is None or self._history.head(origin.run_id) is None:
            return None
        if origin.model is not None and not origin.model.endswith(started.agent.model.name):
            return f"it was given the model {origin.model}, but its agent has {started.agent.model.name}"
        try:
            shared = shared_at(self._history, origin.run_id, origin.seq, origin.tools, origin.upto)
        except (UsageError, BadRecord) as error:
            return f"it cannot have gone on from there: {error}"
        told = {"allowed": origin.allowed, "edited": origin.edited, "model": origin.model}
        expected = shared.origin_of(started.agent, started.limits).model_copy(update=told)
        if expected.changed != origin.changed:
            return (
                f"it says that it differs from run {origin.run_id} in {', '.join(origin.changed) or 'nothing'}, and it "
                f"does in {', '.join(expected.changed) or 'nothing'}"
            )
        if expected != origin:
            return f"run {origin.run_id} is not at record {origin.seq} what this run says that it went on from"
        self._other = origin.run_id
        self._left.extend((*shared.messages, *shared.calls))
        self._calls, self._edited = len(shared.calls), frozenset(origin.edited)
        self._output = None if len(shared.messages) - 1 in self._edited else shared.output
        return None

    def _fault_of_messages(self, event: HistoryShared, awaited: int) -> str | None:
        carried: tuple[SharedMessage | RecordedCall, ...] = (*event.messages, *event.calls)
        if not 0 < len(carried) <= awaited or (event.messages and event.calls):
            return "the run does not begin with these messages"
        if self._other is None:
            return None
        for here in carried:
            there, self._place = self._left.popleft(), self._place + 1
            if self._place - 1 not in self._edited:
                if here != there:
                    return f"these are not the messages of run {self._other}"
            elif not _is_edit(here, there):
                return f"the message or call {self._place - 1} is not an edited one of run {self._other}"
        last = bool(event.messages) and len(self._left) == self._calls
        if event.output != (self._output if last else None):
            return f"these are not the messages of run {self._other}: its last answer is another"
        return None


def _is_edit(here: SharedMessage | RecordedCall, there: SharedMessage | RecordedCall) -> bool:
    """Whether the one is the other with another text."""
    if isinstance(there, RecordedCall):
        unlike = {"result", "completed", "whole"}
        return isinstance(here, RecordedCall) and here.model_dump(exclude=unlike) == there.model_dump(exclude=unlike)
    return isinstance(here, SharedMessage) and here.model_copy(update={"text": there.text}) == there
