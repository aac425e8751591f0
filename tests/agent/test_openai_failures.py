from typing import Any

import pytest

from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import ModelFailure
from ledgent.schemas.errors import ErrorCode
from tests.agent.openai_calls import KEY, a_request, an_answer, error_of, serving
from tests.agent.raw_server import RawServer, Step, whole


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_connection_says_where_and_what_to_check(stream: bool) -> None:
    async with RawServer() as server:
        url = server.url
    model = OpenAIModel("gpt-4o", base_url=url, api_key=KEY, stream=stream)
    with pytest.raises(ModelFailure, match="OPENAI_BASE_URL") as raised:
        await model.complete(a_request())
    await model.aclose()
    assert (raised.value.error.code, raised.value.error.retryable) == (ErrorCode.CONNECTION, True)
    assert url.removeprefix("http://").removesuffix("/v1") in raised.value.error.message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([], ErrorCode.CONNECTION),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\n{"], ErrorCode.CONNECTION),
        ([b"SSH-2.0-OpenSSH_9.6 connection: close\r\n"], ErrorCode.MALFORMED_RESPONSE),
        ([b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], None),
    ],
)
async def test_what_is_no_http_or_ends_early_may_succeed_later(answer: list[Step], code: ErrorCode | None) -> None:
    error = await error_of(answer)
    assert error.code is code or (code is None and error.code in (ErrorCode.CONNECTION, ErrorCode.MALFORMED_RESPONSE))
    assert error.retryable


AUTH, QUOTA, RATE = ErrorCode.AUTH, ErrorCode.QUOTA_EXHAUSTED, ErrorCode.RATE_LIMITED
OVERFLOW, LARGE, REQUEST = ErrorCode.CONTEXT_OVERFLOW, ErrorCode.TOO_LARGE, ErrorCode.INVALID_REQUEST
SERVER, TIMEOUT = ErrorCode.SERVER_ERROR, ErrorCode.TIMEOUT
FILTERED, MALFORMED = ErrorCode.CONTENT_FILTERED, ErrorCode.MALFORMED_RESPONSE


