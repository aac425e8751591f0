"""Whatever a server sends, reading it gives a reply or a ModelFailure."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.agent.models.openai_errors import ERRORS
from ledgent.agent.models.openai_reply import read_reply
from ledgent.agent.models.openai_stream import StreamedReply
from ledgent.agent.models.port import ModelFailure
from ledgent.agent.models.reading import parse
from ledgent.agent.models.streaming import EventData
from ledgent.schemas.errors import ErrorCode

# fmt: off
NAMES = [
    "choices", "message", "delta", "content", "tool_calls", "function", "function_call", "name", "arguments", "id",
    "index", "finish_reason", "usage", "model", "error", "code", "type", "status", "detail",
    "innererror", "prompt_tokens", "completion_tokens", "total_tokens", "cost", "refusal", "audio",
    "prompt_tokens_details", "completion_tokens_details", "cached_tokens", "reasoning_tokens", "reasoning",
    "reasoning_details", "text",
]
# fmt: on

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
answers = st.builds(lambda choice, rest: {**rest, "choices": [choice]}, objects, objects)
chunks = st.builds(lambda delta, rest: {**rest, "choices": [{"delta": delta}]}, objects, objects)


def a_stream() -> StreamedReply:
    return StreamedReply("m1", lambda delta: None, lambda: 0.0)


@settings(max_examples=60, deadline=None)
@given(values | answers | st.builds(lambda m, rest: {**rest, "choices": [{"message": m}]}, objects, objects))
def test_any_json_is_a_reply_or_a_failure(body: object) -> None:
    try:
        reply = read_reply(body)
    except ModelFailure:
        return
    assert all(isinstance(call.arguments, str) and call.name for call in reply.tool_calls)
    assert reply.usage.cached_tokens <= reply.usage.input_tokens


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(values | answers | chunks, max_size=4))
def test_any_stream_is_a_reply_or_a_failure(stream: list[object]) -> None:
    reading = a_stream()
    try:
        for chunk in stream:
            reading.add(orjson.dumps(chunk))
        reading.reply()
    except ModelFailure:
        pass


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_malformed_response(data: bytes) -> None:
    try:
        parse(data)
    except ModelFailure as raised:
        failure = raised
    else:
        return
    assert failure.error.code is ErrorCode.MALFORMED_RESPONSE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b": "]), max_size=12))
def test_events_are_the_same_however_the_body_is_cut(pieces: list[bytes]) -> None:
    at_once, piecewise = EventData(), EventData()
    whole = b"".join(pieces)
    expected = [*at_once.feed(whole), *at_once.end()]
    assert [event for piece in pieces for event in piecewise.feed(piece)] + piecewise.end() == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(300, 599) | st.just(200),
    values | st.builds(lambda error: {"error": error}, values),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=30)),
)
def test_any_error_has_a_code_and_a_sensible_wait(status: int, body: object, headers: dict[str, str]) -> None:
    error = ERRORS.of_answer(status, body, headers, "host")
    assert error.message
    assert error.retry_after_s is None or 0 <= error.retry_after_s < float("inf")


@pytest.mark.parametrize("text", ["try again in 1.2.3s", "try again in " + "9" * 999 + "m", "retry in .s"])
def test_a_wait_that_is_no_time_is_no_wait_but_never_a_crash(text: str) -> None:
    wait = ERRORS.of_answer(429, {"message": text}, {}, "host").retry_after_s
    assert wait is None or wait < 10


def test_json_nested_too_deep_to_be_shown_is_a_failure_still() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    for body in (deep, b'{"choices":[' + deep + b"]}", b'{"error":' + deep + b"}"):
        with pytest.raises(ModelFailure):
            read_reply(parse(body))
        ERRORS.of_answer(500, parse(body), {}, "host")
    call = b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + deep + b"}}]}}]}"
    with pytest.raises(ModelFailure):
        read_reply(parse(call))
