"""From the schema of a `response_format` to Anthropic's structured outputs, or to words."""

import re
from datetime import datetime
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel, Field, TypeAdapter

from ledgent.agent.models.anthropic_request import messages_request
from tests.agent.models.chat_requests import USER, Json


class Part(BaseModel):
    kind: Literal["part"]
    code: str = Field(min_length=2, description="Its code.")
    many: int = Field(ge=1, le=9)


class Whole(BaseModel):
    parts: list[Part] = Field(min_length=1, max_length=3)
    at: datetime | None = None
    sign: str = Field(pattern="^[A-Z]+$")
    number: str = Field(json_schema_extra={"pattern": "^(?!0)[0-9]+$"})


class Tree(BaseModel):
    branches: "list[Tree]"


class Forest(BaseModel):
    trees: list[Tree]


class Host(BaseModel):
    guest: "Guest | None"


class Guest(BaseModel):
    host: Host


class Visit(BaseModel):
    by: Guest


class OpenMap(BaseModel):
    counts: dict[str, int]


class Pair(BaseModel):
    both: tuple[int, str]


class Anything(BaseModel):
    value: Any


def asked_for(schema: Json, model: str = "claude-opus-5-5", **rest: Any) -> Json:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    chat = {"model": model, "messages": [{"role": "system", "content": "Be brief."}, USER], "response_format": form}
    sent: Json = orjson.loads(messages_request(orjson.dumps({**chat, **rest})).body)
    return sent


def test_a_schema_is_sent_in_the_words_that_anthropic_knows() -> None:
    sent = asked_for(Whole.model_json_schema(), reasoning_effort="low")
    assert sent["system"] == "Be brief."
    assert sent["output_config"]["effort"] == "low"
    assert sent["output_config"]["format"]["type"] == "json_schema"
    schema = sent["output_config"]["format"]["schema"]
    part, parts = schema["$defs"]["Part"], schema["properties"]["parts"]
    assert schema["additionalProperties"] is part["additionalProperties"] is False
    assert part["required"] == ["kind", "code", "many"]
    assert part["properties"]["kind"] == {"const": "part", "title": "Kind", "type": "string"}
    assert part["properties"]["code"]["description"] == "Its code. (minLength: 2)"
    assert part["properties"]["many"]["description"] == "(maximum: 9, minimum: 1)"
    assert (parts["minItems"], parts["description"]) == (1, "(maxItems: 3)")
    assert schema["properties"]["at"]["anyOf"][0] == {"format": "date-time", "type": "string"}
    assert schema["properties"]["sign"]["pattern"] == "^[A-Z]+$"
    assert schema["properties"]["number"]["description"] == "(pattern: ^(?!0)[0-9]+$)"
    left = {"minimum", "maximum", "minLength", "maxItems"} & set(re.findall(r'"(\w+)":', orjson.dumps(schema).decode()))
    assert left == set()


OPEN = {"type": "object", "properties": {"any": {"type": "object"}}}


@pytest.mark.parametrize("kind", [Tree, Forest, Visit, OpenMap, Pair, Anything, list[int], OPEN])
def test_a_schema_that_anthropic_has_no_words_for_is_told_to_the_model(kind: Any) -> None:
    schema = kind if isinstance(kind, dict) else TypeAdapter(kind).json_schema()
    sent = asked_for(schema)
    assert "output_config" not in sent
    told = "Be brief.\n\nAnswer with nothing but JSON that fits this JSON Schema: "
    assert sent["system"].startswith(told)
    assert orjson.loads(sent["system"].removeprefix(told)) == schema


@pytest.mark.parametrize(
    ("model", "supported"),
    [
        ("claude-opus-4-1-20250805", True),
        ("claude-sonnet-4-5-20250929", True),
        ("us.anthropic.claude-haiku-4-5", True),
        ("claude-fable-5-1", True),
        ("claude-opus-4-20250514", False),
        ("claude-sonnet-4-0", False),
        ("claude-3-7-sonnet-latest", False),
        ("claude-3-haiku-20240307", False),
        ("glm-5", False),
    ],
)
def test_only_models_with_structured_outputs_are_sent_a_schema(model: str, supported: bool) -> None:
    sent = asked_for(Part.model_json_schema(), model)
    assert ("output_config" in sent, "JSON Schema" in sent["system"]) == (supported, not supported)


def test_a_format_in_anthropics_own_words_stands() -> None:
    own = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}
    sent = asked_for(Part.model_json_schema(), output_config=own)
    assert (sent["output_config"], sent["system"]) == (own, "Be brief.")
