"""Whether a restored run shares with the run that it went on from what it says. Reads; decides nothing."""

from collections import deque

from ledgent.agent.fork import shared_at
from ledgent.schemas.errors import BadRecord, UsageError
from ledgent.schemas.events import AnyEvent, HistoryShared, RunStarted
from ledgent.schemas.ports import History
from ledgent.schemas.values import ForkedFrom, SharedMessage


class SharedCheck:
    """Of one run, record by record; held against nothing where the log does not have the other run."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._other: str | None = None
        self._left: deque[SharedMessage] = deque()
        self._output: str | None = None

    def fault_of(self, event: AnyEvent, awaited: int) -> str | None:
        """What is wrong with the run's next record, where so many messages are awaited."""
        if isinstance(event, RunStarted) and event.forked_from is not None:
            return self._fault_of_origin(event.forked_from)
        if isinstance(event, HistoryShared):
            return self._fault_of_messages(event, awaited)
        return None

    def _fault_of_origin(self, origin: ForkedFrom) -> str | None:
        if self._history.head(origin.run_id) is None:
            return None
        try:
            shared = shared_at(self._history, origin.run_id, origin.seq)
        except (UsageError, BadRecord) as error:
            return f"it cannot have gone on from there: {error}"
        if shared.forked_from != origin:
            return f"run {origin.run_id} is not at record {origin.seq} what this run says that it went on from"
        self._other = origin.run_id
        self._left.extend(message for event in shared.events for message in event.messages)
        self._output = shared.events[-1].output if shared.events else None
        return None

    def _fault_of_messages(self, event: HistoryShared, awaited: int) -> str | None:
        if not 0 < len(event.messages) <= awaited:
            return "the run does not begin with these messages"
        if self._other is None:
            return None
        expected = tuple(self._left.popleft() for _ in event.messages)
        if expected == event.messages and event.output == (None if self._left else self._output):
            return None
        return f"these are not the messages of run {self._other}"