def said(message: str = "No", code: object = None, type: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, said(), REQUEST, False),
        (400, said(code="context_length_exceeded"), OVERFLOW, False),
        (400, said("This model's maximum context length is 8 tokens.", 400), OVERFLOW, False),
        (400, said("prompt is too long: 9 tokens > 8 maximum"), OVERFLOW, False),
        (
            400,
            said(code="model_max_prompt_tokens_exceeded"),
            OVERFLOW,
            False,
        ),
        (400, said("prompt token count of 9 exceeds the limit of 8"), OVERFLOW, False),
        (400, said("Invalid request: Your request exceeded model token limit: 8 (requested: 9)"), OVERFLOW, False),
        (400, said("Prompt contains 9 tokens, too large for model with 8 maximum context length"), OVERFLOW, False),
        (400, said("The input (9 tokens) is longer than the model's context length (8 tokens)."), OVERFLOW, False),
        (400, said("The decoder prompt (length 9) is longer than the maximum model length of 8."), OVERFLOW, False),
        (400, said("prompt too long; exceeded max context length by 1 tokens"), OVERFLOW, False),
        (400, said("Input validation error: `inputs` must have less than 8 tokens. Given: 9"), OVERFLOW, False),
        (400, said("too many tokens: the number of tokens in the prompt cannot exceed 8"), OVERFLOW, False),
        (400, said("Prompt exceeds max length", "1261"), OVERFLOW, False),
        (400, said("max_tokens must be at least 1, got -1.", 400), OVERFLOW, False),
        (400, said("max_tokens must be at least 1, got 0.", 400), REQUEST, False),
        (429, said("Too many tokens, please wait before trying again.", "ThrottlingException"), RATE, True),
        (500, said("the request exceeds the available context size"), OVERFLOW, False),
        (400, said(code="content_filter"), FILTERED, False),
        (400, {"error": {"message": "No", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, FILTERED, False),
        (400, said("API key not valid. Please pass a valid API key.", 400), AUTH, False),
        (400, said("Your credit balance is too low"), QUOTA, False),
        (400, said(code="tool_use_failed"), MALFORMED, True),
        (401, said(), AUTH, False),
        (401, b"", AUTH, False),
        (402, said(code=402), QUOTA, False),
        (403, b"<html><title>Blocked</title></html>", AUTH, False),
        (404, said(code="model_not_found"), REQUEST, False),
        (404, b"<html>", REQUEST, False),
        (408, said(), TIMEOUT, True),
        (409, said(), SERVER, True),
        (413, b"Request Entity Too Large", LARGE, False),
        (413, said("Limit 6000, Requested 10338, please reduce", "rate_limit_exceeded", "tokens"), RATE, False),
        (413, said("Limit 6000, Used 5000, Requested 2000", "rate_limit_exceeded"), RATE, True),
        (422, {"detail": [{"msg": "extra"}]}, REQUEST, False),
        (429, said(code="rate_limit_exceeded"), RATE, True),
        (429, {"message": "Requests rate limit exceeded"}, RATE, True),
        (429, "slow down", RATE, True),
        (429, b'{"error": {"message": "No", "type": "insufficient_quota", "par', QUOTA, False),
        (400, {"error": 'upstream said {"code": "context_length_exceeded"}'}, OVERFLOW, False),
        (429, said(code="insufficient_quota"), QUOTA, False),
        (429, said(code="project_spend_limit_exceeded"), QUOTA, False),
        (400, {"code": "Arrearage", "message": "Access denied"}, QUOTA, False),
        (429, {"message": "Busy", "type": "too_many_requests_error", "code": "queue_exceeded"}, RATE, True),
        (400, said(code="json_validate_failed"), MALFORMED, True),
        (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota"}}], RATE, True),
        (429, said(type="engine_overloaded_error"), SERVER, True),
        (500, said(), SERVER, True),
        (501, said(), REQUEST, False),
        (502, b"<html><title>502: Bad gateway</title></html>", SERVER, True),
        (503, said(code="server_is_overloaded"), SERVER, True),
        (524, said(code=524), SERVER, True),
        (529, said(type="overloaded_error"), SERVER, True),
        (200, said("Bad gateway", 502), SERVER, True),
        (200, said("Slow down", 429), RATE, True),
        (200, {"error": "out of memory"}, SERVER, True),
        (400, {"error": {"error": {"message": "twice"}, "code": 402}}, REQUEST, False),
        (400, {"error": {"message": {"detail": ["odd"]}}}, REQUEST, False),
        (302, b"", REQUEST, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_answer_that_is_an_error_has_its_code(
    status: int, body: object, code: ErrorCode, retryable: bool, stream: bool
) -> None:
    error = await error_of(whole(body, status), stream=stream)
    assert (error.code, error.retryable, error.status) == (code, retryable, status)


@pytest.mark.parametrize(
    ("headers", "message", "wait"),
    [
        ("retry-after: 7\r\n", "No", 7.0),
        ("retry-after: 1.5\r\n", "No", 1.5),
        ("retry-after-ms: 250\r\nretry-after: 7\r\n", "No", 0.25),
        ("date: Fri, 20 Nov 2026 10:00:00 GMT\r\nretry-after: Fri, 20 Nov 2026 10:00:30 GMT\r\n", "No", 30.0),
        ("retry-after: Fri, 20 Nov 1998 10:00:30 GMT\r\n", "No", 0.0),
        ("retry-after: soon\r\n", "No", None),
        ("retry-after: inf\r\n", "No", None),
        ("retry-after: -3\r\n", "No", 0.0),
        ("", "Please try again in 20ms. Visit", 0.02),
        ("", "Please try again in 1m2.5s.", 62.5),
        ("", "Please retry in 34.07s.", 34.07),
        ("", "Please try again in 6m0s.", 360.0),
        ("", "Please try again later.", None),
    ],
)
async def test_the_wait_that_the_server_asks_for_is_read(headers: str, message: str, wait: float | None) -> None:
    error = await error_of(whole(said(message), 429, headers))
    assert error.retry_after_s == wait


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_an_attempt_asks_once_whatever_the_answer(status: int) -> None:
    async with serving(whole(said(), status), whole(an_answer())) as (server, model):
        with pytest.raises(ModelFailure):
            await model.complete(a_request())
    assert len(server.seen) == 1


async def test_a_wait_is_not_passed_on_where_none_helps() -> None:
    error = await error_of(whole(said(code="insufficient_quota"), 429, "retry-after: 7\r\n"))
    assert (error.retryable, error.retry_after_s) == (False, None)


async def test_a_page_of_html_is_told_by_its_title_and_long_texts_are_cut() -> None:
    page = b"<!DOCTYPE html><html><head><title>502:\n Bad gateway</title>" + b"<p>x</p>" * 10_000
    assert "a page of HTML (502: Bad gateway)" in (await error_of(whole(page, 502))).message
    assert len((await error_of(whole(said("x" * 100_000), 500))).message) < 1_200
