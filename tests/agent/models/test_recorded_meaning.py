"""Two readers of what providers do, the adapters and the benchmark's own, agree, and with what is meant."""

import json

import pytest

from benchmarks.decode_recordings import play_all
from benchmarks.recorded_body import Answer, Call, Failure
from benchmarks.recorded_exchanges import CHAT, MESSAGES, Exchange
from benchmarks.recorded_meaning import meaning
from tests.agent.models.exchanges import an_exchange, answered, chunk, sse

START = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}
CALL = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
FIRST, SECOND = ({"name": "f", "arguments": json.dumps({"x": x})} for x in (1, 2))
PIECES = [
    {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]},
    {"tool_calls": [{"function": {"arguments": '{"x":'}}]},
    {"tool_calls": [{"function": {"arguments": "1}"}}]},
    {"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "{}"}}]},
]
TWO = [{"tool_calls": [{"index": 0, "function": function}]} for function in (FIRST, SECOND)]


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        (an_exchange(CHAT, "\n\n" + answered({"content": "Hi"})), Answer("Hi", None, [], "stop", 0, 0, 0, 0)),
        (
            an_exchange(
                CHAT, sse(chunk({"content": "H"}), chunk({"content": "i"}, "stop"), "[DONE]", end="\r\n\r\n"), "sse"
            ),
            Answer("Hi", None, [], "stop", 0, 0, 0, 0),
        ),
        (
            an_exchange(CHAT, ": hello\n\n" + sse(*map(chunk, PIECES), chunk({}, "tool_calls")), "sse"),
            Answer(None, None, [Call("a", "f", '{"x":1}'), Call("b", "g", "{}")], "tool_calls", 0, 0, 0, 0),
        ),
        (
            an_exchange(CHAT, sse(*map(chunk, TWO), chunk({}, "tool_calls"), "[DONE]"), "sse"),
            Answer(None, None, [Call(None, "f", '{"x": 1}'), Call(None, "f", '{"x": 2}')], "tool_calls", 0, 0, 0, 0),
        ),
        (
            an_exchange(
                CHAT,
                answered(
                    {"content": [{"type": "thinking", "thinking": [{"text": "Hm"}]}, {"type": "text", "text": "Hi"}]},
                    usage={
                        "prompt_tokens": 9,
                        "completion_tokens": 1,
                        "total_tokens": 15,
                        "prompt_tokens_details": {"cached_tokens": 4},
                        "completion_tokens_details": {"reasoning_tokens": 5},
                    },
                ),
            ),
            Answer("Hi", "Hm", [], "stop", 9, 6, 4, 5),
        ),
        (an_exchange(CHAT, sse(chunk({"content": "Hel"})), "sse"), Failure("connection", None, "")),
        (
            an_exchange(CHAT, sse(chunk({"content": "Hel"}), {"error": {"message": "Busy", "code": 503}}), "sse"),
            Failure("server_error", 200, "Busy"),
        ),
        (an_exchange(CHAT, "<html><title>Sign in</title></html>", "text"), Failure("malformed_response", None, "")),
        (an_exchange(CHAT, '{"choices": []}'), Failure("malformed_response", None, "")),
        (an_exchange(CHAT, "<html>Bad gateway</html>", "text", 502), Failure("server_error", 502, "")),
        (
            an_exchange(CHAT, '{"error": {"message": "Limit 5", "code": "rate_limit_exceeded"}}', status=413),
            Failure("rate_limited", 413, "Limit 5"),
        ),
        (
            an_exchange(CHAT, '{"error": {"error": {"message": "Pay", "code": 402}, "code": 402}}', status=None),
            Failure("quota_exhausted", 402, "Pay"),
        ),
        (
            an_exchange(
                MESSAGES, sse(START, TEXT, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, STOP), "sse"
            ),
            Answer("Hi", None, [], "end_turn", 3, 0, 0, 0),
        ),
        (
            an_exchange(MESSAGES, "\n".join(map(json.dumps, (START, CALL, STOP))), "sse_payload_lines"),
            Answer(None, None, [Call("t", "f", "{}")], None, 3, 0, 0, 0),
        ),
        (an_exchange(MESSAGES, sse(START, TEXT), "sse"), Failure("connection", None, "")),
        (an_exchange(MESSAGES, sse(START, TEXT, OVERLOADED), "sse"), Failure("server_error", 200, "Overloaded")),
        (an_exchange(MESSAGES, json.dumps(OVERLOADED), status=529), Failure("server_error", 529, "Overloaded")),
        (
            an_exchange(MESSAGES, '{"content": [], "stop_reason": "refusal"}'),
            Failure("content_filtered", None, ""),
        ),
    ],
)
async def test_what_providers_do_is_read_by_both_readers_alike(exchange: Exchange, expected: Answer | Failure) -> None:
    assert meaning(exchange) == expected
    wanted = "decoded" if isinstance(expected, Answer) else "error"
    (played,) = await play_all([exchange])
    assert (played.outcome, played.why) == (wanted, "")
