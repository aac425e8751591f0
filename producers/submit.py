"""Requests from outside, made once and sent until they are durable. No agent code is needed to submit."""

from collections.abc import Sequence

from ledgent.producers.identity import new_request_id, new_run_id
from ledgent.schemas.agents import Limits
from ledgent.schemas.ports import Requests
from ledgent.schemas.requests import (
    AnswerQuestion,
    ApproveCall,
    CancelRun,
    DenyCall,
    EndConversation,
    SaveCheckpoint,
    SendMessage,
    StartRun,
    checkpoint_name,
)
from ledgent.schemas.values import ForkedFrom, Part


async def start_run(
    log: Requests,
    agent: str,
    input: str | None,
    *,
    limits: Limits | None = None,
    session: str | None = None,
    labels: dict[str, str] | None = None,
    forked_from: ForkedFrom | None = None,
    files: Sequence[Part] = (),
    texts: Sequence[str] = (),
    instructions: str | None = None,
) -> str:
    """Asks for a run of the agent with this name; the run's id, once the request is durable. `files` are so already.

    `texts` and `instructions`: of one that goes on from another, as in StartRun.
    """
    run_id = new_run_id()
    request = StartRun(
        request_id=new_request_id(),
        run_id=run_id,
        agent=agent,
        input=input,
        limits=limits,
        session=session,
        labels=labels or {},
        forked_from=forked_from,
        files=tuple(files),
        texts=tuple(texts),
        instructions=instructions,
    )
    await log.submit(request)
    return run_id


async def send_message(log: Requests, run_id: str, text: str, files: Sequence[Part] = ()) -> None:
    """Says something more in a conversation. Raises RequestRefused when it has ended or is unknown."""
    request = SendMessage(request_id=new_request_id(), run_id=run_id, text=text, files=tuple(files))
    await log.submit(request)


async def end_conversation(log: Requests, run_id: str) -> None:
    """Lets a conversation end. Raises RequestRefused when it has ended or is unknown."""
    await log.submit(EndConversation(request_id=new_request_id(), run_id=run_id))


async def approve_call(log: Requests, run_id: str, call_id: str, by: str = "") -> None:
    """Allows a tool call that waits for it. Raises RequestRefused when the run has ended or is unknown."""
    await log.submit(ApproveCall(request_id=new_request_id(), run_id=run_id, call_id=call_id, by=by))


async def deny_call(log: Requests, run_id: str, call_id: str, reason: str = "", by: str = "") -> None:
    """Has a tool call that waits not made; the model is told why. Raises RequestRefused as `approve_call` does."""
    await log.submit(DenyCall(request_id=new_request_id(), run_id=run_id, call_id=call_id, reason=reason, by=by))


async def answer_question(log: Requests, run_id: str, call_id: str, text: str, by: str = "") -> None:
    """Answers the question that a call asks. Raises RequestRefused when the run has ended or is unknown."""
    await log.submit(AnswerQuestion(request_id=new_request_id(), run_id=run_id, call_id=call_id, text=text, by=by))


async def save_checkpoint(log: Requests, run_id: str, name: str) -> None:
    """Gives the run's state a name. Raises UsageError for none, RequestRefused when the run has ended or is unknown."""
    await log.submit(SaveCheckpoint(request_id=new_request_id(), run_id=run_id, name=checkpoint_name(name)))


async def cancel_run(log: Requests, run_id: str, reason: str = "") -> None:
    """Asks for a run to be cancelled. Raises RequestRefused when it has ended or is unknown."""
    await log.submit(CancelRun(request_id=new_request_id(), run_id=run_id, reason=reason))
