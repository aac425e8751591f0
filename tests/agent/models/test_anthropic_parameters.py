"""From the parameters of a chat-completions request to those of a messages request."""

import orjson
import pytest

from ledgent.agent.models.anthropic_request import messages_request
from tests.agent.models.chat_requests import USER, Json, asking, result, translated

FUNCTION = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
ADD = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_functions_are_tools_and_tools_of_anthropic_go_as_they_are() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}, "cache_control": {"type": "ephemeral"}}
    now = {"name": "now", "strict": True, "input_schema": {"type": "object", "properties": {}}}
    sent = translated(tools=[FUNCTION, SEARCH, bare])
    assert sent["tools"] == [ADD, SEARCH, {**now, "cache_control": {"type": "ephemeral"}}]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, {"type": "tool", "name": "add"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": True}, None),
        ({}, None),
    ],
)
def test_the_choice_of_tools_is_said_in_anthropics_words(given: Json, sent: Json | None) -> None:
    assert translated(tools=[FUNCTION], **given).get("tool_choice") == sent
    without_tools = translated(**given)
    assert "tool_choice" not in without_tools
    assert "parallel_tool_calls" not in without_tools


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["A", "B"]}, {"stop_sequences": ["A", "B"]}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"metadata": {"user_id": "u2"}}, {"metadata": {"user_id": "u2"}}),
        ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {}),
        ({"response_format": {"type": "json_object"}}, {}),
        ({"output_config": {"effort": "max"}, "reasoning_effort": "low"}, {"output_config": {"effort": "max"}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"seed": 1, "n": 1, "logprobs": True, "frequency_penalty": 1}, {}),
        ({"something_new": 1}, {"something_new": 1}),
    ],
)
def test_parameters_are_renamed_passed_on_or_mean_nothing_here(given: Json, sent: Json) -> None:
    known = {"model", "max_tokens", "messages"}
    assert {name: value for name, value in translated(**given).items() if name not in known} == sent


@pytest.mark.parametrize(
    ("model", "given", "tokens"),
    [
        ("claude-3-haiku-20240307", {}, 4_096),
        ("claude-3-5-sonnet-latest", {}, 8_192),
        ("claude-3-7-sonnet-20250219", {}, 16_000),
        ("claude-opus-4-20250514", {}, 16_000),
        ("claude-opus-4-1-20250805", {}, 16_000),
        ("claude-sonnet-4@20250514", {}, 16_000),
        ("claude-opus-4-5-20251101", {}, 64_000),
        ("us.anthropic.claude-opus-5-5", {}, 64_000),
        ("glm-5", {}, 8_192),
        ("claude-opus-5-5", {"max_tokens": 5}, 5),
        ("claude-opus-5-5", {"max_completion_tokens": 6}, 6),
        ("glm-5", {"thinking": {"type": "enabled", "budget_tokens": 20_000}}, 28_192),
    ],
)
def test_the_most_tokens_are_always_given(model: str, given: Json, tokens: int) -> None:
    sent = orjson.loads(messages_request(orjson.dumps({"model": model, "messages": [USER], **given})).body)
    assert sent["max_tokens"] == tokens
    assert "max_completion_tokens" not in sent


def test_manual_thinking_rests_while_results_are_sent_back_without_their_thinking() -> None:
    manual, adaptive = {"type": "enabled", "budget_tokens": 2_000}, {"type": "adaptive"}
    round_of_tools = [USER, asking(("a", "{}")), result("a", "1")]
    assert "thinking" not in translated(round_of_tools, thinking=manual)
    assert translated(round_of_tools, thinking=adaptive)["thinking"] == adaptive
    after = [*round_of_tools, {"role": "assistant", "content": "1"}, USER]
    assert translated(after, thinking=manual)["thinking"] == manual
    signed = [{"type": "thinking", "thinking": "Hm", "signature": "s"}]
    kept = [USER, {**asking(("a", "{}")), "content": signed}, result("a", "1")]
    assert translated(kept, thinking=manual)["thinking"] == manual
