from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ledgent.agent.models.openai_stream import StreamedReply
from ledgent.agent.models.port import AskedTool, Delta, ModelFailure
from ledgent.agent.models.streaming import EventData
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.values import Usage
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
        assert [event.data.decode() for event in read] == ["h\u00e9\n\u2603", "\U0001f600", "1", "2"]


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
        (
            [
                {"index": 0, "id": "", "name": "f", "arguments": '{"x":1}'},
                {"index": 0, "id": "", "name": "f", "arguments": '{"x":2}'},
                {"index": 0, "id": "", "name": "g", "arguments": "{}"},
            ],
            [("call_0", "f", '{"x":1}'), ("call_1", "f", '{"x":2}'), ("call_2", "g", "{}")],
        ),
        (
            [
                {"index": 0, "id": "a", "name": "f", "arguments": '{"x":'},
                {"index": 0, "id": "a", "name": "f", "arguments": "1}"},
                {"index": 0, "id": "a", "name": "f", "arguments": ""},
                {"index": 1},
                {"index": 1, "name": "", "arguments": ""},
            ],
            [("a", "f", '{"x":1}')],
        ),
    ],
)
async def test_pieces_of_tool_calls_find_their_call(pieces: list[dict[str, Any]], calls: list[tuple[str, ...]]) -> None:
    reply = await streamed_reply(*(a_call(**piece) for piece in pieces), a_chunk(finish="tool_calls"))
    assert reply.tool_calls == tuple(AskedTool(*call) for call in calls)


A = {"index": 0, "id": "a", "name": "f"}
B = {"index": 1, "id": "b", "name": "g"}


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        # Once its arguments are an object, before anything else comes.
        ([{**A, "arguments": '{"x":'}, {"index": 0, "arguments": '{"y":1}'}, {"index": 0, "arguments": "}"}], [3]),
        ([{**A, "arguments": '{"x":1}'}, {**B, "arguments": '{"x":2}'}], [1, 2]),
        # Interleaved: each when it is whole, but never before those that stand before it.
        ([{**A, "arguments": '{"x":'}, {**B, "arguments": "{"}, {"index": 0, "arguments": "1}"}], [3]),
        ([A, {**B, "arguments": '{"x":2}'}, {"index": 0, "arguments": '{"x":1}'}], [3, 3]),
        # An empty object may hold the place of another, and so may nothing at all.
        ([{**A, "arguments": "{}"}], []),
        ([{**A, "arguments": "{ }"}, B], []),
        ([{**A, "arguments": "{}"}, B, {"index": 1, "arguments": "{"}], [3]),
        ([A, {**B, "arguments": '{"x":1}'}], []),
        # Its name or id may come late; without either it is told with the reply.
        ([{"index": 0, "name": "f", "arguments": '{"x":1}'}, {"index": 0, "id": "a"}], [2]),
        ([{"index": 0, "name": "f", "arguments": '{"x":1}'}], []),
        # White space after it is none of it.
        ([{**A, "arguments": '{"x":1}'}, {"index": 0, "arguments": " \n"}], [1]),
        ([{**A, "arguments": '["x"]'}], []),
        ([{**A, "arguments": {"x": 1}}], [1]),
    ],
)
async def test_a_tool_call_is_told_once_it_is_whole(pieces: list[dict[str, Any]], told: list[int]) -> None:
    """`told`: after how many pieces each was."""
    streamed = StreamedReply("m1", None, lambda: 0.0)
    calls: list[tuple[int, AskedTool]] = []
    for number, piece in enumerate(pieces, 1):
        streamed.on_call = lambda call, number=number: calls.append((number, call))
        streamed.add(orjson.dumps(a_call(**piece)))
    streamed.add(orjson.dumps(a_chunk(finish="tool_calls")))
    assert [number for number, _ in calls] == told
    reply = streamed.reply()
    assert tuple(call for _, call in calls) == reply.tool_calls[: len(calls)]


@pytest.mark.parametrize("more", ["x", '{"x":2}', "}"])
async def test_a_tool_call_that_was_told_does_not_change_any_more(more: str) -> None:
    streamed = StreamedReply("m1", None, lambda: 0.0)
    streamed.on_call = lambda _: None
    streamed.add(orjson.dumps(a_call(**A, arguments='{"x":1}')))
    with pytest.raises(ModelFailure) as raised:
        streamed.add(orjson.dumps(a_call(index=0, arguments=more)))
    assert raised.value.error.code is ErrorCode.MALFORMED_RESPONSE
    assert raised.value.error.retryable


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


