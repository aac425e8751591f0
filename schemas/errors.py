"""Every error ledgent raises, in one tree, and the codes that failures carry in events. No logic beyond messages.

LedgentError                    exit code 1
├── UsageError                  2   the caller asked for something that cannot be
│   ├── UnknownRun
│   ├── UnknownAgent
│   ├── RequestRefused              the run cannot take this request (it has ended, it is no conversation)
│   ├── SqlRefused                  a person's SQL is not one allowed SELECT
│   └── FileRefused                 a file that cannot be taken: missing, too large, a directory
├── Unreachable                 3   a component does not answer
│   ├── LogUnavailable
│   ├── StoreUnavailable
│   ├── MemoryUnavailable
│   └── BlobsUnavailable
├── LogError                    1
│   ├── LogCorrupt                  the log's files cannot be read as a log
│   ├── LogFull                     no space left: nothing of the refused batch was written
│   ├── RecordTooLarge
│   └── ConcurrentAppend            another writer holds the run, or was faster
├── BadRecord                   1
│   ├── UnreadableRecord            the bytes are no record: dead letters
│   ├── UnknownEventType            old code reads a new log: stop and upgrade
│   ├── BrokenHistory               a gap, a fork or a wrong digest in a run's records
│   └── BrokenExport                an export that is not what was written
├── StoreError                  1
│   ├── StoreCorrupt
│   └── StoreQueryRefused           the engine refused the query
├── BlobLost                    1   the bytes of a file are not where they were put, or are not what they were
└── ToolError                       raised by a tool: its text is what the model is told
"""

from enum import StrEnum
from typing import Literal

from ledgent.schemas.frozen import Frozen


class LedgentError(Exception):
    """What went wrong, why, and what mends it: one line fit for a person."""

    exit_code = 1


class UsageError(LedgentError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class UnknownRun(UsageError):
    """The log holds no such run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id!r} in this log; `ledgent run list` shows the runs there are")


class UnknownAgent(UsageError):
    """No loaded agent has this name."""


class RequestRefused(UsageError):
    """The run cannot take this request."""


class SqlRefused(UsageError):
    """A person's SQL is not one SELECT over the allowed tables and functions."""


class FileRefused(UsageError):
    """A file cannot be taken."""


class Unreachable(LedgentError):
    """A component does not answer."""

    exit_code = 3


class LogUnavailable(Unreachable):
    """The log cannot be opened or does not answer."""


class StoreUnavailable(Unreachable):
    """The store cannot be opened or does not answer."""


class MemoryUnavailable(Unreachable):
    """What agents remember cannot be read or written."""


class BlobsUnavailable(Unreachable):
    """The blob store cannot be read or written."""


class LogError(LedgentError):
    """The log could not do what was asked; nothing of it was half done."""


class LogCorrupt(LogError):
    """The log's files cannot be read as a log."""


class LogFull(LogError):
    """No space is left: nothing of the refused batch was written."""


class RecordTooLarge(LogError):
    """An encoded record is over the size limit that both logs share."""


class ConcurrentAppend(LogError):
    """Another writer holds the run, or was faster: fold again, then retry or leave the run."""


class BadRecord(LedgentError):
    """A record is not what it should be."""


class UnreadableRecord(BadRecord):
    """The bytes are no record of any version."""


class UnknownEventType(BadRecord):
    """The log is newer than this code."""

    def __init__(self, type: str, version: int) -> None:
        super().__init__(
            f"event type {type!r} version {version} is unknown to this version of ledgent; "
            "the log was written by a newer one: upgrade with `pip install -U ledgent`"
        )


class BrokenHistory(BadRecord):
    """A run's records do not follow from each other."""

    def __init__(self, run_id: str, seq: int, reason: str) -> None:
        super().__init__(f"run {run_id}: record {seq}: {reason}")
        self.run_id = run_id
        self.seq = seq
        self.reason = reason


class BrokenExport(BadRecord):
    """An export is not what was written."""


class StoreError(LedgentError):
    """The store could not do what was asked."""


class StoreCorrupt(StoreError):
    """The engine cannot open the store's directory."""


class StoreQueryRefused(StoreError):
    """The engine refused the query."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class BlobLost(LedgentError):
    """The bytes of a file are not where they were put, or are not what they were."""


class ToolError(LedgentError):
    """Raised by a tool to answer the model with exactly this text."""


class ErrorCode(StrEnum):
    """Why a call or a run failed; decided once, in the adapter that knows."""

    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    CONTEXT_OVERFLOW = "context_overflow"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    AUTH = "auth"
    INVALID_REQUEST = "invalid_request"
    CONTENT_FILTERED = "content_filtered"
    MALFORMED_RESPONSE = "malformed_response"
    INVALID_OUTPUT = "invalid_output"
    """The model's answers were not of the type that was asked for."""
    TOOL_ERROR = "tool_error"
    UNKNOWN_AGENT = "unknown_agent"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The process that made the call went away before its outcome was recorded."""
    UNCERTAIN = "uncertain"
    """A tool call may or may not have taken effect, and its agent goes no further then."""
    TOO_LARGE = "too_large"
    CIRCUIT_OPEN = "circuit_open"
    """The call was not made: too many of its kind have failed lately."""
    MISSING_FILE = "missing_file"
    """The bytes of a file in the conversation could not be read from the blob store."""
    INTERNAL = "internal"
    """A defect in code that ledgent called, or in ledgent itself."""


DeadlineKind = Literal["connect", "first_token", "between_tokens", "call", "tool", "wait", "step", "run"]
"""`call`, `tool`: the whole attempt; `wait`: for what a tool call needs to begin; `step`, `run`: their limits."""


class ErrorInfo(Frozen):
    """A failure as events carry it."""

    code: ErrorCode
    message: str
    """For people; never holds a secret."""
    retryable: bool = False
    """Whether the same call may succeed later."""
    retry_after_s: float | None = None
    """The wait that the other side asked for, seconds."""
    status: int | None = None
    """The HTTP status, where there was one."""
    deadline: DeadlineKind | None = None
    """Which deadline passed, where it was one."""
