"""What came of the tool calls of a run, in the order in which they were asked for. Pure: states and records in."""

from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import (
    ApprovalDenied,
    QuestionAnswered,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallReused,
    ToolCallUncertain,
)
from ledgent.schemas.state import RunState
from ledgent.schemas.values import RecordedCall

_NO_RESULT = frozenset({ErrorCode.CANCELLED, ErrorCode.INTERRUPTED})
"""Failures that say nothing of the tool."""


class RecordedCalls:
    """Of one run, fed with each record and the state before it."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[int, RecordedCall]] = {}
        """With the record after which it was known, by call id."""
        self._begun: set[str] = set()
        """Those that something is recorded of: the others were dropped with the answer that asked for them."""

    def see(self, before: RunState, record: Recorded) -> None:
        """Takes in the run's next record."""
        for call_id, call in before.tool_calls.items():
            if call_id not in self._calls:
                asked = call.request
                made = RecordedCall(call_id=call_id, name=asked.name, arguments=asked.arguments)
                self._calls[call_id] = before.seq, made
        call_id = getattr(record.event, "call_id", "")
        if call_id in before.tool_calls:
            self._begun.add(call_id)
            seq, made = self._calls[call_id]
            self._calls[call_id] = seq, made.model_copy(update=_result(record))

    def after(self, seq: int) -> tuple[RecordedCall, ...]:
        """The calls that were asked for after this record."""
        return tuple(made for asked_at, made in self._calls.values() if asked_at > seq and made.call_id in self._begun)


def _result(record: Recorded) -> dict[str, object]:
    """What came of the call by this record; empty where that is nothing that stands in another run."""
    match record.event:
        case ToolCallCompleted() as event:
            return {"result": event.result, "completed": True, "parts": event.files, "whole": event.whole}
        case ToolCallReused() as event:
            return {"result": event.result, "completed": event.completed, "parts": event.files, "whole": event.whole}
        case ToolCallFailed(error=error):
            return {} if error.code in _NO_RESULT else {"result": error.message}
        case ToolCallUncertain(message=message) | ApprovalDenied(message=message):
            return {"result": message}
        case QuestionAnswered(text=text):
            return {"result": text}
        case _:
            return {}
