"""Forks: runs that share another's history, with something otherwise; whose calls are answered as they were there."""

from collections.abc import Callable
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, ScriptedModel, ToolError, ask_user, tool
from ledgent.agent.fork import Changes, forked_at
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import approve_call, start_run
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import (
    HistoryShared,
    ModelCallStarted,
    RunStarted,
    ToolCallCompleted,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
)
from ledgent.schemas.ports import Log
from ledgent.schemas.run import replay
from ledgent.schemas.state import Assistant, Phase, Status, ToolResult, User
from tests.agent.recorded import check_run, events_of, only, records_of, state_of
from tests.agent.test_verify import rewritten

made: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


@tool(idempotent=True)
async def look_up(what: str) -> str:
    """Looks something up."""
    made.append(f"look_up {what}")
    return f"{what}: found {len(made)}"


@tool
async def pay(what: str, usd: int = 1) -> str:
    """Pays."""
    made.append(f"pay {what}")
    if what == "nothing":
        raise ToolError("nothing costs nothing")
    return f"paid {what}"


@tool(ends_run=True)
async def hang_up() -> str:
    """Ends it."""
    made.append("hang_up")
    return "hung up"


TURNS = (
    Call("look_up", what="a"),
    [Call("look_up", what="b"), Call("pay", what="b", usd=2)],
    Call("pay", what="c"),
    "Done.",
)


def clerk(*turns: Any, **options: Any) -> Agent:
    model = ScriptedModel(turns or TURNS, name=options.pop("model", "scripted"))
    return Agent("clerk", model, "Be brief.", tools=[look_up, pay, hang_up], **options)


async def recorded_run(log: Log, agent: Agent | None = None) -> str:
    run_id = (await (agent or clerk()).run("go", log=log)).run_id
    made.clear()
    return run_id


def outcomes(log: Log, run_id: str) -> list[str]:
    """What became of each tool call."""
    kinds = (ToolCallCompleted, ToolCallReused, ToolCallRejected)
    return [
        f"{record.event.call_id} {record.event.type.removeprefix('tool_call.')}"
        for record in records_of(log, run_id)
        if isinstance(record.event, kinds)
    ]


