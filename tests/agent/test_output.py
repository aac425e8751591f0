"""Answers of a type: validated, sent back with what is wrong, a bounded number of times, each an event."""

from datetime import date
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, field_validator

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.agent.models.port import ModelReply, ModelRequest
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import OutputAccepted, OutputRejected, RunFailed
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, only, state_of, types_of


class Receipt(BaseModel):
    """What was paid."""

    shop: str
    usd: float
    on: date

    @field_validator("usd")
    @classmethod
    def something_was_paid(cls, usd: float) -> float:
        if usd <= 0:
            raise ValueError("nothing was paid")
        return usd


GOOD = '{"shop": "Velo", "usd": 89, "on": "2026-11-20"}'
VELO = Receipt(shop="Velo", usd=89, on=date(2026, 11, 20))


def clerk(*turns: Any, **options: Any) -> Agent:
    return Agent("clerk", ScriptedModel(turns), **{"output": Receipt, **options})


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"\n {GOOD}\n",
        f"Here {{it}} is:\n```json\n{GOOD}\n```\nAnything {{else}}?",
        f"```\n{GOOD}\n```",
        f"The receipt is {GOOD}, as you asked.",
    ],
    ids=["alone", "with blanks", "fenced", "fenced without a name", "in a sentence"],
)
async def test_an_answer_of_the_type_is_its_value(log: MemoryLog, answer: str) -> None:
    result = await clerk(answer).run("read it", log=log)
    assert (result.status, result.value) == (Status.COMPLETED, VELO)
    assert result.output == only(log, result.run_id, OutputAccepted).output == VELO.model_dump_json()
    assert types_of(log, result.run_id)[-2:] == ["output.accepted", "run.completed"]
    assert verify(log, result.run_id).ok


async def test_any_other_goes_back_to_the_model_with_what_is_wrong(log: MemoryLog) -> None:
    seen: list[Any] = []

    class Listening(ScriptedModel):
        async def complete(self, request: ModelRequest, on_delta: Any = None, on_call: Any = None) -> ModelReply:
            seen.append(orjson.loads(request.body))
            return await super().complete(request, on_delta, on_call)

    turns = ["I cannot read it.", '{"shop": "Velo", "usd": 0, "on": "yesterday"}', GOOD]
    result = await clerk().but(model=Listening(turns)).run("read it", log=log)
    assert result.value == VELO
    first, second = events_of(log, result.run_id, OutputRejected)
    assert (first.attempt, second.attempt) == (1, 2)
    assert "Invalid JSON" in first.message
    assert "usd: Value error, nothing was paid" in second.message
    assert "on: Input should be a valid date" in second.message
    assert seen[2]["messages"][-1] == {"role": "user", "content": second.message}
    format = seen[0]["response_format"]
    assert format["type"] == "json_schema"
    assert format["json_schema"]["name"] == "Receipt"
    assert set(format["json_schema"]["schema"]["properties"]) == {"shop", "usd", "on"}
    assert verify(log, result.run_id).ok


class Basket(BaseModel):
    """What was bought."""

    items: list[int]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"items": [1, "x"]}', "items.1: Input should be a valid integer"),
        ('There you are: {"items": 1}', "items: Input should be a valid array"),
        ('I have them:\n```json\n{"items": [1, 2,],}\n```\n', "trailing comma at line 1 column 17"),
        ('Here {it} is:\n```json\n{"items": 1}\n```', "items: Input should be a valid array"),
        ('All of [this] here: {"items": [1]', "Invalid JSON"),
        ('{"items": [1], "more": [2', "EOF while parsing"),
    ],
    ids=["a part of it", "in a sentence", "a comma too many", "fenced among brackets", "among brackets", "cut short"],
)
async def test_it_is_told_what_is_wrong_with_its_json_and_nothing_is_guessed(
    log: MemoryLog, answer: str, told: str
) -> None:
    result = await clerk(answer, '{"items": [3]}', output=Basket).run("read it", log=log)
    assert told in only(log, result.run_id, OutputRejected).message
    assert result.value == Basket(items=[3])


async def test_a_list_inside_of_broken_json_is_not_the_answer(log: MemoryLog) -> None:
    result = await clerk('{"kept": [1, 2], "dropped": [3],}', "[4]", output=list[int]).run("read it", log=log)
    assert result.value == [4]
    assert len(events_of(log, result.run_id, OutputRejected)) == 1


class Step(BaseModel):
    """A condition on the way from one state to another."""

    condition: str
    quality: float


async def test_a_deduction_in_parts_comes_back_as_they_nest(log: MemoryLog) -> None:
    answer = '{"from A": [{"condition": "it is dry", "quality": 0.5}], "from B": []}'
    result = await clerk(answer, output=dict[str, list[Step]]).run("go", log=log)
    assert result.value == {"from A": [Step(condition="it is dry", quality=0.5)], "from B": []}


async def test_after_so_many_in_a_row_the_run_fails(log: MemoryLog) -> None:
    result = await clerk("no", "no", GOOD, output_attempts=2).run("read it", log=log)
    assert (result.status, result.value) == (Status.FAILED, None)
    assert only(log, result.run_id, RunFailed).error.code is ErrorCode.INVALID_OUTPUT
    assert len(events_of(log, result.run_id, OutputRejected)) == result.spent.steps == 2
    assert verify(log, result.run_id).ok


async def test_tools_come_before_the_answer(log: MemoryLog) -> None:
    @tool
    async def scan() -> str:
        return "Velo 89"

    result = await clerk(Call("scan"), GOOD, tools=[scan]).run("read it", log=log)
    assert result.value == VELO


async def test_each_answer_of_a_conversation_is_of_the_type(log: MemoryLog) -> None:
    agent = clerk("no", GOOD, "no", "no", GOOD, conversational=True)
    async with agent.conversation(log=log) as chat:
        assert (await chat.send("read it")).value == VELO
        assert (await chat.send("again")).value == VELO
    assert [event.attempt for event in events_of(log, chat.run_id, OutputRejected)] == [1, 1, 2]
    assert verify(log, chat.run_id).ok


async def test_a_worker_checks_it_as_well(log: MemoryLog) -> None:
    agent = clerk("no", GOOD)
    run_id = await agent.submit("read it", log=log)
    await Worker(log, {"clerk": agent}).work(until_idle=True)
    assert state_of(log, run_id).output == VELO.model_dump_json()


@pytest.mark.parametrize(("type", "answer", "value"), [(list[int], "[1, 2]", [1, 2]), (bool, "true", True)])
async def test_any_type_with_a_schema_will_do(log: MemoryLog, type: Any, answer: str, value: Any) -> None:
    assert (await clerk(answer, output=type).run("go", log=log)).value == value


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(UsageError, match="no JSON Schema"):
        clerk(GOOD, output=object())
