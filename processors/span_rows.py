"""What a span is: its kinds, its statuses and its row in the store. How spans come about is in spans.py."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What took the time."""

    RUN = "run"
    MODEL_CALL = "model_call"
    TOOL_CALL = "tool_call"
    MEMORY_READ = "memory_read"
    RETRY_WAIT = "retry_wait"
    INPUT_WAIT = "input_wait"
    """It waited for a person: for the next message, or until its calls were allowed."""
    HANDOVER_WAIT = "handover_wait"
    """The run had been given up in good order and nobody had taken it up yet."""


class SpanStatus(StrEnum):
    """How it stands, or how it ended."""

    RUNNING = "running"
    WAITING = "waiting"
    OK = "ok"
    ERROR = "error"
    REJECTED = "rejected"
    """The tool call never started."""
    REUSED = "reused"
    """The call was not made: another run had made it."""
    UNCERTAIN = "uncertain"
    """The process went away; the call may have happened."""
    CANCELLED = "cancelled"
    LIMITED = "limited"
    """Of the run only: it reached a bound."""


class SpanRow(NamedTuple):
    """A span after the last record that touched it; the columns of the table `spans`, in their order."""

    run_id: str
    span_id: str
    parent_span_id: str = ""
    kind: str = ""
    name: str = ""
    """The agent, the model, the tool or memory; of a wait, why it was."""
    call_id: str = ""
    attempt: int = 0
    """0 where there are none."""
    purpose: str = ""
    """Of a model call: `answer`, or `summary` of what is no longer sent."""
    status: str = str(SpanStatus.RUNNING)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    """As measured by whoever made the call, else between the two records; None while open."""
    first_token_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    """None: not known, or nothing that costs."""
    error_code: str = ""
    error_message: str = ""
    started_seq: int = 0
    ended_seq: int = 0
    """0 while open."""
    topic: str = ""
    partition: int = 0
    last_offset: int = 0
    """The place of the last record that touched this span."""

    @property
    def open(self) -> bool:
        return self.ended_seq == 0
