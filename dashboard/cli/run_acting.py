"""`ledgent run start|send|end|cancel|approve|deny|answer|checkpoint`: what people ask of runs."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledgent.dashboard.cli.options import Agents, FilePaths, Follow, LogUrl, Output, OutputAs, RunId

if TYPE_CHECKING:
    from ledgent.schemas.ports import Log

Request = Callable[["Log", str], Coroutine[Any, Any, None]]
Answer = Callable[["Log", str, str], Coroutine[Any, Any, None]]

Steps = Annotated[int | None, typer.Option("--max-steps", min=1, help="Model calls at most.")]
Tokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Tokens at most, in and out.")]
Cost = Annotated[float | None, typer.Option("--max-cost", min=0.000001, help="US dollars at most.")]
Seconds = Annotated[float | None, typer.Option("--max-seconds", min=0.001, help="Seconds at most.")]

Wait = Annotated[bool, typer.Option("--wait", help="Leave the run to a worker, and follow it to its end.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave the run to a worker, and print its id.")]
CallId = Annotated[str | None, typer.Argument(metavar="[CALL]", help="The call's id, as m1.t0.")]
By = Annotated[str, typer.Option("--by", help="Who you are; it goes into the log.")]


def start(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")],
    input: Annotated[str | None, typer.Argument(metavar="[INPUT]", help="The first message; - reads it.")] = None,
    agents: Agents = None,
    wait: Wait = False,
    detach: Detach = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="The session that the run belongs to.")] = None,
    file: FilePaths = None,
    max_steps: Steps = None,
    max_tokens: Tokens = None,
    max_cost: Cost = None,
    max_seconds: Seconds = None,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Start a run: here and now with --agents, else by the worker that takes it up.

    Exit code 0 when it completes (or waits for the next message), 1 when it fails, is limited or is cancelled.
    """
    from ledgent.dashboard.cli.starting import Asked, run_here, submit
    from ledgent.dashboard.logs import opened_log, settings_for
    from ledgent.schemas.agents import Limits
    from ledgent.schemas.errors import UsageError

    if wait and detach:
        raise UsageError("--wait and --detach exclude each other")
    settings = settings_for(log, agents=agents)
    limits = Limits(steps=max_steps, tokens=max_tokens, cost_usd=max_cost, seconds=max_seconds)
    asked = Asked(agent, read_given(input), limits, session, labels_in(label or []), files=file or [])
    with opened_log(settings.log) as opened:
        here = bool(settings.agents) and not wait and not detach
        ok = run_here(opened, settings.agents, asked, output) if here else submit(opened, asked, wait, output)
    if not ok:
        raise typer.Exit(1)


def send(
    run: RunId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The message; - reads it.")],
    file: FilePaths = None,
    follow: Follow = False,
    log: LogUrl = None,
) -> None:
    """Say something more in a conversation; a worker answers."""
    from ledgent.producers.blobs import DirectoryBlobs
    from ledgent.producers.files import kept_files
    from ledgent.producers.submit import send_message

    async def send(opened: "Log", run_id: str) -> None:
        kept = await kept_files(file or [], DirectoryBlobs())
        await send_message(opened, run_id, read_given(text) or "", kept)

    _ask(log, run, send, "The message is sent", follow)


def end(run: RunId, follow: Follow = False, log: LogUrl = None) -> None:
    """End a conversation once what is under way has settled."""
    from ledgent.producers.submit import end_conversation

    _ask(log, run, end_conversation, "The conversation is asked to end", follow)


def cancel(
    run: RunId,
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes into the log.")] = "",
    follow: Follow = False,
    log: LogUrl = None,
) -> None:
    """Stop what a run has under way, then end it as cancelled."""
    from ledgent.producers.submit import cancel_run

    _ask(log, run, lambda opened, run_id: cancel_run(opened, run_id, reason), "The run is asked to stop", follow)


def approve(
    run: RunId,
    call: CallId = None,
    by: By = "",
    follow: Follow = False,
    log: LogUrl = None,
) -> None:
    """Allow a tool call that waits for it; without CALL, all calls of the run that wait."""
    from ledgent.producers.submit import approve_call

    _answer_calls(
        log, run, call, lambda opened, run_id, each: approve_call(opened, run_id, each, by), "allowed", follow
    )


