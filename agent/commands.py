"""What a decision can ask of the worker. Values only."""

from typing import NamedTuple

from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import AnyEvent


class CallModel(NamedTuple):
    """Ask the model: `model_call.started`, then the call."""

    call_id: str
    attempt: int


class AskSummary(NamedTuple):
    """Ask the model to sum up the messages before a place: `model_call.started`, then the call."""

    call_id: str
    attempt: int
    upto: int


class CallTool(NamedTuple):
    """Validate the arguments and call the tool: `tool_call.started`, then the call; or `tool_call.rejected`."""

    call_id: str
    attempt: int


class AskApproval(NamedTuple):
    """Validate the arguments and have a person allow the call: `approval.requested`; or `tool_call.rejected`."""

    call_id: str


class AskUser(NamedTuple):
    """Validate the arguments and ask the user the call's question: `question.asked`; or `tool_call.rejected`."""

    call_id: str


class ReadMemory(NamedTuple):
    """Look through the agent's memory: `memory.read_started`, then the look."""

    query: str


class ScheduleRetry(NamedTuple):
    """Wait before the next attempt: `retry.scheduled`, its delay drawn from [least_s, most_s]."""

    call_id: str
    attempt: int
    least_s: float
    most_s: float
    code: ErrorCode


class CheckOutput(NamedTuple):
    """Hold the last answer against the agent's output type: `output.accepted` or `output.rejected`."""

    attempt: int


class Record(NamedTuple):
    """Write down what has been decided; nothing else is to be done."""

    event: AnyEvent


Command = CallModel | AskSummary | CallTool | AskApproval | AskUser | ReadMemory | ScheduleRetry | CheckOutput | Record
