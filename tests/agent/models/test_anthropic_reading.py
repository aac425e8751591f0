"""Whatever a messages server sends, reading it gives a reply or a ModelFailure."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.agent.models.anthropic_errors import ERRORS
from ledgent.agent.models.anthropic_reply import read_message
from ledgent.agent.models.anthropic_stream import StreamedMessage
from ledgent.agent.models.port import ModelFailure

NAMES = [
    *("type", "content", "text", "thinking", "id", "name", "input", "usage", "model", "stop_reason", "stop_details"),
    *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
    *("output_tokens_details", "thinking_tokens", "ephemeral_1h_input_tokens", "error", "message", "details"),
    *("index", "delta", "content_block", "partial_json", "explanation", "error_code", "cost"),
]
TYPES = [
    *("text", "thinking", "tool_use", "server_tool_use", "error", "ping", "message_start", "message_delta", "refusal"),
    *("message_stop", "content_block_start", "content_block_delta", "content_block_stop", "text_delta", "end_turn"),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TYPES)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
kinds = st.sampled_from(TYPES)
typed = st.builds(lambda kind, rest: {**rest, "type": kind}, kinds, objects)
events = st.builds(
    lambda kind, rest, block, delta: {**rest, "type": kind, "content_block": block, "delta": delta},
    kinds,
    objects,
    typed,
    typed | objects,
)


@settings(max_examples=100, deadline=None)
@given(values | st.builds(lambda rest, content: {**rest, "content": content}, objects, st.lists(typed, max_size=3)))
def test_any_json_is_a_reply_or_a_failure(body: object) -> None:
    try:
        reply = read_message(body)
    except ModelFailure:
        return
    assert all(isinstance(call.arguments, str) and call.name for call in reply.tool_calls)
    assert reply.usage.cached_tokens <= reply.usage.input_tokens
    assert reply.usage.reasoning_tokens <= reply.usage.output_tokens


@settings(max_examples=200, deadline=None)
@given(st.lists(values | events, max_size=5), st.booleans())
@pytest.mark.slow
def test_any_stream_is_a_reply_or_a_failure(stream: list[object], stopped: bool) -> None:
    reading = StreamedMessage("m1", lambda delta: None, lambda: 0.0)
    try:
        for event in [*stream, *([{"type": "message_stop"}] if stopped else [])]:
            reading.add(orjson.dumps(event))
        reading.reply()
    except ModelFailure:
        pass
    assert reading.bill.usage.cached_tokens <= reading.bill.usage.input_tokens


@settings(max_examples=60, deadline=None)
@given(st.integers(300, 599) | st.just(200), values | st.builds(lambda error: {"error": error}, values))
def test_any_error_has_a_code(status: int, body: object) -> None:
    assert ERRORS.of_answer(status, body, {}, "host").message


def test_json_nested_too_deep_to_be_shown_is_a_failure_still() -> None:
    deep = b"[" * 900 + b"]" * 900
    for body in (deep, b'{"content":[' + deep + b"]}", b'{"content":' + deep + b"}"):
        read = StreamedMessage("m1", None, lambda: 0.0)
        try:
            read.whole(orjson.loads(body))
        except ModelFailure:
            pass
    call = orjson.loads(b'{"content":[{"type":"tool_use","name":["f",' + deep + b"]}]}")
    with pytest.raises(ModelFailure):
        read_message(call)
