"""A function as a tool: the schema that the model sees, its arguments validated, its result as text."""

import asyncio
import json
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from ledgent.agent import ToolContext, ToolError, Toolkit, tool
from ledgent.agent.tools.function import InvalidArguments, Tool, make_tool
from ledgent.agent.tools.toolkit import tools_of
from ledgent.schemas.errors import UsageError

CONTEXT = ToolContext("run-1", "m1.t0", "run-1/m1.t0")


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    street: str
    zip: str = Field(description="Five digits.")


@dataclass
class Item:
    name: str
    count: int = 1


class Pair(NamedTuple):
    left: int
    right: int


async def call(made: Tool, arguments: str = "{}") -> str:
    return (await made.call(made.parse(arguments), CONTEXT)).text


class TestSchema:
    def test_whatever_becomes_a_tool_has_a_time_out_and_is_called_once(self) -> None:
        def look() -> None: ...

        class Kit(Toolkit):
            @tool
            def look(self) -> None: ...

            @tool(timeout_s=5)
            def glance(self) -> None: ...

        made = tools_of([tool(look), look, Kit()])
        assert [one.spec.timeout_s for one in made] == [60, 60, 60, 5]
        assert {(one.spec.idempotent, one.spec.attempts) for one in made} == {(False, 1)}

    def test_it_is_made_from_name_hints_and_docstring(self) -> None:
        @tool
        def ship(order: str, items: list[str], express: bool = False, size: Literal["s", "l"] | None = None) -> str:
            """Ships an order.

            Only once per order.

            Args:
                order: The order's id,
                    with the hash sign.
                items: What to ship.
                express: Whether it is urgent.
            """
            return ""

        assert ship.spec.name == "ship"
        assert ship.spec.description == "Ships an order. Only once per order."
        assert ship.spec.parameters == {
            "type": "object",
            "properties": {
                "order": {"type": "string", "description": "The order's id, with the hash sign."},
                "items": {"type": "array", "items": {"type": "string"}, "description": "What to ship."},
                "express": {"type": "boolean", "default": False, "description": "Whether it is urgent."},
                "size": {"anyOf": [{"enum": ["s", "l"], "type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["order", "items"],
        }

    @pytest.mark.parametrize(
        "docstring",
        [
            "Adds.\n\nArgs:\n    a: The first.\n",
            "Adds.\n\n:param a: The first.\n",
            "Adds.\n\nParameters\n----------\na : int\n    The first.\n",
        ],
        ids=["google", "rest", "numpy"],
    )
    def test_three_styles_of_docstring_are_read(self, docstring: str) -> None:
        def add(a: int) -> int:
            return a

        add.__doc__ = docstring
        made = make_tool(add)
        assert made.spec.description == "Adds."
        assert made.spec.parameters["properties"] == {"a": {"type": "integer", "description": "The first."}}

    def test_a_function_without_parameters_or_docstring_will_do(self) -> None:
        @tool
        def now() -> str:
            return ""

        assert now.spec.description == ""
        assert now.spec.parameters == {"type": "object", "properties": {}, "required": []}

    def test_nested_models_dataclasses_and_enums_are_described(self) -> None:
        @tool
        def order(to: Address, items: list[Item], size: Size = Size.SMALL) -> str:
            return ""

        properties = order.spec.parameters["properties"]
        assert isinstance(properties, dict)
        assert properties["to"] == {"$ref": "#/$defs/Address"}
        definitions = order.spec.parameters["$defs"]
        assert isinstance(definitions, dict)
        assert definitions["Address"] == {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string", "description": "Five digits."}},
            "required": ["street", "zip"],
        }
        assert set(definitions) == {"Address", "Item", "Size"}

    def test_a_parameter_named_title_keeps_its_name(self) -> None:
        @tool
        def rename(title: str, book: Annotated[str, Field(description="Which one.")]) -> str:
            return title

        assert rename.spec.parameters["properties"] == {
            "title": {"type": "string"},
            "book": {"type": "string", "description": "Which one."},
        }

    @pytest.mark.parametrize("name", ["copy", "json", "schema", "dict", "model_name", "model_config", "_secret"])
    async def test_a_parameter_may_have_any_name(self, name: str) -> None:
        scope: dict[str, Any] = {}
        exec(f"def f({name}: str) -> str:\n    return {name}", scope)
        made = make_tool(scope["f"])
        assert made.spec.parameters["required"] == [name]
        assert await call(made, json.dumps({name: "x"})) == "x"

    def test_the_context_is_injected_and_not_in_the_schema(self) -> None:
        @tool
        def pay(amount: int, call: ToolContext) -> str:
            return call.idempotency_key

        assert pay.spec.parameters["properties"] == {"amount": {"type": "integer"}}
        with pytest.raises(InvalidArguments, match="call"):
            pay.parse('{"amount": 1, "call": {"run_id": "forged"}}')

    def test_options_reach_the_spec(self) -> None:
        @tool(name="other", timeout_s=2.5, idempotent=True, attempts=3, ends_run=True)
        def f() -> str:
            return ""

        spec = f.spec
        assert (spec.name, spec.timeout_s, spec.idempotent, spec.attempts, spec.ends_run) == (
            "other",
            2.5,
            True,
            3,
            True,
        )
        assert repr(f) == "<tool other>"

    def test_a_tool_can_still_be_called_as_a_function(self) -> None:
        @tool
        def add(a: int, b: int = 2) -> int:
            """Adds."""
            return a + b

        assert add(1) == 3
        assert add.__doc__ == "Adds."


class TestRefusedFunctions:
    def test_more_than_one_attempt_needs_an_idempotent_tool(self) -> None:
        def pay() -> str:
            return ""

        with pytest.raises(UsageError, match="idempotent=True"):
            make_tool(pay, attempts=2)

    def test_a_parameter_without_a_type_is_refused_by_name(self) -> None:
        def f(a) -> str:  # type: ignore[no-untyped-def]
            return ""

        with pytest.raises(UsageError, match="parameter a needs a type hint"):
            make_tool(f)

    def test_parameters_that_have_no_name_are_refused(self) -> None:
        def positional(a: int, /) -> str:
            return ""

        def starred(*a: int) -> str:
            return ""

        def keywords(**a: int) -> str:
            return ""

        for function in (positional, starred, keywords):
            with pytest.raises(UsageError, match="parameter a must be one that is passed by its name"):
                make_tool(function)

    def test_a_type_that_has_no_schema_is_refused_by_name(self) -> None:
        def locked(lock: threading.Lock) -> str:
            return ""

        def unknown(a: "NoSuchType") -> str:  # type: ignore[name-defined]  # noqa: F821
            return ""

        for function in (locked, unknown):
            with pytest.raises(UsageError, match=f"tool {function.__name__}"):
                make_tool(function)

    @pytest.mark.parametrize("options", [{"timeout_s": 0}, {"attempts": 0}, {"timeout_s": float("inf")}])
    def test_options_that_make_no_sense_are_refused(self, options: dict[str, Any]) -> None:
        def f() -> str:
            return ""

        with pytest.raises(UsageError, match="tool f"):
            make_tool(f, **options)


class TestArguments:
    async def test_they_arrive_with_the_types_of_the_hints(self) -> None:
        seen: dict[str, Any] = {}

        @tool
        async def order(to: Address, items: list[Item], on: date, size: Size = Size.SMALL) -> None:
            seen.update(to=to, items=items, on=on, size=size)

        await call(order, '{"to": {"street": "A", "zip": "12345"}, "items": [{"name": "x"}], "on": "2026-01-02"}')
        assert seen == {
            "to": Address(street="A", zip="12345"),
            "items": [Item("x")],
            "on": date(2026, 1, 2),
            "size": Size.SMALL,
        }

    async def test_numbers_written_as_text_are_understood(self) -> None:
        @tool
        async def double(n: int) -> int:
            return 2 * n

        assert await call(double, '{"n": "21"}') == "42"

    async def test_no_arguments_at_all_are_an_empty_object(self) -> None:
        @tool
        async def now(zone: str = "UTC") -> str:
            return zone

        assert await call(now, "") == "UTC"

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ('{"n": "many"}', "n: Input should be a valid integer"),
            ("{}", "n: Field required"),
            ('{"n": 1, "m": 2}', "m: Extra inputs are not permitted"),
            ("{n: 1}", "Invalid JSON"),
            ('{"n": 1', "Invalid JSON"),
            ("[1]", "should be an object"),
            ("null", "should be an object"),
        ],
    )
    def test_what_is_wrong_with_them_is_told(self, arguments: str, told: str) -> None:
        @tool
        def double(n: int) -> int:
            return 2 * n

        with pytest.raises(InvalidArguments) as refusal:
            double.parse(arguments)
        assert told in str(refusal.value)
        assert str(refusal.value).startswith("The arguments of double are not valid: ")

    async def test_a_default_that_can_change_is_new_for_each_call(self) -> None:
        @tool
        async def collect(items: list[int] = []) -> list[int]:  # noqa: B006
            items.append(1)
            return items

        assert await call(collect) == await call(collect) == "[1]"


class TestResults:
    @pytest.mark.parametrize(
        ("result", "told"),
        [
            ("verbatim: ü\n\"'", "verbatim: ü\n\"'"),
            ("", ""),
            (None, "null"),
            (3, "3"),
            (True, "true"),
            ([1, "a"], '[1,"a"]'),
            ({"a": {"b": None}}, '{"a":{"b":null}}'),
            ({"ü": 1.5}, '{"ü":1.5}'),
            (Address(street="A", zip="1"), '{"street":"A","zip":"1"}'),
            ([Item("x")], '[{"name":"x","count":1}]'),
            (date(2026, 1, 2), '"2026-01-02"'),
            (Size.LARGE, "large"),
            ((1, 2), "[1,2]"),
            (Pair(1, 2), "[1,2]"),
            ({3}, "[3]"),
            (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), '"2026-01-02T03:04:05.000006Z"'),
            (timedelta(days=1.5), '"P1DT12H"'),
            (Decimal("1.10"), '"1.10"'),
            (UUID(int=3), '"00000000-0000-0000-0000-000000000003"'),
            (Path("a") / "b", '"a/b"'),
            (10**30, "1000000000000000000000000000000"),
            (b"ASCII", '"ASCII"'),
            ({1: "one", date(2026, 1, 2): "two"}, '{"1":"one","2026-01-02":"two"}'),
        ],
    )
    async def test_a_text_is_told_verbatim_and_anything_else_as_json(self, result: Any, told: str) -> None:
        @tool
        async def answer() -> Any:
            return result

        @tool
        def answer_from_a_thread() -> Any:
            return result

        assert await call(answer) == told
        assert await call(answer_from_a_thread) == told

    async def test_numbers_that_json_cannot_write_become_null(self) -> None:
        @tool
        async def answer() -> list[float]:
            return [float("nan"), float("inf"), 1.0]

        assert json.loads(await call(answer)) == [None, None, 1.0]

    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            (object(), "object is no JSON type"),
            ({"deep": [object()]}, "object is no JSON type"),
            (b"\xff\xfe", "invalid utf-8"),
            (["\ud800"], "can't encode character"),
        ],
    )
    async def test_a_result_that_cannot_be_told_is_an_error_that_says_what_it_is(
        self, result: object, reason: str
    ) -> None:
        @tool
        async def answer() -> Any:
            return result

        with pytest.raises(ToolError, match=f"^answer has done its work, but its result cannot .* JSON: .*{reason}"):
            await call(answer)

    async def test_a_circle_is_such_an_error_too(self) -> None:
        circle: list[Any] = []
        circle.append(circle)

        @tool
        async def answer() -> Any:
            return circle

        with pytest.raises(ToolError, match="JSON: Circular reference"):
            await call(answer)


class TestThreads:
    async def test_a_function_that_is_not_async_does_not_hold_up_the_event_loop(self) -> None:
        proceed = threading.Event()

        @tool
        def wait() -> str:
            assert proceed.wait(5)
            return threading.current_thread().name

        waiting = asyncio.create_task(call(wait))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        proceed.set()
        assert "wait" in await waiting

    async def test_what_it_raises_arrives(self) -> None:
        @tool
        def fail() -> str:
            raise ToolError("no")

        with pytest.raises(ToolError, match=r"^no$"):
            await call(fail)

    async def test_running_out_of_an_iterator_is_an_error_like_any_other(self) -> None:
        @tool
        def first() -> str:
            return next(iter([]))

        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(call(first), 2)

    async def test_an_async_function_behind_a_plain_one_is_awaited(self) -> None:
        async def really(n: int) -> int:
            return n + 1

        def plain(n: int) -> Any:
            return really(n)

        assert await call(make_tool(plain), '{"n": 1}') == "2"

    async def test_context_variables_reach_the_thread(self) -> None:
        import contextvars

        variable = contextvars.ContextVar("variable", default="none")
        variable.set("set")

        @tool
        def look() -> str:
            return variable.get()

        assert await call(look) == "set"
