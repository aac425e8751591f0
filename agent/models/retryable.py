"""Which failures of a model call may pass by themselves. The set only; when to try again is the run's policy."""

from ledgent.schemas.errors import ErrorCode

RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION,
        ErrorCode.SERVER_ERROR,
        ErrorCode.MALFORMED_RESPONSE,
    }
)
