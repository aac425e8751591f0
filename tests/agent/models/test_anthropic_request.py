"""From the messages of a chat-completions request to those of a messages request."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.agent.models.anthropic_request import messages_request
from ledgent.agent.models.port import ModelFailure
from tests.agent.models.chat_requests import SAYS_HI, USER, Json, asking, result, text, translated, turns

# messages -------------------------------------------------------------------------------------------------------------


def test_system_messages_are_the_system_prompt_wherever_they_stand() -> None:
    sent = translated([{"role": "system", "content": "A"}, USER, {"role": "developer", "content": "B"}])
    assert sent["system"] == "A\n\nB"
    assert sent["messages"] == [SAYS_HI]
    cached = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]
    assert translated([{"role": "system", "content": cached}, USER])["system"] == cached
    assert "system" not in translated([{"role": "system", "content": ""}, USER])


def test_a_round_of_tools_is_one_turn_of_calls_and_one_of_results() -> None:
    said = turns(
        USER,
        asking(("a", '{"x": 1}'), ("b", "{}"), content="Wait."),
        result("a", "one"),
        result("b", ""),
        asking(("c", "")),
        result("c", [text("three")]),
        {"role": "user", "content": "And?"},
    )
    assert said == [
        SAYS_HI,
        {
            "role": "assistant",
            "content": [
                text("Wait."),
                {"type": "tool_use", "id": "a", "name": "add", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b"},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "add", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": [text("three")]}, text("And?")],
        },
    ]


@pytest.mark.parametrize("arguments", ["{not json", "[1]", "7", '"text"', "{'a': 1}", '{"a": "\\ud83d"}'])
def test_arguments_that_are_no_object_are_sent_as_text_inside_one(arguments: str) -> None:
    call = turns(USER, asking(("a", arguments)), result("a", "no"))[1]["content"][0]
    assert call["input"] == {"INVALID_JSON": arguments}


def test_arguments_keep_every_digit_and_letter() -> None:
    written = '{"n": 123456789012345678901234567890, "x": 1.10, "s": "\\u00e9"}'
    chat = {"model": "claude-opus-5-5", "messages": [USER, asking(("a", written)), result("a", "")]}
    assert written.encode() in messages_request(orjson.dumps(chat)).body


def test_ids_become_ones_that_anthropic_takes_and_results_follow_their_calls() -> None:
    said = turns(
        USER,
        asking(("functions.add:0", "{}"), ("same", "{}"), ("same", "{}")),
        result("functions.add:0", "1"),
        result("same", "2"),
        result("same", "3"),
        asking(("same", "{}")),
        result("same", "4"),
        result("orphan!", "5"),
    )
    calls = [block["id"] for turn in said[1::2] for block in turn["content"]]
    results = [(block["tool_use_id"], block["content"]) for turn in said[2::2] for block in turn["content"]]
    assert calls == ["functions_add_0", "same", "same_2", "same_3"]
    assert results == [("functions_add_0", "1"), ("same", "2"), ("same_2", "3"), ("same_3", "4"), ("orphan_", "5")]


def test_a_result_belongs_to_the_round_before_it() -> None:
    said = turns(USER, asking(("a", "{}")), USER, asking(("a", "{}")), result("a", "late"))
    assert said[3]["content"][0]["id"] == said[4]["content"][0]["tool_use_id"] == "a_2"


def test_what_says_nothing_is_left_out_or_said_to_be_nothing() -> None:
    assert turns({"role": "user", "content": ""}) == [{"role": "user", "content": [text("(no text)")]}]
    nothing = {"role": "assistant", "content": ""}
    assert turns(USER, nothing, USER) == [{"role": "user", "content": [text("Hi"), text("Hi")]}]
    greeting = {"role": "assistant", "content": "Hello"}
    assert turns(greeting, USER)[0] == {"role": "user", "content": [text("(no text)")]}
    assert turns(USER, {"role": "assistant", "content": None, "refusal": "No."})[1]["content"] == [text("No.")]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": "https://host/a.png", "cache_control": {"type": "ephemeral"}},
            {
                "type": "image",
                "source": {"type": "url", "url": "https://host/a.png"},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/csv;charset=utf-8;base64,w6k="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:image/gif;base64,R0lG"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
        ),
        ("bare", text("bare")),
    ],
)
def test_parts_become_blocks_in_messages_and_in_results(part: Any, block: Json) -> None:
    said = turns({"role": "user", "content": [text(""), part]}, asking(("a", "{}")), result("a", [part]))
    assert said[0]["content"] == [block]
    assert said[2]["content"][0]["content"] == [block]


# whatever comes -------------------------------------------------------------------------------------------------------

NAMES = [
    *("role", "content", "tool_calls", "function", "name", "arguments", "id", "tool_call_id", "type", "text"),
    *("image_url", "url", "file", "file_data", "model", "messages", "tools", "tool_choice", "stop", "user", "metadata"),
    *("thinking", "budget_tokens", "output_config", "response_format", "json_schema", "schema", "betas", "max_tokens"),
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(
        ["user", "assistant", "tool", "system", "text", "image_url", "file", "function", "enabled", "{", ""]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
messages = st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=5), max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(lambda rest, said: {**rest, "messages": said}, st.dictionaries(st.sampled_from(NAMES), values), messages)
)
@pytest.mark.slow
def test_any_chat_request_becomes_a_messages_request(chat: Json) -> None:
    sent = orjson.loads(messages_request(orjson.dumps(chat)).body)
    roles = [turn["role"] for turn in sent["messages"]]
    assert all(a != b for a, b in pairwise(roles))
    assert all(turn["content"] for turn in sent["messages"])
    assert sent["max_tokens"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=50) | values.map(orjson.dumps))
def test_any_bytes_are_translated_or_refused(body: bytes) -> None:
    try:
        messages_request(body)
    except ModelFailure:
        pass


def test_a_request_nested_too_deep_is_refused() -> None:
    deep = b'{"messages":[],"x":' + b"[" * 500 + b"]" * 500 + b"}"
    with pytest.raises(ModelFailure):
        messages_request(deep)
