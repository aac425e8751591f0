"""Questions to the user in mid-run: the run sleeps in the log until somebody answers, from wherever."""

import asyncio
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Limits, Reply, ScriptedModel, ask_user, tool
from ledgent.agent.applying import event_of, refusal_of
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import answer_question, approve_call, cancel_run
from ledgent.schemas.errors import RequestRefused, UnknownRun, UsageError
from ledgent.schemas.events import QuestionAnswered, QuestionAsked, RunSuspended, ToolCallRejected
from ledgent.schemas.requests import AnswerQuestion
from ledgent.schemas.state import Phase, Status, ToolResult
from tests.agent.recorded import check_run, events_of, only, records_of, state_of, types_of, until
from tests.agent.test_verify import rewritten

WHERE = Call("ask_user", question="Where to?", choices=["Rome", "Oslo"])


@tool
async def look() -> str:
    """Looks."""
    return "nothing"


@tool(approval=True)
async def pay() -> str:
    """Pays."""
    return "paid"


def asker(*turns: Any, **options: Any) -> Agent:
    return Agent("asker", ScriptedModel(turns), tools=[ask_user, look, pay], **options)


async def go_on(log: MemoryLog, agent: Agent) -> None:
    await Worker(log, {"asker": agent}).work(until_idle=True)


async def test_the_answer_is_the_result_of_the_call(log: MemoryLog) -> None:
    agent = asker(WHERE, "Off to Oslo.")
    result = await agent.run("go", log=log)
    assert (result.status, result.waits_for, result.ok) == (Status.SUSPENDED, "answer", True)
    (call,) = result.waiting
    assert (call.request.call_id, call.question, call.choices) == ("m1.t0", "Where to?", ("Rome", "Oslo"))
    assert types_of(log, result.run_id)[-2:] == ["question.asked", "run.suspended"]
    result = await agent.answer(result.run_id, "Oslo", by="Ada", log=log)
    assert (result.status, result.output, result.waiting) == (Status.COMPLETED, "Off to Oslo.", ())
    answered = only(log, result.run_id, QuestionAnswered)
    assert (answered.text, answered.by) == ("Oslo", "Ada")
    assert [m.text for m in state_of(log, result.run_id).messages if isinstance(m, ToolResult)] == ["Oslo"]
    assert "tool_call.started" not in types_of(log, result.run_id)
    check_run(log, result.run_id)


async def test_a_worker_goes_on_when_it_is_answered_from_outside(log: MemoryLog) -> None:
    agent = asker(WHERE, "done")
    run_id = (await agent.run("go", log=log)).run_id
    for call_id, text in (("m1.t7", "Rome"), ("m1.t0", "Paris"), ("m1.t0", "Rome"), ("m1.t0", "Oslo")):
        await answer_question(log, run_id, call_id, text)
    await go_on(log, agent)
    assert only(log, run_id, QuestionAnswered).text == "Rome"
    assert state_of(log, run_id).status is Status.COMPLETED
    check_run(log, run_id)


async def test_an_answer_that_answers_nothing_is_refused(log: MemoryLog) -> None:
    agent = asker([WHERE, Call("ask_user", question="When?"), Call("pay")], "done")
    run_id = (await agent.run("go", log=log)).run_id
    with pytest.raises(RequestRefused, match=r"m1\.t0, m1\.t1 do: name the call"):
        await agent.answer(run_id, "Rome", log=log)
    with pytest.raises(RequestRefused, match="'Paris' is none of the answers to choose from: 'Rome', 'Oslo'"):
        await agent.answer(run_id, "Paris", call_id="m1.t0", log=log)
    with pytest.raises(RequestRefused, match=r"no call m1\.t2 of this run waits for an answer"):
        await agent.answer(run_id, "yes", call_id="m1.t2", log=log)
    with pytest.raises(UnknownRun):
        await agent.answer("nothing", "yes", log=log)
    with pytest.raises(UsageError, match="is one of agent asker, not of other"):
        await Agent("other", ScriptedModel(["x"])).answer(run_id, "Rome", log=log)
    await approve_call(log, run_id, "m1.t0")
    await go_on(log, agent)
    assert [call.phase for call in state_of(log, run_id).tool_calls.values()] == [Phase.HELD] * 3
    await cancel_run(log, run_id)
    await go_on(log, agent)
    with pytest.raises(RequestRefused, match="the run has ended"):
        await agent.answer(run_id, "Rome", log=log)


async def test_other_calls_of_the_answer_do_not_wait_for_it(log: MemoryLog) -> None:
    agent = asker([Call("look"), WHERE, Call("pay"), Call("ask_user", question="When?")], "done")
    result = await agent.run("go", log=log)
    phases = [call.phase for call in state_of(log, result.run_id).tool_calls.values()]
    assert phases == [Phase.SETTLED, Phase.HELD, Phase.HELD, Phase.HELD]
    result = await agent.answer(result.run_id, "now", call_id="m1.t3", log=log)
    assert result.waits_for == "answer"
    result = await agent.answer(result.run_id, "Rome", log=log)
    assert result.waits_for == "approval"
    await approve_call(log, result.run_id, "m1.t2")
    await go_on(log, agent)
    told = [m.text for m in state_of(log, result.run_id).messages if isinstance(m, ToolResult)]
    assert told == ["nothing", "Rome", "paid", "now"]
    assert [event.reason for event in events_of(log, result.run_id, RunSuspended)] == ["answer", "answer", "approval"]
    check_run(log, result.run_id)


