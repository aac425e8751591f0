"""Which code a failed call to a server of the Anthropic messages format gets: the tables only."""

from ledgent.agent.models import openai_errors
from ledgent.agent.models.failures import ErrorTable
from ledgent.schemas.errors import ErrorCode

# Many servers speak both formats, and write the same of a failure in both: their words follow Anthropic's own.
WORDS: dict[str, ErrorCode] = {
    **openai_errors.WORDS,
    # https://platform.claude.com/docs/en/api/errors; an invalid_request_error is told by its message.
    "authentication_error": ErrorCode.AUTH,
    "permission_error": ErrorCode.AUTH,
    "billing_error": ErrorCode.QUOTA_EXHAUSTED,
    "enforced_spend_limit_reached": ErrorCode.QUOTA_EXHAUSTED,
    "not_found_error": ErrorCode.INVALID_REQUEST,
    "request_too_large": ErrorCode.TOO_LARGE,
    "rate_limit_error": ErrorCode.RATE_LIMITED,
    "api_error": ErrorCode.SERVER_ERROR,
    "conflict_error": ErrorCode.SERVER_ERROR,
    "timeout_error": ErrorCode.TIMEOUT,
    "overloaded_error": ErrorCode.SERVER_ERROR,
}

TEXTS: tuple[tuple[ErrorCode, tuple[str, ...]], ...] = (
    (ErrorCode.QUOTA_EXHAUSTED, ("specified api usage limits", "specified workspace api usage limits")),
    (ErrorCode.CONTENT_FILTERED, ("blocked by content filtering policy",)),
    (ErrorCode.AUTH, ("invalid x-api-key", "organization has been disabled")),
    *openai_errors.TEXTS,  # Anthropic's prompts that are too long, and credit balances that are too low, are there
)

ERRORS = ErrorTable(WORDS, TEXTS, key_variable="ANTHROPIC_API_KEY", address_variable="ANTHROPIC_BASE_URL")
