"""Answers in the messages format, whole and streamed."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ledgent.agent.models.anthropic_stream import StreamedMessage
from ledgent.agent.models.port import AskedTool, Delta, ModelFailure
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.values import Usage
from tests.agent.models.anthropic_calls import (
    Json,
    a_block,
    a_delta,
    a_message,
    a_request,
    a_start,
    a_text,
    an_end,
    error_of,
    failure_of,
    named_events,
    reply_to,
    serving,
    streamed_reply,
)
from tests.agent.raw_server import Step, events, streamed, torn, unframed, whole

THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "s"}
TEXT = {"type": "text", "text": "Hi"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
RUN_THERE = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "ask", "input": {}, "server_name": "s"},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "no"}]},
]

# whole answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text", "reasoning", "calls"),
    [
        ([TEXT], "Hi", None, ()),
        ([THOUGHT, TEXT, {"type": "thinking", "thinking": "!"}, TEXT], "HiHi", "Hm!", ()),
        ([{"type": "redacted_thinking", "data": "x"}, TEXT], "Hi", None, ()),
        ([TEXT, CALL], "Hi", None, (AskedTool("toolu_1", "add", '{"a":1}'),)),
        (
            [CALL, {**CALL, "input": {}}],
            None,
            None,
            (AskedTool("toolu_1", "add", '{"a":1}'), AskedTool("toolu_1", "add", "{}")),
        ),
        ([{"type": "tool_use", "name": "now"}], None, None, (AskedTool("call_0", "now", "{}"),)),
        ([*RUN_THERE, TEXT], "Hi", None, ()),
        ([{"type": "text", "text": ""}], "", None, ()),
        ([], None, None, ()),
        ([{"type": "something_new", "text": "not ours"}], None, None, ()),
    ],
)
async def test_text_reasoning_and_calls_are_told_apart(
    content: list[Json], text: str | None, reasoning: str | None, calls: tuple[AskedTool, ...]
) -> None:
    reply = await reply_to(whole({**a_message(), "content": content}))
    assert (reply.text, reply.reasoning, reply.tool_calls) == (text, reasoning, calls)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'{"n":123456789012345678901234567890}', '{"n":123456789012345678901234567890}'),
        (b'{"s": "\\u00e9\\ud83d", "x": NaN}', '{"s":"é\ufffd","x":null}'),
    ],
)
async def test_arguments_keep_every_digit_and_letter(written: bytes, read: str) -> None:
    body = orjson.dumps(a_message(CALL)).replace(b'{"a":1}', written)
    assert (await reply_to(whole(body))).tool_calls[0].arguments == read


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, Usage()),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(input_tokens=10, output_tokens=5)),
        (
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 40,
                "cache_creation_input_tokens": 100,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 3},
            },
            Usage(input_tokens=150, cached_tokens=40, output_tokens=5, reasoning_tokens=3),
        ),
        ({"input_tokens": None, "cache_read_input_tokens": 7}, Usage(input_tokens=7, cached_tokens=7)),
        ({"input_tokens": "many", "output_tokens": -1, "cache_creation": 7}, Usage()),
    ],
)
async def test_input_counts_what_was_cached_too(usage: Any, counted: Usage) -> None:
    assert (await reply_to(whole(a_message(usage=usage)))).usage == counted


@pytest.mark.parametrize("stop", ["end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal"])
async def test_the_finish_reason_is_the_providers_own(stop: str) -> None:
    assert (await reply_to(whole(a_message(stop=stop)))).finish_reason == stop
    assert (await streamed_reply(a_start(), *a_text("Hi"), *an_end(stop))).finish_reason == stop


async def test_a_withheld_answer_is_content_filtered_and_keeps_its_usage() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    body = {**a_message(stop="refusal", usage={"input_tokens": 1_000_000}), "content": [], "stop_details": details}
    stream = [a_start(input_tokens=1_000_000), *an_end("refusal")]
    stream[-2]["delta"]["stop_details"] = details
    for answer in (whole(body), streamed(named_events(*stream))):
        failure = await failure_of(answer, stream=True)
        assert (failure.error.code, failure.error.retryable) == (ErrorCode.CONTENT_FILTERED, False)
        assert "Not this." in failure.error.message
        assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 3.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><html><title>Sign in</title></html>",
        b'{"content": [',
        b"[" * 100_000,
        [],
        7,
        {},
        {"content": 7},
        {"content": [{"type": "tool_use", "id": "x"}]},
        {"content": [{"type": "tool_use", "name": ["add"]}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_none_is_a_malformed_response(body: object, stream: bool) -> None:
    error = await error_of(whole(body), stream=stream)
    assert (error.code, error.retryable) == (ErrorCode.MALFORMED_RESPONSE, True)


# streams --------------------------------------------------------------------------------------------------------------


async def test_a_stream_is_told_piece_by_piece_and_put_together() -> None:
    told: list[Delta] = []
    stream = [
        a_start(input_tokens=10, cache_read_input_tokens=90, output_tokens=1),
        {"type": "ping"},
        a_block(0, type="thinking", thinking="", signature=""),
        a_delta(0, type="thinking_delta", thinking="H"),
        a_delta(0, type="thinking_delta", thinking="m"),
        a_delta(0, type="signature_delta", signature="xyz"),
        {"type": "content_block_stop", "index": 0},
        *a_text("Hel", "lo", index=1),
        a_block(2, type="tool_use", id="toolu_1", name="add", input={}),
        a_delta(2, type="input_json_delta", partial_json=""),
        a_delta(2, type="input_json_delta", partial_json='{"a"'),
        a_delta(2, type="input_json_delta", partial_json=": 1}"),
        {"type": "content_block_stop", "index": 2},
        a_block(3, type="tool_use", id="toolu_2", name="now", input={}),
        {"type": "content_block_stop", "index": 3},
        *an_end("tool_use", output_tokens=20),
    ]
    async with serving(streamed(0.05, named_events(*stream)), stream=True) as (_, model):
        reply = await model.complete(a_request(), told.append)
    assert [(delta.kind, delta.text) for delta in told] == [
        ("reasoning", "H"),
        ("reasoning", "m"),
        ("text", "Hel"),
        ("text", "lo"),
        ("tool_arguments", '{"a"'),
        ("tool_arguments", ": 1}"),
    ]
    assert {delta.call_id for delta in told} == {"m1"}
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello", "Hm", "tool_use")
    assert reply.tool_calls == (AskedTool("toolu_1", "add", '{"a": 1}'), AskedTool("toolu_2", "now", "{}"))
    assert reply.usage == Usage(input_tokens=100, cached_tokens=90, output_tokens=20)
    assert (reply.model, reply.response_id) == ("claude-sonnet-4-5-20250929", "msg_1")
    assert reply.first_token_ms is not None
    assert reply.first_token_ms >= 50


def test_a_tool_call_is_told_once_its_block_has_ended_and_does_not_change_any_more() -> None:
    first, second = ({"type": "tool_use", "id": f"toolu_{n}", "name": "f", "input": {}} for n in (1, 2))
    end = {"type": "content_block_stop"}
    told: list[AskedTool] = []
    reading = StreamedMessage("m1", None, lambda: 0.0)
    reading.on_call = told.append
    for event, known in [
        (a_start(), 0),
        (a_block(0, **first), 0),
        (a_delta(0, type="input_json_delta", partial_json='{"a": 1}'), 0),
        (a_block(1, **second), 0),
        ({**end, "index": 1}, 0),
        ({**end, "index": 0}, 2),
        ({**end, "index": 0}, 2),
        (a_delta(0, type="input_json_delta", partial_json=" "), 2),
    ]:
        reading.add(orjson.dumps(event))
        assert len(told) == known
    with pytest.raises(ModelFailure) as raised:
        reading.add(orjson.dumps(a_delta(0, type="input_json_delta", partial_json='{"a": 2}')))
    assert raised.value.error.code is ErrorCode.MALFORMED_RESPONSE
    for event in an_end("tool_use"):
        reading.add(orjson.dumps(event))
    assert reading.reply().tool_calls == tuple(told)
    assert [call.arguments for call in told] == ['{"a": 1}', "{}"]


async def test_tools_that_the_provider_runs_are_no_calls_of_ours_in_a_stream_either() -> None:
    there = [
        event
        for index, block in enumerate(RUN_THERE)
        for event in (a_block(index, **block), a_delta(index, type="input_json_delta", partial_json='{"x": 1}'))
    ]
    reply = await streamed_reply(a_start(), *there, *a_text("Hi", index=9), *an_end())
    assert (reply.text, reply.tool_calls) == ("Hi", ())


async def test_what_a_later_event_counts_anew_replaces_what_was_told_before() -> None:
    end = an_end(input_tokens=30, output_tokens=7, cache_creation_input_tokens=0)
    reply = await streamed_reply(a_start(input_tokens=20, cache_creation_input_tokens=5, output_tokens=1), *end)
    assert reply.usage == Usage(input_tokens=35, output_tokens=7)
    silent = await streamed_reply(a_start(input_tokens=20), *an_end(input_tokens=0, output_tokens=7))
    assert silent.usage == Usage(input_tokens=20, output_tokens=7)


async def test_a_start_may_hold_what_deltas_usually_bring() -> None:
    begun = {"type": "message_start", "message": a_message(TEXT, CALL, stop=None)}
    assert (await streamed_reply(begun, *an_end())).text == "Hi"
    blocks = [a_block(0, **TEXT), a_block(1, **THOUGHT), a_block(2, **CALL)]
    reply = await streamed_reply(a_start(), *blocks, *an_end())
    assert (reply.text, reply.reasoning) == ("Hi", "Hm")
    assert reply.tool_calls == (AskedTool("toolu_1", "add", '{"a":1}'),)


async def test_events_without_names_or_types_and_new_ones_are_read() -> None:
    start, *rest = [a_start(), *a_text("Hi"), {"type": "something_new", "index": 0}, *an_end()]
    unnamed = events(start, *rest)
    assert (await reply_to(streamed(unnamed), stream=True)).text == "Hi"
    untyped = named_events(start, *rest).replace(b'"type":"message_stop"', b'"x":1')
    assert (await reply_to(streamed(untyped), stream=True)).text == "Hi"


@pytest.mark.parametrize("cut", [unframed, torn, streamed])
@pytest.mark.parametrize(
    "last",
    [
        b"",
        named_events({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}),
        b'event: message_stop\ndata: {"type": "mess',
        b": a comment\n\n",
    ],
)
async def test_a_stream_that_ends_before_message_stop_was_cut(cut: Callable[..., list[Step]], last: bytes) -> None:
    failure = await failure_of(cut(named_events(a_start(input_tokens=1_000_000), *a_text("Hel")) + last), stream=True)
    assert (failure.error.code, failure.error.retryable) == (ErrorCode.CONNECTION, True)
    assert "cut" in failure.error.message
    assert (failure.usage.input_tokens, failure.cost_usd) == (1_000_000, 3.0)


async def test_a_connection_that_breaks_after_message_stop_does_no_harm() -> None:
    body = named_events(a_start(), *a_text("Hi"), *an_end())
    assert (await reply_to(torn(body), stream=True)).text == "Hi"


@pytest.mark.parametrize(
    "event", ["{bad", "7", "[]", '{"type": "content_block_start", "content_block": {"type": "tool_use"}}']
)
async def test_an_event_that_is_none_is_a_malformed_response(event: str) -> None:
    body = events(a_start(), event, *an_end())
    error = await error_of(streamed(body), stream=True)
    assert (error.code, error.retryable) == (ErrorCode.MALFORMED_RESPONSE, True)


async def test_a_server_that_streams_unasked_or_not_when_asked_is_understood() -> None:
    body = named_events(a_start(), *a_text("Hi"), *an_end())
    assert (await reply_to(whole(body, kind="text/event-stream"))).text == "Hi"
    assert (await reply_to(whole(body, kind="application/json"), stream=True)).text == "Hi"
    assert (await reply_to(whole(a_message()), stream=True)).text == "Hello"
    assert (await reply_to(whole(a_message(), kind="text/event-stream"), stream=True)).text == "Hello"