async def test_a_custom_tool_is_called_with_its_input_as_arguments() -> None:
    whole_call = {"type": "custom", "id": "c1", "custom": {"name": "shell", "input": "ls -l"}}
    told = await reply_to(whole(an_answer({"content": None, "tool_calls": [whole_call]})))
    pieces = [
        {"index": 0, "id": "c1", "custom": {"name": "shell", "input": ""}},
        {"index": 0, "custom": {"input": "ls -l"}},
    ]
    chunks = [a_chunk({"tool_calls": [piece]}) for piece in pieces]
    for reply in (told, await streamed_reply(*chunks, a_chunk(finish="tool_calls"))):
        assert reply.tool_calls == (AskedTool("c1", "shell", "ls -l"),)


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        a_chunk(usage={"prompt_tokens": 7, "completion_tokens": 2}),
        {"choices": [{"index": 0, "delta": {}, "usage": {"prompt_tokens": 7, "completion_tokens": 2}}]},
        {"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}},
        {"choices": [], "usage": {"input_tokens": 7, "output_tokens": 2}},
    ],
)
async def test_usage_is_found_wherever_providers_put_it(chunk: dict[str, Any]) -> None:
    reply = await streamed_reply(a_chunk({"content": "Hi"}, "stop"), chunk)
    assert reply.usage == Usage(input_tokens=7, output_tokens=2)
    told = chunk["choices"][0] if chunk["choices"] else {}
    rest = {name: value for name, value in chunk.items() if name != "choices"}
    answer = {**an_answer(), **rest}
    answer["choices"][0].update(told)
    assert (await reply_to(whole(answer))).usage == reply.usage


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource"])
async def test_an_answer_that_the_server_broke_off_is_a_failure_not_a_short_answer(reason: str) -> None:
    broken = a_chunk({"content": "Hel"}, reason)
    for answer in (whole(an_answer({"content": "Hel"}, reason)), streamed(events(broken, "[DONE]"))):
        error = await error_of(answer, stream=True)
        assert (error.code, error.retryable) == (ErrorCode.SERVER_ERROR, True)


async def test_an_error_inside_a_choice_has_its_own_code() -> None:
    said = {"code": 429, "message": "Upstream is busy"}
    in_chunk = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": said}]}
    in_answer = {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": said}]}
    for answer in (whole(in_answer), streamed(events(in_chunk, "[DONE]"))):
        error = await error_of(answer, stream=True)
        assert (error.code, error.retryable) == (ErrorCode.RATE_LIMITED, True)
        assert "Upstream is busy" in error.message


async def test_an_error_without_a_wrapper_is_one_in_answers_and_streams() -> None:
    said = {"message": "Rate limit exceeded", "code": "rate_limited"}
    named = b"event: error\ndata: " + b'{"reason": "no more", "code": "rate_limited"}' + b"\n\n"
    begun = events(a_chunk({"content": "Hel"}))
    for answer in (whole(said), streamed(begun + events(said)), streamed(begun + named), whole(named, 400)):
        error = await error_of(answer, stream=True)
        assert error.code is ErrorCode.RATE_LIMITED
        assert "data:" not in error.message


async def test_events_whose_blank_lines_were_forgotten_are_read() -> None:
    body = events(a_chunk({"content": "H"}), a_chunk({"content": "i"}, "stop"), "[DONE]", end="\n")
    assert (await reply_to(streamed(body), stream=True)).text == "Hi"


async def test_a_body_is_read_as_what_it_is_whatever_its_content_type() -> None:
    stream = events(a_chunk({"content": "Hi"}, "stop"), "[DONE]")
    answer = an_answer({"content": "Hi"})
    for asked in (False, True):
        for kind in ("application/json", "text/event-stream", "text/plain"):
            assert (await reply_to(whole(b"\n" + stream.strip() + b"\n\n", kind=kind), stream=asked)).text == "Hi"
            assert (await reply_to(whole(answer, kind=kind), stream=asked)).text == "Hi"
    refused = whole({"error": {"message": "No", "code": "insufficient_quota"}}, kind="text/event-stream")
    assert (await error_of(refused, stream=True)).code is ErrorCode.QUOTA_EXHAUSTED
    cut = [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\n{"]
    assert (await error_of(cut, stream=True)).code is ErrorCode.CONNECTION


async def test_an_answer_in_one_piece_sent_as_a_stream_of_one_event_is_read() -> None:
    reply = await streamed_reply(an_answer({"content": "Hi", "reasoning": "Hm"}))
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hi", "Hm", "stop")
    both = {"choices": [{"delta": {"content": "i"}, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert (await streamed_reply(a_chunk({"content": "H"}), both)).text == "Hi"
