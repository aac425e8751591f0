"""The request of a recorded model call, made again from the log: byte for byte what the model was sent."""

from collections.abc import Callable, Sequence

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, RetryPolicy, ScriptedModel, Summarize, Trim, tool
from ledgent.agent.models.port import AskedTool, Delta, ModelReply, ModelRequest
from ledgent.agent.models.scripted import Turn
from ledgent.agent.rebuild import rebuilt_request
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ModelCallStarted
from tests.agent.recorded import events_of, go


class Listening(ScriptedModel):
    """Keeps what it is sent."""

    def __init__(self, turns: Sequence[Turn], context_window: int | None = None) -> None:
        super().__init__(turns, retry=RetryPolicy(first_s=0.001), context_window=context_window)
        self.sent: list[bytes] = []

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        self.sent.append(request.body)
        return await super().complete(request, on_delta, on_call)


@tool
async def look(what: str) -> str:
    """Looks."""
    return f"{what}: nothing “ü”"


async def looked(log: MemoryLog) -> tuple[str, list[bytes]]:
    """A run whose second call was made twice, and all that the model was sent."""
    turns = [Call("look", what="a"), Attempts(Fail("rate_limited"), [Call("look", what="b")]), "done"]
    model = Listening(turns)
    result = await go(Agent("looker", model, "Look.", tools=[look]), log)
    return result.run_id, model.sent


async def test_each_request_is_rebuilt_byte_for_byte(log: MemoryLog) -> None:
    run_id, sent = await looked(log)
    assert len(sent) == 4
    for call, body in zip(("m1", "m2/1", "m2/2", "m3"), sent, strict=True):
        rebuilt = rebuilt_request(run_id, log.records(run_id), call)
        assert rebuilt.ok
        assert rebuilt.body == body
        assert call in (rebuilt.call_id, f"{rebuilt.call_id}/{rebuilt.attempt}")


async def test_without_an_attempt_the_last_one_is_meant(log: MemoryLog) -> None:
    run_id, _ = await looked(log)
    last = rebuilt_request(run_id, log.records(run_id), "m2/2")
    assert rebuilt_request(run_id, log.records(run_id), "m2") == last


@pytest.mark.parametrize("policy", [Summarize(), Trim()])
async def test_what_was_sent_of_a_long_conversation_is_rebuilt(log: MemoryLog, policy: Summarize | Trim) -> None:
    model = Listening([*[Call("look", what=f"{turn}: {'words ' * 40}") for turn in range(8)], "done"], 500)
    result = await go(Agent("looker", model, "Look.", tools=[look], context=policy), log)
    asked = events_of(log, result.run_id, ModelCallStarted)
    assert (len(asked) > 9) == isinstance(policy, Summarize), "there are calls for summaries, or there are none"
    for event, body in zip(asked, model.sent, strict=True):
        rebuilt = rebuilt_request(result.run_id, log.records(result.run_id), f"{event.call_id}/{event.attempt}")
        assert (rebuilt.ok, rebuilt.body) == (True, body)


@pytest.mark.parametrize("call", ["m4", "m2/3", "m", "", "m1.t0"])
async def test_a_call_that_is_not_there_is_said_so(log: MemoryLog, call: str) -> None:
    run_id, _ = await looked(log)
    with pytest.raises(UsageError, match="m1 to m3"):
        rebuilt_request(run_id, log.records(run_id), call)
