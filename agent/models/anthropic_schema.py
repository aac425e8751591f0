"""From a JSON Schema to one that Anthropic's structured outputs take, which know a part of JSON Schema only. Pure.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs: objects are closed, nothing refers to itself,
and of the bounds on numbers, texts and lists hardly any is known. Bounds that are not become words in the description;
the answer is validated by the run in any case.
"""

import re
from typing import Any

from ledgent.agent.models.reading import fields

SUPPORTING = re.compile(r"claude-(?!instant|[123]\b|3-|(opus|sonnet)-4([-@]\d{8}|-0|$))")
"""Names of the models that have structured outputs: those since 4.1."""

BOUNDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
    }
)
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
KEPT = frozenset({"type", "enum", "const", "description", "title", "default", "$ref", "required"})
BEYOND_PATTERNS = re.compile(r"\(\?|\\[bB1-9]")
"""In a regular expression: look-around, word boundaries and references back, which Anthropic's patterns have not."""

NAMED, LISTED = ("properties", "$defs", "definitions"), ("anyOf", "allOf", "oneOf")
PASSED_OVER = frozenset({"$schema", "$id", "discriminator", "examples", "deprecated", "readOnly", "writeOnly"})


class Inexpressible(Exception):
    """The schema has something that has no place in Anthropic's."""


def constrained(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in Anthropic's words; None if it cannot be said in them."""
    try:
        said = _said(schema)
    except Inexpressible:
        return None
    return None if said.get("type") != "object" or _refers_to_itself(schema) else said


def _said(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict) or not schema.keys() & {"type", "enum", "const", "$ref", *LISTED}:
        raise Inexpressible
    said: dict[str, Any] = {}
    lost: list[str] = []
    for word, value in schema.items():
        if word in KEPT:
            said[word] = value
        elif word in NAMED:
            said[word] = {name: _said(each) for name, each in fields(value).items()}
        elif word in LISTED and isinstance(value, list):
            said["anyOf" if word == "oneOf" else word] = [_said(each) for each in value]
        elif word == "items":
            said[word] = _said(value)
        elif word in BOUNDS or word in ("format", "pattern"):
            if _is_known(word, value):
                said[word] = value
            else:
                lost.append(f"{word}: {value}")
        elif word not in PASSED_OVER and not (word == "additionalProperties" and value is False):
            raise Inexpressible
    if said.get("type") == "object":
        if "properties" not in said:
            raise Inexpressible  # an object of any fields, and Anthropic's have none that are not named
        said["additionalProperties"] = False
    if lost:
        said["description"] = f"{said.get('description', '')} ({', '.join(lost)})".strip()
    return said


def _is_known(bound: str, value: Any) -> bool:
    if bound == "pattern":
        return isinstance(value, str) and not BEYOND_PATTERNS.search(value)
    return value in FORMATS if bound == "format" else bound == "minItems" and value in (0, 1)


def _refers_to_itself(schema: dict[str, Any]) -> bool:
    """Whether a definition needs itself."""
    named = {**fields(schema.get("$defs")), **fields(schema.get("definitions"))}
    needs = {name: set(re.findall(r"#/(?:\$defs|definitions)/([^/'\"]+)", repr(each))) for name, each in named.items()}
    for _ in needs:  # as many rounds as the longest way from one to another can have steps
        needs = {name: found.union(*(needs.get(other, set()) for other in found)) for name, found in needs.items()}
    return any(name in found for name, found in needs.items()) or "'$ref': '#'" in repr(schema)
