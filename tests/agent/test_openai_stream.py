from collections.abc import Callable
from typing import Any

import pytest

from ledgent.agent.models.openai_stream import EventData
from ledgent.agent.models.port import AskedTool, Delta
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import Usage
from tests.agent.openai_calls import (
    a_call,
    a_chunk,
    a_request,
    an_answer,
    error_of,
    failure_of,
    reply_to,
    serving,
    streamed_reply,
)
from tests.agent.raw_server import Step, events, streamed, torn, unframed, whole


async def test_a_stream_is_told_piece_by_piece_and_put_together() -> None:
    chunks = [
        a_chunk({"role": "assistant", "content": ""}),
        a_chunk({"reasoning_content": "Hm"}),
        a_chunk({"content": "Hel"}),
        a_chunk({"content": "lo"}),
        a_call(index=0, id="c1", name="add", arguments=""),
        a_call(index=0, arguments='{"a"'),
        a_call(index=0, arguments=":1}"),
        a_chunk(finish="tool_calls"),
        {"id": "r1", "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}},
    ]
    told: list[Delta] = []
    answer = streamed(0.05, events(*chunks, "[DONE]"))
    async with serving(answer, stream=True) as (_, model):
        reply = await model.complete(a_request(), told.append)
    assert [(delta.kind, delta.text) for delta in told] == [
        ("reasoning", "Hm"),
        ("text", "Hel"),
        ("text", "lo"),
        ("tool_arguments", '{"a"'),
        ("tool_arguments", ":1}"),
    ]
    assert {delta.call_id for delta in told} == {"m1"}
    assert (reply.text, reply.reasoning) == ("Hello", "Hm")
    assert reply.tool_calls == (AskedTool("c1", "add", '{"a":1}'),)
    assert reply.usage == Usage(input_tokens=100, output_tokens=20)
    assert reply.cost_usd == 0.00045
    assert reply.finish_reason == "tool_calls"
    assert reply.first_token_ms is not None
    assert reply.first_token_ms >= 50


def test_a_body_cut_between_any_two_bytes_reads_the_same() -> None:
    body = ": ping\r\ndata: h\u00e9\r\ndata: \u2603\r\n\r\ndata: \U0001f600\n\ndata: 1\r\rdata: 2".encode()
    for at in range(len(body)):
        reading = EventData()
        read = [*reading.feed(body[:at]), *reading.feed(body[at:]), *reading.end()]
        assert [data.decode() for data in read] == ["h\u00e9\n\u2603", "\U0001f600", "1", "2"]


async def test_comments_other_fields_empty_events_and_split_data_are_read() -> None:
    text = (
        '\ufeffdata: {"choices": [{"delta": {"content": "Oh. "}}]}\n\n'
        ": ping\n\n\n\nevent: message\nid: 7\nretry: 10\n"
        'data: {"choices": [{"delta":\ndata: {"content": "Hi"}}]}\n\n'
        ":\n\ndata\n\n"
        'data:{"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
        "data: [DONE]\n\n"
    )
    assert (await reply_to(streamed(text.encode()), stream=True)).text == "Oh. Hi"


@pytest.mark.parametrize("end", ["\n\n", "\n", ""])
async def test_a_stream_without_done_is_whole_once_it_gave_a_finish_reason(end: str) -> None:
    data = events(a_chunk({"content": "Hi"})) + events(a_chunk(finish="stop"), end=end)
    assert (await reply_to(streamed(data), stream=True)).text == "Hi"


async def test_done_without_a_finish_reason_is_an_end_too() -> None:
    reply = await streamed_reply(a_chunk({"content": "Hi"}))
    assert (reply.text, reply.finish_reason) == ("Hi", None)


@pytest.mark.parametrize("cut", [unframed, torn, streamed])
@pytest.mark.parametrize("half", [b"", b'data: {"choices": [{"del', b"data: [DO"])
async def test_a_stream_that_ends_too_early_was_cut(cut: Callable[..., list[Step]], half: bytes) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    failure = await failure_of(cut(events(a_chunk({"content": "Hel"}, usage=usage)) + half), stream=True)
    assert (failure.error.code, failure.error.retryable) == (ErrorCode.CONNECTION, True)
    assert "cut" in failure.error.message
    assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 2.5)


async def test_a_connection_that_breaks_after_the_finish_reason_does_no_harm() -> None:
    assert (await reply_to(torn(events(a_chunk({"content": "Hi"}, "stop"))), stream=True)).text == "Hi"