async def test_a_run_at_work_takes_the_answer_at_once(log: MemoryLog) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        begun.set()
        await done.wait()
        return "seen"

    agent = Agent("asker", ScriptedModel([[Call("wait"), WHERE], "done"]), tools=[wait, ask_user])
    running = asyncio.create_task(agent.run("go", log=log))
    async with asyncio.timeout(10):
        await begun.wait()
        (run_id,) = log.run_ids()
        with pytest.raises(RequestRefused, match="is at work"):
            await agent.answer(run_id, "Rome", log=log)
        await answer_question(log, run_id, "m1.t1", "Rome")
        await until(lambda: events_of(log, run_id, QuestionAnswered))
        done.set()
        assert (await running).status is Status.COMPLETED
    assert "run.suspended" not in types_of(log, run_id)
    check_run(log, run_id)


@pytest.mark.parametrize("arguments", [{}, {"question": 5}, {"question": "x", "choices": "Rome"}, {"query": "x"}])
async def test_nobody_is_asked_what_is_no_question(log: MemoryLog, arguments: dict[str, Any]) -> None:
    result = await asker(Call("ask_user", **arguments), "sorry").run("go", log=log)
    assert result.output == "sorry"
    assert only(log, result.run_id, ToolCallRejected).reason == "invalid_arguments"
    assert not events_of(log, result.run_id, QuestionAsked)
    check_run(log, result.run_id)


@pytest.mark.parametrize("text_protocol", [False, True])
async def test_an_agent_that_thinks_first_asks_too(log: MemoryLog, text_protocol: bool) -> None:
    said = 'Thought: hm\nAction: ask_user\nAction Input: {"question": "Where to?"}'
    first = said if text_protocol else Reply("hm", [Call("ask_user", question="Where to?")])
    agent = asker(first, "Final Answer: Oslo", policy="react", text_protocol=text_protocol)
    result = await agent.run("go", log=log)
    assert result.waits_for == "answer"
    assert (await agent.answer(result.run_id, "Oslo", log=log)).status is Status.COMPLETED
    check_run(log, result.run_id)


async def test_a_conversation_answers_in_its_course(log: MemoryLog) -> None:
    agent = asker(WHERE, "Rome it is.", conversational=True)
    async with agent.conversation(log=log) as chat:
        assert (await chat.send("go")).waits_for == "answer"
        with pytest.raises(RequestRefused, match="none of the answers"):
            await chat.answer("Paris")
        result = await chat.answer("Rome")
        assert (result.output, result.waits_for) == ("Rome it is.", "input")
    check_run(log, chat.run_id)


def test_without_async(log: MemoryLog) -> None:
    agent = asker(WHERE, "done", conversational=True)
    with agent.conversation_sync(log=log) as chat:
        chat.send("go")
        assert chat.answer("Rome").output == "done"
    agent = asker(WHERE, "done")
    assert agent.answer_sync(agent.run_sync("go", log=log).run_id, "Rome", log=log).output == "done"


async def test_the_same_request_again_changes_nothing(log: MemoryLog) -> None:
    agent = asker([WHERE, Call("ask_user", question="When?")], "done")
    run_id = (await agent.run("go", log=log)).run_id
    request = AnswerQuestion(request_id="so", run_id=run_id, call_id="m1.t0", text="Rome")
    for _ in range(2):
        await log.submit(request)
        await go_on(log, agent)
    assert (only(log, run_id, QuestionAnswered).text, state_of(log, run_id).suspended) == ("Rome", "answer")
    state = state_of(log, run_id)
    assert (refusal_of(request, state), event_of(request, state)) == (None, None)


async def test_questions_are_no_tool_calls_that_a_limit_counts(log: MemoryLog) -> None:
    agent = asker([Call("look"), WHERE], "done", limits=Limits(tool_calls=1))
    result = await agent.run("go", log=log)
    result = await agent.answer(result.run_id, "Rome", log=log)
    assert (result.status, result.spent.tool_calls) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("changed", [{"question": "What?"}, {"choices": ("Rome",)}, {"call_id": "m1.t1"}])
async def test_verification_knows_what_was_asked(log: MemoryLog, changed: dict[str, Any]) -> None:
    run_id = (await asker([WHERE, Call("ask_user", question="When?")], "done").run("go", log=log)).run_id
    record = next(r for r in records_of(log, run_id) if isinstance(r.event, QuestionAsked))
    other = await rewritten(log, run_id, seq=record.seq, event=record.event.model_copy(update=changed))
    certificate = verify(other, run_id)
    assert (certificate.verdict, certificate.seq) == ("diverged", record.seq)
    assert next(iter(changed)) in (certificate.reason or "")
