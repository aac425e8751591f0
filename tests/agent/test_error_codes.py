"""Every error that real servers have answered with, code by code: what it is, judged by its status and its words alone.

The judgement here is a second, plainer one: it knows neither the adapters' tables nor which provider answered.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ledgent.agent.models.anthropic import AnthropicModel
from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import ModelFailure, ModelRequest
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.recovery import RETRYABLE
from tests.agent.models import anthropic_calls
from tests.agent.openai_calls import KEY, a_request
from tests.agent.raw_server import RawServer, Step, events, streamed, torn, unframed, whole

EXPECTED = {
    "auth": 8,
    "invalid_request": 43,
    "malformed_response": 2,
    "rate_limited": 5,
    "quota_exhausted": 3,
    "context_overflow": 3,
    "content_filtered": 2,
    "server_error": 5,
}
"""How many of the recorded and quoted errors have each code."""


class Answer(NamedTuple):
    """An error as a server gave it."""

    name: str
    anthropic: bool
    """Whose format it is in, and so which adapter reads it."""
    status: int
    text: str
    in_stream: bool


def recorded_errors(data: Path) -> Iterator[Answer]:
    """Of all APIs: a compatible server may answer with the body of any of them."""
    for line in (data / "http" / "dev" / "recordings.jsonl").read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        response, tags = exchange["response"], exchange["tags"]
        if (response["status"] or 400) >= 400 or any(tag.startswith("error:") for tag in tags):
            in_stream = response["body"]["kind"] == "sse"
            anthropic = exchange["api"].startswith("anthropic")
            yield Answer(exchange["id"], anthropic, response["status"] or 400, response["body"]["text"], in_stream)
    for line in (data / "http" / "dev" / "quoted_errors.jsonl").read_text(encoding="utf-8").splitlines():
        quote = json.loads(line)
        anthropic = quote["provider"].startswith("anthropic")
        yield Answer(quote["id"], anthropic, quote["status"], quote["body_text"], quote["status"] == 200)


def judged(status: int, text: str) -> ErrorCode:
    """As somebody would who reads the answer for the first time."""
    said = text.lower()
    if "maximum context length" in said or "max_tokens must be at least 1, got -" in said:
        # The second is what some servers make of a prompt that leaves less than nothing for the answer.
        return ErrorCode.CONTEXT_OVERFLOW
    if "filtered" in said and "content" in said:
        return ErrorCode.CONTENT_FILTERED
    if status == 402 or ("current quota, please check your plan" in said and "insufficient_quota" in said):
        return ErrorCode.QUOTA_EXHAUSTED
    if "tool call validation failed" in said or "failed_generation" in said:
        return ErrorCode.MALFORMED_RESPONSE
    if status == 429 or "rate_limit" in said:
        return ErrorCode.RATE_LIMITED
    if status >= 500 or "overloaded" in said:
        return ErrorCode.SERVER_ERROR
    return ErrorCode.AUTH if status in (401, 403) else ErrorCode.INVALID_REQUEST


async def failure_of(
    answer: list[Step], *, anthropic: bool = False, stream: bool = False, timeout_s: float = 5.0
) -> ErrorInfo:
    """What the adapter makes of it."""
    async with RawServer(answer) as server:
        model: AnthropicModel | OpenAIModel
        if anthropic:
            address = server.url.removesuffix("/v1")
            model = AnthropicModel("claude-sonnet-4-5", base_url=address, api_key=KEY, stream=stream)
            request: ModelRequest = anthropic_calls.a_request(timeout_s=timeout_s)
        else:
            model = OpenAIModel("gpt-4o", base_url=server.url, api_key=KEY, stream=stream)
            request = a_request()._replace(timeout_s=timeout_s)
        try:
            await model.complete(request)
        except ModelFailure as failure:
            return failure.error
        finally:
            await model.aclose()
    raise AssertionError("it was no failure")


def served(answer: Answer) -> list[Step]:
    if not answer.in_stream:
        return whole(answer.text.encode(), answer.status, kind="text/plain")
    return streamed(answer.text.encode() if "data:" in answer.text else events(answer.text))


@pytest.mark.slow
async def test_every_real_error_has_the_code_that_a_reader_would_give_it(recorded_data: Path) -> None:
    answers = list(recorded_errors(recorded_data))
    counted = Counter[str]()
    wrong = []
    for answer in answers:
        error = await failure_of(served(answer), anthropic=answer.anthropic, stream=answer.in_stream)
        counted[error.code] += 1
        if error.code is not judged(answer.status, answer.text):
            wrong.append(f"{answer.name}: {answer.status} is {error.code}, not {judged(answer.status, answer.text)}")
        assert error.code in RETRYABLE or not error.retryable, answer.name
    assert not wrong, "\n".join(wrong)
    assert dict(counted) == EXPECTED


ERROR = '{"error": {"message": "no", "type": null, "code": null}}'
PAGE = "<html><head><title>no</title></head><body>no</body></html>"
BODIES = {"JSON": ERROR, "HTML": PAGE, "nothing": "", "text": "no", "cut": ERROR[:14]}
STATUSES = {
    400: ErrorCode.INVALID_REQUEST,
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.AUTH,
    404: ErrorCode.INVALID_REQUEST,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.SERVER_ERROR,
    413: ErrorCode.TOO_LARGE,
    422: ErrorCode.INVALID_REQUEST,
    429: ErrorCode.RATE_LIMITED,
    500: ErrorCode.SERVER_ERROR,
    502: ErrorCode.SERVER_ERROR,
    503: ErrorCode.SERVER_ERROR,
    504: ErrorCode.SERVER_ERROR,
    529: ErrorCode.SERVER_ERROR,
}


@pytest.mark.parametrize("anthropic", [False, True], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    "body", [ERROR, PAGE, "", "no", '{"error": {"mess'], ids=["JSON", "HTML", "nothing", "text", "cut"]
)
async def test_where_the_words_say_nothing_the_status_decides(body: str, anthropic: bool) -> None:
    found = {status: await failure_of(whole(body.encode(), status), anthropic=anthropic) for status in STATUSES}
    assert {status: error.code for status, error in found.items()} == STATUSES
    assert {error.status for error in found.values()} == set(STATUSES)


CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]}
BROKEN: dict[str, tuple[list[Step], ErrorCode]] = {
    "no answer at all": ([], ErrorCode.CONNECTION),
    "half a head": ([b"HTTP/1.1 200 OK\r\nconnection: close\r\nconten"], ErrorCode.CONNECTION),
    "a stream that is cut": (torn(events(CHUNK)), ErrorCode.CONNECTION),
    "a stream without an end": (unframed(events(CHUNK)), ErrorCode.CONNECTION),
    "a stream of nothing": (streamed(), ErrorCode.CONNECTION),
    "an error in the stream": (
        streamed(events(CHUNK, {"error": {"message": "no", "code": 503}})),
        ErrorCode.SERVER_ERROR,
    ),
    "text where JSON belongs": (whole(b"hello"), ErrorCode.MALFORMED_RESPONSE),
    "JSON that is cut": (whole(b'{"choices": [{"mess'), ErrorCode.MALFORMED_RESPONSE),
    "a page with status 200": (whole(PAGE.encode(), kind="text/html"), ErrorCode.MALFORMED_RESPONSE),
    "a server that hangs": ([30.0], ErrorCode.TIMEOUT),
    "a stream that hangs": (streamed(events(CHUNK), 30.0), ErrorCode.TIMEOUT),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer_has_a_code_that_lets_it_be_tried_again(name: str) -> None:
    answer, code = BROKEN[name]
    error = await failure_of(answer, stream="stream" in name, timeout_s=0.5)
    assert error.code is code, error
    assert error.retryable