async def test_an_error_inside_a_stream_is_a_failure_with_its_own_code() -> None:
    said = {"error": {"message": "Overloaded", "code": "server_is_overloaded"}}
    for chunk in (said, {"object": "error", "message": "Overloaded", "code": 503}, {"type": "error", **said}):
        error = await error_of(streamed(events(a_chunk({"content": "Hel"}), chunk, "[DONE]")), stream=True)
        assert (error.code, error.retryable) == (ErrorCode.SERVER_ERROR, True)
        assert "Overloaded" in error.message


@pytest.mark.parametrize(
    "chunk",
    [
        "{bad",
        "7",
        '{"choices":[7]}',
        '{"choices":[{"delta":7}]}',
        '{"choices":[{"delta":{"content":7}}]}',
        '{"choices":[{"delta":{"tool_calls":[7]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"id":"c"}]}}]}',
    ],
)
async def test_a_chunk_that_is_none_is_a_malformed_response(chunk: str) -> None:
    error = await error_of(streamed(events(chunk, a_chunk(finish="stop"), "[DONE]")), stream=True)
    assert error.code is ErrorCode.MALFORMED_RESPONSE
    assert error.retryable


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        (
            [{"index": 0, "id": "a", "name": "f", "arguments": "{}"}, {"index": 0, "id": "b", "name": "g"}],
            [("a", "f", "{}"), ("b", "g", "")],
        ),
        (
            [
                {"index": 0, "id": "a", "name": "f", "arguments": "1"},
                {"index": 0, "id": "a", "name": "f"},
                {"index": 0, "id": "", "arguments": "2"},
            ],
            [("a", "f", "12")],
        ),
        (
            [
                {"index": 0, "id": "a", "name": "f", "arguments": "1"},
                {"index": 1, "id": "b", "name": "g"},
                {"index": 0, "arguments": "2"},
                {"index": 1, "arguments": "3"},
            ],
            [("a", "f", "12"), ("b", "g", "3")],
        ),
        (
            [
                {"id": "a", "name": "f", "arguments": "1"},
                {"arguments": "2"},
                {"id": "b", "name": "g"},
                {"arguments": "3"},
                {"id": "a", "arguments": "4"},
            ],
            [("a", "f", "124"), ("b", "g", "3")],
        ),
        (
            [{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": "{}"}],
            [("call_0", "f", "{}"), ("call_1", "g", "{}")],
        ),
        ([{"index": 0, "id": "a", "name": "get_"}, {"index": 0, "name": "weather"}], [("a", "get_weather", "")]),
        ([{"index": 0, "id": "a", "name": "get"}, {"index": 0, "name": "get"}], [("a", "get", "")]),
        ([{"index": 0, "id": "a", "name": "f", "arguments": {"x": 1}}], [("a", "f", '{"x":1}')]),
    ],
)
async def test_pieces_of_tool_calls_find_their_call(pieces: list[dict[str, Any]], calls: list[tuple[str, ...]]) -> None:
    reply = await streamed_reply(*(a_call(**piece) for piece in pieces), a_chunk(finish="tool_calls"))
    assert reply.tool_calls == tuple(AskedTool(*call) for call in calls)


async def test_only_the_first_of_several_answers_is_read() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "Other"}, "finish_reason": "stop"}]}
    reply = await streamed_reply(other, a_chunk({"content": "Hi"}), a_chunk(finish="stop"))
    assert reply.text == "Hi"


async def test_parts_refusals_and_withheld_answers_are_streamed_too() -> None:
    parts = [{"type": "thinking", "thinking": [{"text": "Hm"}]}, {"type": "text", "text": "Hi"}]
    reply = await streamed_reply(a_chunk({"content": parts}), a_chunk(finish="stop"))
    assert (reply.text, reply.reasoning) == ("Hi", "Hm")
    refused = await streamed_reply(a_chunk({"content": None, "refusal": "I can"}), a_chunk({"refusal": "not"}, "stop"))
    assert refused.text == "I cannot"
    withheld = streamed(events(a_chunk(finish="content_filter"), "[DONE]"))
    assert (await error_of(withheld, stream=True)).code is ErrorCode.CONTENT_FILTERED


async def test_a_server_that_streams_unasked_or_not_when_asked_is_understood() -> None:
    body = events(a_chunk({"content": "Hi"}, "stop"), "[DONE]")
    assert (await reply_to(whole(body, kind="text/event-stream"))).text == "Hi"
    assert (await reply_to(whole(an_answer()), stream=True)).text == "Hello"