def deny(
    run: RunId,
    call: CallId = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; the model is told.")] = "",
    by: By = "",
    follow: Follow = False,
    log: LogUrl = None,
) -> None:
    """Do not allow a tool call that waits, and tell the model so; without CALL, all calls of the run that wait."""
    from ledgent.producers.submit import deny_call

    _answer_calls(
        log, run, call, lambda opened, run_id, each: deny_call(opened, run_id, each, reason, by), "denied", follow
    )


def answer(
    run: RunId,
    words: Annotated[list[str], typer.Argument(metavar="[CALL] TEXT", help="The answer; - reads it.")],
    by: By = "",
    follow: Follow = False,
    log: LogUrl = None,
) -> None:
    """Answer the question that a run asks; CALL says which, where it asks several."""
    from ledgent.agent.applying import answer_to
    from ledgent.producers.identity import new_request_id
    from ledgent.schemas.errors import UsageError
    from ledgent.schemas.run import replay

    if len(words) > 2:
        raise UsageError('run answer takes the call, if it is needed, and the text: put the text in quotes, "..."')
    call, text = (words[0], words[1]) if len(words) == 2 else (None, words[0])

    async def request(opened: "Log", run_id: str) -> None:
        state = replay(run_id, opened.records(run_id)).state
        await opened.submit(answer_to(state, new_request_id(), read_given(text) or "", call, by))

    _ask(log, run, request, "The answer is sent", follow)


def checkpoint(
    run: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the state as it is now.")],
    log: LogUrl = None,
) -> None:
    """Give a run's state a name, to show it or to restore the run there; the worker at its run records it."""
    from ledgent.producers.submit import save_checkpoint

    _ask(
        log, run, lambda opened, run_id: save_checkpoint(opened, run_id, name), f"Checkpoint {name} is asked for", False
    )


def _answer_calls(log_url: str | None, run: str, call: str | None, answer: Answer, done: str, follow: bool) -> None:
    from ledgent.schemas.errors import RequestRefused
    from ledgent.schemas.run import replay
    from ledgent.schemas.state import Phase

    answered: list[str] = []

    async def request(opened: "Log", run_id: str) -> None:
        state = replay(run_id, opened.records(run_id)).state
        calls = state.tool_calls.items()
        held = [call_id for call_id, each in calls if each.phase is Phase.HELD and each.question is None]
        uncertain = [call_id for call_id, each in calls if each.uncertain]
        if not held or call in uncertain:
            held = uncertain
        if not held or (call is not None and call not in held):
            waiting = f"{', '.join(held)} do" if held else "none of its calls does"
            named = f"call {call} does not wait" if call else "no call waits"
            raise RequestRefused(f"run {run_id}: {named} for approval: {waiting}")
        answered.extend([call] if call else held)
        for each in answered:
            await answer(opened, run_id, each)

    _ask(log_url, run, request, lambda: f"{', '.join(answered)}: {done}", follow)


def _ask(log_url: str | None, run: str, request: Request, done: str | Callable[[], str], follow: bool) -> None:
    import asyncio

    from ledgent.dashboard.cli.output import note
    from ledgent.dashboard.cli.starting import follow_answer
    from ledgent.dashboard.logs import find_run, log_is_there, opened_log, settings_for
    from ledgent.schemas.errors import UnknownRun

    url = settings_for(log_url).log
    if not log_is_there(url):
        raise UnknownRun(run)
    with opened_log(url) as opened:
        run_id = find_run(opened, run)
        head = opened.head(run_id)
        asyncio.run(request(opened, run_id))
        note(f"{done if isinstance(done, str) else done()}: run {run_id}.")
        if follow:
            follow_answer(opened, run_id, head.guard.seq if head else 0)


def read_given(given: str | None) -> str | None:
    """The text that is given; for - what comes in."""
    import sys

    return sys.stdin.read() if given == "-" else given


def labels_in(given: list[str]) -> dict[str, str]:
    """By name. Raises UsageError."""
    from ledgent.schemas.errors import UsageError

    labels: dict[str, str] = {}
    for label in given:
        name, mark, value = label.partition("=")
        if not name or not mark:
            raise UsageError(f"--label {label!r} is not of the form key=value")
        labels[name] = value
    return labels
