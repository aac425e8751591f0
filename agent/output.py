"""Answers of a type: what the model is told of it, and how its words become a validated value. No I/O."""

import re
from collections.abc import Iterator
from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from ledgent.schemas.agents import OutputSpec
from ledgent.schemas.errors import UsageError

MOST_PROBLEMS = 10
"""That the model is told of one answer."""
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class InvalidOutput(Exception):
    """The answer does not fit; the text tells the model how."""


class OutputType:
    """The type of an agent's answers."""

    def __init__(self, type: Any, attempts: int) -> None:
        """Raises UsageError for a type that has no JSON Schema."""
        name = re.sub(r"\W", "_", getattr(type, "__name__", "answer"))
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(type)
            schema = self._adapter.json_schema()
        except (PydanticSchemaGenerationError, pydantic_core.PydanticOmit, ValueError, TypeError) as error:
            raise UsageError(f"output={type!r} has no JSON Schema: {str(error).partition(chr(10))[0]}") from error
        self.spec = OutputSpec(name=name, json_schema=schema, attempts=attempts)

    def accepted(self, answer: str) -> str:
        """The value that an answer holds, as JSON. Raises InvalidOutput.

        Models put JSON into a fenced block or into sentences: the first part that is JSON and fits is the value. JSON
        that is broken is not mended, since nobody knows what was meant: the model is told where it breaks.
        """
        problems, is_json = "", False
        for text in _candidates(answer):
            try:
                value = self._adapter.validate_json(text)
            except ValidationError as error:
                if not is_json:  # the first part that is JSON, or else the one that came closest to it
                    problems, is_json = _explained(error), error.errors()[0]["type"] != "json_invalid"
            else:
                return self._adapter.dump_json(value).decode()
        raise InvalidOutput(
            f"Your answer does not fit: {problems}. Answer again, with nothing but JSON that fits the schema."
        )

    def value(self, output: str) -> Any:
        """What `accepted` gave, as an instance of the type."""
        return self._adapter.validate_json(output)


def _candidates(answer: str) -> Iterator[str]:
    """The parts of an answer that may be its JSON, the likeliest first."""
    yield answer.strip()
    yield from (block.strip() for block in _FENCED.findall(answer))
    # From the first bracket of either kind: a list inside a broken object is not the answer.
    if opening := re.search(r"[{\[]", answer):
        end = answer.rfind("}" if opening[0] == "{" else "]")
        if opening.start() < end:
            yield answer[opening.start() : end + 1]


def _explained(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}" for problem in error.errors()]
    more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
    return "; ".join(problems[:MOST_PROBLEMS]) + more
