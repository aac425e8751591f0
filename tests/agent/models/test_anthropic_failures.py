"""Which code each failure of a messages server gets, and how long to wait."""

from typing import Any

import pytest

from ledgent.agent.models.anthropic import AnthropicModel
from ledgent.agent.models.port import ModelFailure
from ledgent.schemas.errors import ErrorCode
from tests.agent.models.anthropic_calls import KEY, Json, a_request, a_start, a_text, error_of, named_events, serving
from tests.agent.raw_server import RawServer, Step, events, streamed, whole

AUTH, QUOTA, RATE = ErrorCode.AUTH, ErrorCode.QUOTA_EXHAUSTED, ErrorCode.RATE_LIMITED
OVERFLOW, LARGE, REQUEST = ErrorCode.CONTEXT_OVERFLOW, ErrorCode.TOO_LARGE, ErrorCode.INVALID_REQUEST
SERVER, TIMEOUT, FILTERED = ErrorCode.SERVER_ERROR, ErrorCode.TIMEOUT, ErrorCode.CONTENT_FILTERED


def said(type: str, message: str = "No", **more: Any) -> Json:
    return {"type": "error", "error": {"type": type, "message": message, **more}, "request_id": "req_1"}


INVALID = "invalid_request_error"
TOO_LONG = "prompt is too long: 205616 tokens > 200000 maximum"
BOTH = (
    "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000, decrease input length or `max_tokens`"
)
CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
SPENT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
BLOCKED = "Output blocked by content filtering policy"


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, said(INVALID), REQUEST, False),
        (400, said(INVALID, TOO_LONG), OVERFLOW, False),
        (400, said(INVALID, BOTH), OVERFLOW, False),
        (400, said(INVALID, CREDIT), QUOTA, False),
        (400, said(INVALID, SPENT), QUOTA, False),
        (400, said(INVALID, SPENT.replace("API", "workspace API")), QUOTA, False),
        (400, said(INVALID, BLOCKED), FILTERED, False),
        (400, said(INVALID, "This organization has been disabled."), AUTH, False),
        (401, said("authentication_error", "invalid x-api-key"), AUTH, False),
        (402, said("billing_error"), QUOTA, False),
        (403, said("permission_error"), AUTH, False),
        (404, said("not_found_error", "model: claude-9"), REQUEST, False),
        (409, said("conflict_error"), SERVER, True),
        (413, said("request_too_large", "Request exceeds the maximum size"), LARGE, False),
        (413, b"<html><head><title>413 Request Entity Too Large</title></head></html>", LARGE, False),
        (429, said("rate_limit_error"), RATE, True),
        (429, said("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}), QUOTA, False),
        (500, said("api_error", "Internal server error"), SERVER, True),
        (504, said("timeout_error"), TIMEOUT, True),
        (529, said("overloaded_error", "Overloaded"), SERVER, True),
        (529, b"", SERVER, True),
        (200, said("overloaded_error", "Overloaded"), SERVER, True),
        (429, {"error": {"message": "Insufficient balance", "code": "1113"}}, QUOTA, False),
        (400, events(said(INVALID, TOO_LONG)), OVERFLOW, False),
        (400, {"error": {"message": "No", "code": "context_length_exceeded"}}, OVERFLOW, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_answer_that_is_an_error_has_its_code(
    status: int, body: object, code: ErrorCode, retryable: bool, stream: bool
) -> None:
    error = await error_of(whole(body, status), stream=stream)
    assert (error.code, error.retryable, error.status) == (code, retryable, status)


@pytest.mark.parametrize("type", ["overloaded_error", "api_error", "rate_limit_error", "timeout_error"])
async def test_an_error_inside_a_stream_is_a_failure_with_its_own_code(type: str) -> None:
    alone = await error_of(whole(said(type, "Busy")))
    begun = named_events(a_start(), *a_text("Hel"))
    for end in (named_events(said(type, "Busy")), events(said(type, "Busy"))):
        error = await error_of(streamed(begun + end), stream=True)
        assert (error.code, error.retryable) == (alone.code, True)
        assert "Busy" in error.message


async def test_an_event_named_error_is_one_whatever_it_holds() -> None:
    body = named_events(a_start()) + b'event: error\ndata: {"reason": "Busy", "code": 529}\n\n'
    error = await error_of(streamed(body), stream=True)
    assert (error.code, error.retryable) == (SERVER, True)
    assert "Busy" in error.message


@pytest.mark.parametrize(
    ("headers", "retryable", "wait"),
    [
        ("retry-after: 34\r\n", True, 34.0),
        ("retry-after: 34\r\nx-should-retry: true\r\n", True, 34.0),
        ("retry-after: 34\r\nx-should-retry: false\r\n", False, None),
        ("", True, None),
    ],
)
async def test_the_servers_word_on_when_to_try_again_is_taken(
    headers: str, retryable: bool, wait: float | None
) -> None:
    error = await error_of(whole(said("rate_limit_error"), 429, headers))
    assert (error.retryable, error.retry_after_s) == (retryable, wait)


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_an_attempt_asks_once_whatever_the_answer(status: int) -> None:
    async with serving(whole(said("overloaded_error"), status)) as (server, model):
        with pytest.raises(ModelFailure):
            await model.complete(a_request())
    assert len(server.seen) == 1


async def test_a_refused_connection_says_where_and_what_to_check() -> None:
    async with RawServer() as server:
        url = server.url
    model = AnthropicModel("claude-sonnet-4-5", base_url=url, api_key=KEY)
    with pytest.raises(ModelFailure, match="ANTHROPIC_BASE_URL") as raised:
        await model.complete(a_request())
    await model.aclose()
    assert (raised.value.error.code, raised.value.error.retryable) == (ErrorCode.CONNECTION, True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([], ErrorCode.CONNECTION),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\n{"], ErrorCode.CONNECTION),
        ([b"SSH-2.0-OpenSSH_9.6 connection: close\r\n"], ErrorCode.MALFORMED_RESPONSE),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_http_or_ends_early_may_succeed_later(
    answer: list[Step], code: ErrorCode, stream: bool
) -> None:
    error = await error_of(answer, stream=stream)
    assert (error.code, error.retryable) == (code, True)