async def test_identical_calls_are_answered_as_they_were_and_none_is_made(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    before = list(log.records(parent))
    result = await clerk().fork(parent, at=2, log=log)
    assert (result.status, result.output, made) == (Status.COMPLETED, "Done.", [])
    assert outcomes(log, result.run_id) == ["m1.t0 reused", "m2.t0 reused", "m2.t1 reused", "m3.t0 reused"]
    reused = events_of(log, result.run_id, ToolCallReused)
    assert [event.reused_from for event in reused] == ["m1.t0", "m2.t0", "m2.t1", "m3.t0"]
    assert list(state_of(log, result.run_id).messages) == list(state_of(log, parent).messages)
    assert (result.spent.steps, result.spent.tool_calls) == (4, 0)
    assert list(log.records(parent)) == before
    asked = [
        [(event.call_id, event.request_digest) for event in events_of(log, run, ModelCallStarted)]
        for run in (parent, result.run_id)
    ]
    assert asked[0] == asked[1], "the model is asked exactly what it was asked"
    check_run(log, result.run_id)


async def test_the_same_arguments_in_another_order_are_the_same_call(log: MemoryLog) -> None:
    parent = await recorded_run(log, clerk(Call.raw("pay", '{"what": "a", "usd": 2}'), "Done."))
    other = clerk(Call.raw("pay", '{"usd":2,"what":"a"}'), "Done.")
    result = await other.fork(parent, at=2, log=log)
    assert (outcomes(log, result.run_id), made) == (["m1.t0 reused"], [])


async def test_the_first_other_call_ends_it_and_effects_are_refused(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    turns = (TURNS[0], [Call("look_up", what="x"), Call("pay", what="b", usd=2)], Call("pay", what="c"), "Done.")
    result = await clerk(*turns).fork(parent, at=2, log=log)
    assert outcomes(log, result.run_id) == ["m1.t0 reused", "m2.t1 rejected", "m2.t0 completed", "m3.t0 rejected"]
    assert made == ["look_up x"], "what has no second effect is called, what may have one is not"
    rejected = events_of(log, result.run_id, ToolCallRejected)
    assert {event.reason for event in rejected} == {"not_made_before"}
    assert all("was not made" in event.message for event in rejected)
    check_run(log, result.run_id)


@pytest.mark.parametrize(
    ("tools", "allow", "expected"),
    [
        ("recorded", ("pay",), ["look_up x", "pay y"]),
        ("recorded", ("*",), ["look_up x", "pay y"]),
        ("refused", (), []),
        ("refused", ("pay",), ["pay y"]),
        ("live", (), ["look_up a", "look_up x", "pay y"]),
    ],
)
async def test_what_is_called_is_as_asked(log: MemoryLog, tools: Any, allow: Any, expected: list[str]) -> None:
    parent = await recorded_run(log)
    other = clerk(TURNS[0], [Call("look_up", what="x")], [Call("pay", what="y")], "Done.")
    result = await other.fork(parent, at=2, log=log, tools=tools, allow=allow)
    assert made == expected
    check_run(log, result.run_id)


async def test_model_instructions_and_limits_are_others_and_are_named(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    model = ScriptedModel([TURNS[0], "Quick."], name="other")
    result = await clerk().fork(
        parent, at=2, log=log, model=model, instructions="Be quick.", limits=Limits(tokens=7_000)
    )
    started = only(log, result.run_id, RunStarted)
    assert started.forked_from is not None
    assert started.forked_from.changed == ("instructions", "model", "limits")
    assert (started.agent.model.name, started.agent.instructions) == ("other", "Be quick.")
    assert (started.limits.tokens, result.output) == (7_000, "Quick.")
    check_run(log, result.run_id)
    again = await clerk().restore(parent, at=2, log=log)
    origin = only(log, again.run_id, RunStarted).forked_from
    assert origin is not None
    assert (origin.changed, origin.tools, origin.calls) == ((), "live", 0)


async def test_messages_and_results_are_edited_and_the_rest_is_not(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    seq = next(record.seq for record in records_of(log, parent) if record.event.type == "tool_call.completed")
    result = await clerk().fork(
        parent, at=seq, log=log, messages={0: "go on"}, results={"m1.t0": "a: lost", "m3.t0": "declined"}
    )
    messages = list(state_of(log, result.run_id).messages)
    assert messages[0] == User("go on")
    there = list(state_of(log, parent).messages)
    assert (messages[1], messages[2].text) == (there[1], "a: lost")
    told = [message.text for message in messages if isinstance(message, ToolResult)]
    assert told == ["a: lost", "b: found 2", "paid b", "declined"]
    origin = only(log, result.run_id, RunStarted).forked_from
    assert origin is not None
    assert (origin.messages, origin.calls, origin.edited) == (3, 3, (0, 2, 5))
    assert made == []
    check_run(log, result.run_id)


async def test_a_further_message_comes_after_what_is_shared(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    last = len(records_of(log, parent))
    result = await clerk(*TURNS, "As you like.").fork(parent, at=last, log=log, input="And now?")
    messages = list(state_of(log, result.run_id).messages)
    assert messages[-2:] == [User("And now?"), Assistant("As you like.", ())]
    with pytest.raises(UsageError, match="it needs an input to go on from there, or an earlier point"):
        await clerk().fork(parent, at=last, log=log)


async def test_what_is_not_there_cannot_be_edited(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    with pytest.raises(UsageError, match="had 1 messages there, from 0 on, and none numbered 1"):
        await clerk().fork(parent, at=2, log=log, messages={1: "?"})
    with pytest.raises(UsageError, match=r"has no call m9.t0 to edit: m1.t0, m2.t0, m2.t1, m3.t0"):
        await clerk().fork(parent, at=2, log=log, results={"m9.t0": "?"})
    with pytest.raises(UsageError, match="tools are live, recorded or refused, not 'some'"):
        await clerk().fork(parent, at=2, log=log, tools="some")  # type: ignore[arg-type]


async def test_failures_and_the_tool_that_ends_a_run_are_repeated_too(log: MemoryLog) -> None:
    agent = clerk(Call("pay", what="nothing"), Call.raw("pay", "{"), Call("nope"), Call("hang_up"))
    parent = await recorded_run(log, agent)
    result = await agent.fork(parent, at=2, log=log)
    # What never began is judged anew, and holds up nothing.
    assert outcomes(log, result.run_id) == ["m1.t0 reused", "m2.t0 rejected", "m3.t0 rejected", "m4.t0 reused"]
    assert [event.completed for event in events_of(log, result.run_id, ToolCallReused)] == [False, True]
    assert (result.status, result.output, made) == (Status.COMPLETED, "hung up", [])
    check_run(log, result.run_id)


@pytest.mark.slow
async def test_retried_calls_count_once(log: MemoryLog) -> None:
    tries: list[int] = []

    @tool(idempotent=True, attempts=3)
    async def fetch() -> str:
        """Fetches."""
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("away")
        return "here"

    agent = Agent("clerk", ScriptedModel([Call("fetch"), Attempts(Fail("server_error"), "Done.")]), tools=[fetch])
    parent = await recorded_run(log, agent)
    assert len(tries) == 3
    result = await agent.fork(parent, at=2, log=log)
    assert (len(tries), result.output) == (3, "Done.")
    assert only(log, result.run_id, ToolCallReused).result == "here"


async def test_calls_that_the_other_run_never_began_are_not_carried(log: MemoryLog) -> None:
    agent = clerk([Call("look_up", what="a"), Call("look_up", what="b")], "Done.", limits=Limits(tool_calls=1))
    parent = await recorded_run(log, agent)
    assert state_of(log, parent).status is Status.LIMITED
    shared, _ = forked_at(log, parent, 2, Changes(tools="recorded"))
    assert [call.call_id for call in shared.calls] == ["m1.t0"]


async def test_a_fork_of_a_fork_goes_on_in_the_same_way(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    child = (await clerk().fork(parent, at=2, log=log, results={"m3.t0": "declined"})).run_id
    seq = next(record.seq for record in records_of(log, child) if record.event.type == "tool_call.reused")
    result = await clerk().fork(child, at=seq, log=log)
    assert outcomes(log, result.run_id) == ["m2.t0 reused", "m2.t1 reused", "m3.t0 reused"]
    assert events_of(log, result.run_id, ToolCallReused)[-1].result == "declined"
    assert made == []
    check_run(log, result.run_id)


async def test_a_call_that_needed_approval_is_not_asked_about_again(log: MemoryLog) -> None:
    @tool(approval=True)
    async def send(what: str) -> str:
        """Sends."""
        made.append(what)
        return f"sent {what}"

    agent = Agent("clerk", ScriptedModel([Call("send", what="a"), Call("send", what="b"), "Done."]), tools=[send])
    parent = await start_run(log, "clerk", "go")
    for _ in range(2):
        await Worker(log, {"clerk": agent}).work(until_idle=True)
        (call_id,) = [key for key, call in state_of(log, parent).tool_calls.items() if call.phase is Phase.HELD]
        await approve_call(log, parent, call_id)
    await Worker(log, {"clerk": agent}).work(until_idle=True)
    assert made == ["a", "b"]
    other = agent.but(model=ScriptedModel([Call("send", what="a"), Call("send", what="x"), "Done."]))
    result = await other.fork(parent, at=2, log=log)
    assert (made, result.waits_for, outcomes(log, result.run_id)) == (["a", "b"], "approval", ["m1.t0 reused"])


async def test_an_answer_of_the_user_is_given_again(log: MemoryLog) -> None:
    agent = Agent("clerk", ScriptedModel([Call("ask_user", question="Which?"), "Done."]), tools=[ask_user])
    waiting = await agent.run("go", log=log)
    await agent.answer(waiting.run_id, "the blue one", log=log)
    result = await agent.fork(waiting.run_id, at=2, log=log)
    assert (result.status, only(log, result.run_id, ToolCallReused).result) == (Status.COMPLETED, "the blue one")
    check_run(log, result.run_id)


async def test_a_fork_holds_all_it_needs(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    run_id = (await clerk().fork(parent, at=2, log=log, results={"m2.t1": "declined"})).run_id
    alone = MemoryLog()
    await alone.append(list(log.records(run_id)))
    assert replay(run_id, alone.records(run_id)).state == state_of(log, run_id)
    assert verify(alone, run_id).ok


async def test_a_parent_that_goes_on_later_changes_nothing(log: MemoryLog) -> None:
    agent = clerk(Call("pay", what="a"), "Yes?", Call("pay", what="b"), "And?", conversational=True)
    chat = agent.conversation(log=log)
    await chat.send("one")
    fork = await clerk(Call("pay", what="a"), "Yes?", conversational=True).fork(chat.run_id, at=2, log=log)
    await chat.send("two")
    check_run(log, fork.run_id)


async def test_a_worker_makes_the_same_fork(log: MemoryLog) -> None:
    parent = await recorded_run(log)
    changes = Changes(instructions="Be quick.", tools="recorded", results={"m3.t0": "declined"}, messages={0: "run"})
    shared, texts = forked_at(log, parent, 2, changes)
    run_id = await start_run(
        log,
        "clerk",
        None,
        limits=shared.limits,
        forked_from=shared.forked_from,
        texts=texts,
        instructions="Be quick.",
    )
    await Worker(log, {"clerk": clerk()}).work(until_idle=True)
    here = (
        await clerk().fork(
            parent, at=2, log=log, instructions="Be quick.", results={"m3.t0": "declined"}, messages={0: "run"}
        )
    ).run_id
    for run in (run_id, here):
        check_run(log, run)
    assert list(state_of(log, run_id).messages) == list(state_of(log, here).messages)
    assert only(log, run_id, RunStarted).forked_from == only(log, here, RunStarted).forked_from
    assert made == []


def of_origin(**update: Any) -> Callable[[Any], Any]:
    return lambda event: event.model_copy(update={"forked_from": event.forked_from.model_copy(update=update)})


def with_other_result(event: HistoryShared) -> HistoryShared:
    calls = (event.calls[0].model_copy(update={"result": "lost"}), *event.calls[1:])
    return event.model_copy(update={"calls": calls})


def with_other_arguments(event: HistoryShared) -> HistoryShared:
    calls = (*event.calls[:-1], event.calls[-1].model_copy(update={"arguments": "{}"}))
    return event.model_copy(update={"calls": calls})


def with_other_role(event: HistoryShared) -> HistoryShared:
    return event.model_copy(update={"messages": (event.messages[0].model_copy(update={"role": "assistant"}),)})


@pytest.mark.parametrize(
    ("type", "nth", "forge", "reason"),
    [
        ("history.shared", 0, with_other_role, "the message or call 0 is not an edited one"),
        ("history.shared", 1, with_other_result, "these are not the messages of run"),
        ("history.shared", 1, with_other_arguments, "the message or call 4 is not an edited one"),
        ("run.started", 0, of_origin(edited=(0,)), None),
        ("run.started", 0, of_origin(changed=("model",)), "it says that it differs from run"),
        ("run.started", 0, of_origin(calls=3), "what this run says that it went on from"),
        ("run.started", 0, of_origin(upto=9), "what this run says that it went on from"),
        ("run.started", 0, of_origin(model="gpt-4o"), "it was given the model gpt-4o, but its agent has scripted"),
        ("tool_call.reused", 1, lambda event: event.model_copy(update={"result": "lost"}), "but this code decides"),
        (
            "tool_call.reused",
            1,
            lambda event: event.model_copy(update={"reused_from": "m9.t0"}),
            "but this code decides",
        ),
    ],
)
async def test_what_a_fork_says_of_its_origin_is_checked(
    log: MemoryLog, type: str, nth: int, forge: Callable[[Any], Any], reason: str | None
) -> None:
    parent = await recorded_run(log)
    run_id = (await clerk().fork(parent, at=2, log=log, messages={0: "run"}, results={"m3.t0": "declined"})).run_id
    record = [record for record in records_of(log, run_id) if record.event.type == type][nth]
    other = await rewritten(log, run_id, seq=record.seq, event=forge(record.event))
    await other.append(list(log.records(parent)))
    certificate = verify(other, run_id)
    assert certificate.verdict == "diverged"
    if reason is not None:
        assert certificate.seq == record.seq
        assert reason in (certificate.reason or "")


async def test_a_call_that_was_only_said_to_be_reused_is_found(log: MemoryLog) -> None:
    run_id = await recorded_run(log)
    record = next(record for record in records_of(log, run_id) if record.event.type == "tool_call.started")
    assert isinstance(record.event, ToolCallStarted)
    reused = ToolCallReused(
        call_id=record.event.call_id, name="look_up", reused_from="m1.t0", result="?", completed=True
    )
    certificate = verify(await rewritten(log, run_id, seq=record.seq, event=reused), run_id)
    assert (certificate.verdict, certificate.seq) == ("diverged", record.seq)
