"""A scripted model behind an OpenAI-compatible door: asked by our own client and by the openai SDK."""

from pathlib import Path

import openai
import pytest

from ledgent.agent import Agent, Faults, OpenAIModel, RetryPolicy, tool
from ledgent.agent.faults import KINDS
from ledgent.agent.models.port import ModelFailure
from ledgent.dashboard.model_server import ModelServer, scripted
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ModelCallFailed
from tests.agent.openai_calls import a_request
from tests.agent.recorded import events_of, go

SCRIPT = """[
    [{"call": "add", "arguments": {"a": 1, "b": 2}}, {"call": "add", "arguments": {"a": 3, "b": 4}}],
    {"text": "one more", "calls": [{"call": "add", "arguments": {"a": 3, "b": 7}}]},
    "It is ten."
]"""


@tool
def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_agent_is_served_its_script_turn_by_turn(tmp_path: Path, stream: bool) -> None:
    (tmp_path / "script.json").write_text(SCRIPT)
    log = MemoryLog()
    async with ModelServer(scripted(tmp_path / "script.json")).listening() as address:
        model = OpenAIModel("any", base_url=address, api_key="none", stream=stream)
        result = await go(Agent("sums", model, tools=[add]), log)
        await model.aclose()
    assert (result.output, result.spent.steps, result.spent.tool_calls) == ("It is ten.", 3, 3)
    assert result.spent.tokens > 0


async def test_the_sdk_of_others_is_served_too() -> None:
    async with (
        ModelServer(scripted(None)).listening() as address,
        openai.AsyncOpenAI(base_url=address, api_key="none") as client,
    ):
        answer = await client.chat.completions.create(model="x", messages=[{"role": "user", "content": "hé you"}])
        assert answer.choices[0].message.content == "hé you"
        pieces = await client.chat.completions.create(
            model="x", messages=[{"role": "user", "content": "a b  c"}], stream=True
        )
        said = [chunk.choices[0].delta.content or "" async for chunk in pieces if chunk.choices]
        assert "".join(said) == "a b  c"
        assert len(said) > 3
        assert [model.id async for model in client.models.list()] == ["echo"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("hang", "lost", "tool_error")])
async def test_each_kind_of_fault_comes_over_the_wire_as_what_it_is(kind: str) -> None:
    async with ModelServer(Faults(1.0, [kind]).model(scripted(None))).listening() as address:
        model = OpenAIModel("x", base_url=address, api_key="none")
        with pytest.raises(ModelFailure) as failed:
            await model.complete(a_request())
        await model.aclose()
    assert failed.value.error.code == kind
    assert failed.value.error.retry_after_s == (0.5 if kind == "rate_limited" else None)


async def test_a_run_gets_through_a_bad_day_of_its_server(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(SCRIPT)
    faults, log = Faults(0.5, ["server_error", "connection", "malformed_response"], seed=1), MemoryLog()
    async with ModelServer(faults.model(scripted(tmp_path / "script.json"))).listening() as address:
        model = OpenAIModel("x", base_url=address, api_key="none", retry=RetryPolicy(attempts=12))
        result = await go(Agent("sums", model, tools=[add]), log)
        await model.aclose()
    assert result.output == "It is ten."
    assert events_of(log, result.run_id, ModelCallFailed)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is no list of turns"),
        ("[1]", "turn 1 is none"),
        ('["a", {"calls": 1}]', "turn 2 is none"),
        ('[{"fail": "nonsense"}]', "no such code"),
        ('[[{"cal": "add"}]]', "turn 1 is none"),
    ],
)
def test_a_script_that_is_none_is_told(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "script.json").write_text(script)
    with pytest.raises(UsageError, match=said):
        scripted(tmp_path / "script.json")
