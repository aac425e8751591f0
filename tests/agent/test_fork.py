"""Runs that begin as another one stood: what they take over, where that can be, and what verification makes of it."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from ledgent.agent import Agent, Call, Limits, ScriptedModel, ToolContext, ask_user, tool
from ledgent.agent.commands import Record
from ledgent.agent.decide import decide
from ledgent.agent.fork import MOST_BYTES, shared_at
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import send_message, start_run
from ledgent.schemas.errors import ErrorCode, UnknownRun, UsageError
from ledgent.schemas.events import AnyEvent, HistoryShared, ModelCallStarted, RunFailed, RunStarted, RunSuspended
from ledgent.schemas.ports import Log
from ledgent.schemas.run import replay
from ledgent.schemas.state import Assistant, Status, ToolResult, User
from ledgent.schemas.values import ForkedFrom
from tests.agent.recorded import check_run, events_of, only, records_of, state_of, types_of
from tests.agent.test_verify import rewritten
from tests.schemas.chain import SPEC, Chain

E = TypeVar("E", bound=AnyEvent)
calls: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    calls.clear()


@tool
async def look(what: str, context: ToolContext) -> str:
    """Looks."""
    calls.append(what)
    context.checkpoint(f"looked-{what}")
    return f"{what}: nothing"


TURNS = [[Call("look", what="a"), Call("look", what="b")], Call("look", what="c"), "Nothing anywhere."]


def looker(*turns: Any, **options: Any) -> Agent:
    return Agent("looker", ScriptedModel(turns or TURNS), tools=[look], **options)


async def recorded_run(log: Log, agent: Agent | None = None, **options: Any) -> str:
    return (await (agent or looker()).run("go", log=log, **options)).run_id


def seq_of(log: Log, run_id: str, type: str, nth: int = 0) -> int:
    return [record.seq for record in records_of(log, run_id) if record.event.type == type][nth]


async def test_a_new_run_goes_on_from_what_the_other_was(log: MemoryLog) -> None:
    parent = await recorded_run(log, labels={"team": "blue"}, session="s", limits=Limits(tokens=9_000))
    before = [stored.body for stored in log.records(parent)]
    calls.clear()
    seq = seq_of(log, parent, "tool_call.completed", 1)
    result = await looker().restore(parent, at=seq, log=log, labels={"try": "2"})
    assert (result.status, result.output, calls) == (Status.COMPLETED, "Nothing anywhere.", ["c"])
    assert result.run_id != parent
    started = only(log, result.run_id, RunStarted)
    assert started.forked_from == ForkedFrom(
        run_id=parent, seq=seq, digest=records_of(log, parent)[seq - 1].digest, messages=4, model_calls=1
    )
    assert (started.labels, started.session, started.limits.tokens) == ({"team": "blue", "try": "2"}, "s", 9_000)
    assert (result.spent.steps, result.spent.tool_calls) == (2, 1)
    assert [event.call_id for event in events_of(log, result.run_id, ModelCallStarted)] == ["m2", "m3"]
    asked = [only_digest(log, run, "m2") for run in (parent, result.run_id)]
    assert asked[0] == asked[1], "the model is asked exactly what it was asked"
    assert list(state_of(log, result.run_id).messages) == list(state_of(log, parent).messages)
    assert [stored.body for stored in log.records(parent)] == before
    check_run(log, result.run_id)


def only_digest(log: Log, run_id: str, call_id: str) -> str:
    (found,) = {event.request_digest for event in events_of(log, run_id, ModelCallStarted) if event.call_id == call_id}
    return found


async def test_a_run_folds_from_its_own_records_alone(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    run_id = (await looker().restore(parent, at="looked-c", log=log)).run_id
    alone = MemoryLog()
    await alone.append(list(log.records(run_id)))
    assert replay(run_id, alone.records(run_id)).state == state_of(log, run_id)
    assert verify(alone, run_id).ok


@pytest.mark.parametrize("name", ["looked-a", "looked-b"])
async def test_a_checkpoint_among_calls_means_when_they_have_settled(log: MemoryLog, name: str) -> None:
    parent = await recorded_run(log)
    assert shared_at(log, parent, name).forked_from.seq == seq_of(log, parent, "tool_call.completed", 1)


async def test_every_point_between_calls_will_do_and_no_other(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    possible = []
    for seq in range(1, len(records_of(log, parent)) + 1):
        with contextlib.suppress(UsageError):
            possible.append(shared_at(log, parent, seq).forked_from.seq)
    kinds = types_of(log, parent)
    settled = [seq_of(log, parent, "tool_call.completed", nth) for nth in (1, 2)]
    expected = [
        seq
        for seq, kind in enumerate(kinds, 1)
        if kind in ("run.started", "model_call.started", "run.completed") or seq in (*settled, len(kinds) - 1)
    ]
    assert possible == expected


async def test_the_nearest_points_are_named(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    begun, settled = seq_of(log, parent, "model_call.started"), seq_of(log, parent, "tool_call.completed", 1)
    with pytest.raises(UsageError, match=f"it can be restored at {begun} or {settled}$"):
        await looker().restore(parent, at=seq_of(log, parent, "tool_call.started"), log=log)
    with pytest.raises(UsageError, match=r"it can be restored at 2$"):
        await looker().restore(parent, at=1, log=log)


async def test_what_cannot_be_is_refused(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    count = len(records_of(log, parent))
    with pytest.raises(UsageError, match=f"has records 1 to {count}, and none numbered {count + 1}"):
        await looker().restore(parent, at=count + 1, log=log)
    with pytest.raises(UsageError, match="has no checkpoint 'there': looked-a, looked-b, looked-c"):
        await looker().restore(parent, at="there", log=log)
    with pytest.raises(UsageError, match="it needs an input to go on from there"):
        await looker().restore(parent, at=count, log=log)
    with pytest.raises(UsageError, match="is one of agent looker, not of other"):
        await Agent("other", ScriptedModel(["x"])).restore(parent, at=2, log=log)
    with pytest.raises(UnknownRun):
        await looker().restore("nothing", at=2, log=log)
    assert list(log.run_ids()) == [parent]


async def test_calls_that_never_settled_cannot_be_shared(log: MemoryLog) -> None:
    agent = Agent(
        "looker", ScriptedModel([[Call("look", what="a"), Call("ask_user", question="?")]]), tools=[look, ask_user]
    )
    parent = await recorded_run(log, agent)
    begun = seq_of(log, parent, "model_call.started")
    with pytest.raises(UsageError, match=f"it can be restored at {begun}$"):
        await agent.restore(parent, at="looked-a", log=log)


async def test_a_model_call_under_way_is_made_anew(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    result = await looker().restore(parent, at=seq_of(log, parent, "model_call.started", 1), log=log)
    assert [event.call_id for event in events_of(log, result.run_id, ModelCallStarted)] == ["m2", "m3"]
    assert only_digest(log, parent, "m2") == only_digest(log, result.run_id, "m2")


async def test_a_run_that_had_answered_goes_on_with_another_question(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    agent = looker(*TURNS, "Really nothing.")
    result = await agent.restore(parent, at=len(records_of(log, parent)), input="Sure?", log=log)
    assert result.output == "Really nothing."
    said = list(state_of(log, result.run_id).messages)
    assert said[-2:] == [User("Sure?"), Assistant("Really nothing.", ())]
    assert said[:-2] == list(state_of(log, parent).messages)
    check_run(log, result.run_id)


async def test_a_conversation_waits_as_the_other_did(log: MemoryLog) -> None:
    agent = looker("one", "two", "three", conversational=True)
    async with agent.conversation(log=log) as chat:
        for text in ("a", "b"):
            await chat.send(text)
    answered = seq_of(log, chat.run_id, "model_call.completed")
    result = await agent.restore(chat.run_id, at=answered, log=log)
    assert (result.status, result.output, result.waits_for) == (Status.SUSPENDED, "one", "input")
    await send_message(log, result.run_id, "c")
    await Worker(log, {"looker": agent}).work(until_idle=True)
    texts = [message.text for message in state_of(log, result.run_id).messages]
    assert texts == ["a", "one", "c", "two"]
    check_run(log, result.run_id)


async def test_an_empty_conversation_is_shared_too(log: MemoryLog) -> None:
    agent = looker("one", conversational=True)
    parent = (await agent.run(None, log=log)).run_id
    result = await agent.restore(parent, at=2, input="hello", log=log)
    assert [message.text for message in state_of(log, result.run_id).messages] == ["hello", "one"]
    assert not events_of(log, result.run_id, HistoryShared)
    check_run(log, result.run_id)


async def test_what_the_answer_was_counts_beside_what_was_written(log: MemoryLog) -> None:
    agent = looker("Thought: hm\nFinal Answer: 42", "no", policy="react", text_protocol=True, conversational=True)
    parent = (await agent.run("go", log=log)).run_id
    result = await agent.restore(parent, at=len(records_of(log, parent)), log=log)
    assert (result.output, only(log, result.run_id, HistoryShared).output) == ("42", "42")
    check_run(log, result.run_id)


async def test_a_restored_run_can_be_restored(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    child = (await looker().restore(parent, at="looked-a", log=log)).run_id
    grandchild = (await looker().restore(child, at="looked-c", log=log)).run_id
    assert [event.call_id for event in events_of(log, grandchild, ModelCallStarted)] == ["m3"]
    assert list(state_of(log, grandchild).messages) == list(state_of(log, parent).messages)
    check_run(log, grandchild)
    with pytest.raises(UsageError, match=r"it can be restored at 3$"):
        shared_at(log, child, 2)


async def test_an_answer_whose_thought_is_not_recorded_yet_is_no_point(log: MemoryLog) -> None:
    agent = looker("Thought: hm\nFinal Answer: 42", policy="react", text_protocol=True)
    parent = await recorded_run(log, agent)
    thought = seq_of(log, parent, "thought.recorded")
    with pytest.raises(UsageError, match=f"it can be restored at {thought - 2} or {thought}$"):
        shared_at(log, parent, thought - 1)


async def test_a_long_history_takes_several_records(log: MemoryLog) -> None:
    @tool(max_result_chars=200_000)
    async def read() -> str:
        """Reads."""
        return "x" * 200_000

    agent = Agent("reader", ScriptedModel([[Call("read")] * 7, "done"]), tools=[read])
    parent = (await agent.run("go", log=log)).run_id
    seq = seq_of(log, parent, "tool_call.completed", 6)
    run_id = (await agent.restore(parent, at=seq, log=log)).run_id
    parts = events_of(log, run_id, HistoryShared)
    assert [len(part.messages) for part in parts] == [4, 2, 2, 1]
    assert all(len(part.model_dump_json()) < MOST_BYTES + 100 for part in parts)
    assert len([m for m in state_of(log, run_id).messages if isinstance(m, ToolResult)]) == 7
    check_run(log, run_id)


async def test_a_worker_restores_what_it_is_asked_to(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    shared = shared_at(log, parent, "looked-b")
    run_id = await start_run(log, "looker", None, forked_from=shared.forked_from)
    other = shared.forked_from.model_copy(update={"digest": "0" * 64})
    wrong = await start_run(log, "looker", None, forked_from=other)
    gone = await start_run(log, "looker", None, forked_from=other.model_copy(update={"run_id": "gone"}))
    calls.clear()
    await Worker(log, {"looker": looker()}).work(until_idle=True)
    assert (state_of(log, run_id).output, calls) == ("Nothing anywhere.", ["c"])
    check_run(log, run_id)
    for refused in (wrong, gone):
        error = only(log, refused, RunFailed).error
        assert error.code is ErrorCode.INVALID_REQUEST
        check_run(log, refused)


async def test_a_run_whose_beginning_was_cut_short_fails(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    whole = (await looker().restore(parent, at="looked-a", log=log)).run_id
    cut = Chain("cut")
    cut.claim()
    cut.add(only(log, whole, RunStarted), cause=1)
    state = replay("cut", cut.records).state
    assert (state.awaited, decide(state)) == (4, ())
    cut.claim("host/2")
    (command,) = decide(replay("cut", cut.records).state)
    assert isinstance(command, Record)
    cut.add(command.event, cause=3)
    assert isinstance(command.event, RunFailed)
    assert command.event.error.code is ErrorCode.INTERRUPTED
    assert "restore it again" in command.event.error.message
    await log.append(cut.records)
    assert verify(log, "cut").ok


class TestVerification:
    async def forged(self, log: MemoryLog, cls: type[E], forge: Callable[[E], E]) -> tuple[str, int, str]:
        """What is found of a restored run whose event of this class is another."""
        parent = await recorded_run(log)
        run_id = (await looker().restore(parent, at="looked-a", log=log)).run_id
        record = next(record for record in records_of(log, run_id) if isinstance(record.event, cls))
        assert isinstance(record.event, cls)
        other = await rewritten(log, run_id, seq=record.seq, event=forge(record.event))
        await other.append(list(log.records(parent)))
        certificate = verify(other, run_id)
        assert certificate.seq is not None
        return certificate.verdict, certificate.seq - record.seq, certificate.reason or ""

    @pytest.mark.parametrize("wrong", [{"seq": 3}, {"digest": "0" * 64}, {"messages": 3}, {"model_calls": 7}])
    async def test_an_origin_that_is_not_so_is_named(self, log: MemoryLog, wrong: dict[str, Any]) -> None:
        def forge(started: RunStarted) -> RunStarted:
            assert started.forked_from is not None
            return started.model_copy(update={"forked_from": started.forked_from.model_copy(update=wrong)})

        verdict, distance, reason = await self.forged(log, RunStarted, forge)
        assert (verdict, distance) == ("diverged", 0)
        assert "what this run says that it went on from" in reason

    async def test_an_origin_in_the_middle_of_calls_is_named(self, log: MemoryLog) -> None:
        def forge(started: RunStarted) -> RunStarted:
            assert started.forked_from is not None
            return started.model_copy(update={"forked_from": started.forked_from.model_copy(update={"seq": 5})})

        verdict, distance, reason = await self.forged(log, RunStarted, forge)
        assert (verdict, distance) == ("diverged", 0)
        assert "it cannot have gone on from there" in reason

    async def test_messages_that_were_not_said_are_named(self, log: MemoryLog) -> None:
        def other_text(event: HistoryShared) -> HistoryShared:
            first = event.messages[0].model_copy(update={"text": "stop"})
            return event.model_copy(update={"messages": (first, *event.messages[1:])})

        for forge in (other_text, lambda event: event.model_copy(update={"output": "?"})):
            verdict, distance, reason = await self.forged(log, HistoryShared, forge)
            assert (verdict, distance) == ("diverged", 0)
            assert "these are not the messages of run" in reason

    async def test_messages_that_nobody_waits_for_are_named(self, log: MemoryLog) -> None:
        parent = await recorded_run(log)
        (event,) = shared_at(log, parent, "looked-a").events
        chain = Chain()
        chain.claim()
        chain.start(None, SPEC.model_copy(update={"conversational": True}))
        chain.add(RunSuspended(reason="input"), cause=2)
        chain.add(event, cause=2)
        other = MemoryLog()
        await other.append(chain.records)
        certificate = verify(other, chain.run_id)
        assert (certificate.verdict, certificate.seq) == ("diverged", 4)


def test_without_async(log: MemoryLog) -> None:
    parent = looker().run_sync("go", log=log).run_id
    assert looker().restore_sync(parent, at="looked-c", log=log).output == "Nothing anywhere."
    calls.clear()
    forked = looker().fork_sync(parent, at="looked-a", log=log)
    assert (forked.output, calls) == ("Nothing anywhere.", [])


async def test_another_model_may_go_on(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    other = looker().but(model=ScriptedModel(["", "", "Ask somebody else."], name="other"))
    result = await other.restore(parent, at="looked-c", log=log)
    assert result.output == "Ask somebody else."
    assert only(log, result.run_id, RunStarted).agent.model.name == "other"
    check_run(log, result.run_id)
