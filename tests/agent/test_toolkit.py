"""A class whose methods are tools: they share the object, and may be prefixed, inherited and replaced."""

import asyncio

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, Toolkit, tool
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ToolCallCompleted, ToolCallRejected
from tests.agent.recorded import events_of, go


class Shop(Toolkit):
    def __init__(self, stock: dict[str, int]) -> None:
        self.stock = stock
        self.asked = 0

    @tool(idempotent=True)
    def count(self, item: str) -> int:
        """How many there are.

        Args:
            item: Its name.
        """
        return self.stock[item]

    @tool(concurrency=1)
    async def sell(self, item: str, context: ToolContext, number: int = 1) -> str:
        """Sells some."""
        before = self.stock[item]
        await asyncio.sleep(0.001)
        self.stock[item] = before - number
        return context.call_id

    @property
    def audit(self) -> str:
        raise AssertionError("a property is not looked at")

    def restock(self) -> None:
        """Not a tool."""


class Bakery(Shop):
    prefix = "bakery_"

    @tool
    async def count(self, item: str) -> str:
        """How many loaves there are."""
        return f"{super().count(item)} loaves"

    @staticmethod
    @tool
    async def hours() -> str:
        """When it is open."""
        return "from six"


def results(log: MemoryLog, run_id: str) -> list[str]:
    return [event.result for event in events_of(log, run_id, ToolCallCompleted)]


class TestToolkit:
    async def test_its_tools_share_the_object(self, log: MemoryLog) -> None:
        shop = Shop({"tea": 9})
        calls = [[Call("sell", item="tea", number=2)], [Call("count", item="tea")], "done"]
        result = await go(Agent("clerk", ScriptedModel(calls), tools=[shop]), log)
        assert results(log, result.run_id) == ["m1.t0", "7"]
        assert shop.stock == {"tea": 7}

    def test_the_model_is_told_nothing_of_self(self) -> None:
        count, sell = Shop({}).tools
        assert (count.spec.name, count.spec.description, count.spec.idempotent) == (
            "count",
            "How many there are.",
            True,
        )
        assert count.spec.parameters == {
            "type": "object",
            "properties": {"item": {"type": "string", "description": "Its name."}},
            "required": ["item"],
        }
        assert list(sell.spec.parameters["properties"]) == ["item", "number"]  # type: ignore[arg-type]

    async def test_it_may_be_spread_among_other_tools(self, log: MemoryLog) -> None:
        @tool
        async def look() -> str:
            return "seen"

        agent = Agent("clerk", ScriptedModel([[Call("look"), Call("count", item="tea")], "done"]), tools=[])
        result = await go(agent.but(tools=[look, *Shop({"tea": 3}).tools]), log)
        assert sorted(results(log, result.run_id)) == ["3", "seen"]

    async def test_two_objects_of_a_class_stay_apart_under_their_prefixes(self, log: MemoryLog) -> None:
        here, there = Shop({"tea": 1}), Shop({"tea": 2})
        there.prefix = "other_"
        calls = [[Call("count", item="tea")], [Call("other_count", item="tea")], "done"]
        result = await go(Agent("clerk", ScriptedModel(calls), tools=[here, there]), log)
        assert results(log, result.run_id) == ["1", "2"]

    async def test_wrong_arguments_are_refused_under_the_prefixed_name(self, log: MemoryLog) -> None:
        model = ScriptedModel([[Call("bakery_count")], "done"])
        result = await go(Agent("clerk", model, tools=[Bakery({})]), log)
        assert events_of(log, result.run_id, ToolCallRejected)[0].message.startswith(
            "The arguments of bakery_count are not valid: item: Field required."
        )

    async def test_a_subclass_inherits_and_replaces(self, log: MemoryLog) -> None:
        bakery = Bakery({"rye": 4})
        assert [made.spec.name for made in bakery.tools] == ["bakery_count", "bakery_sell", "bakery_hours"]
        calls = [[Call("bakery_sell", item="rye")], [Call("bakery_count", item="rye"), Call("bakery_hours")], "done"]
        result = await go(Agent("clerk", ScriptedModel(calls), tools=[bakery]), log)
        assert sorted(results(log, result.run_id)) == ["3 loaves", "from six", "m1.t0"]

    async def test_places_are_shared_however_often_its_tools_are_asked_for(self, log: MemoryLog) -> None:
        shop = Shop({"tea": 9})
        shop.prefix = "x_"
        calls = [[Call("x_sell", item="tea")], "done"]
        one, other = (Agent("clerk", ScriptedModel(calls), tools=[shop]) for _ in range(2))
        await asyncio.gather(go(one, log), go(other, log))
        assert shop.stock == {"tea": 7}  # had the two overlapped, one sale would be lost

    def test_its_methods_are_still_methods(self) -> None:
        assert Shop({"tea": 5}).count("tea") == 5
        assert Shop({"tea": 5}).count is not Shop({"tea": 5}).count

    def test_a_method_without_its_object_is_refused(self) -> None:
        with pytest.raises(UsageError, match="tool count is a method: pass an object of Shop, or its count"):
            Agent("clerk", ScriptedModel(["done"]), tools=[Shop.count])

    async def test_any_objects_method_may_be_a_tool(self, log: MemoryLog) -> None:
        class Desk:
            bell = "ring"

            @tool
            def ring(self, times: int) -> str:
                return self.bell * times

        result = await go(Agent("clerk", ScriptedModel([Call("ring", times=2), "done"]), tools=[Desk().ring]), log)
        assert results(log, result.run_id) == ["ringring"]
