"""Runs that the command line starts: watched here while they go, or left to a worker."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ledgent.agent.fork import Changes, Shared
from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import note, say, write_line, write_rows
from ledgent.dashboard.cli.run_pages import event_as_json, text_line
from ledgent.dashboard.cli.tailing import run_followed, write_as_lines
from ledgent.dashboard.timeline import Timeline, printable
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.files import kept_files
from ledgent.producers.submit import start_run
from ledgent.schemas.agents import Limits
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import UnknownAgent, UsageError
from ledgent.schemas.events import TERMINAL_TYPES
from ledgent.schemas.ports import Log
from ledgent.schemas.state import ToolCall

if TYPE_CHECKING:
    from ledgent.agent.entries import Agent
    from ledgent.agent.running import RunResult

ANSWERED = TERMINAL_TYPES | {"run.suspended"}


class Asked(NamedTuple):
    """The run that is asked for."""

    agent: str
    input: str | None
    limits: Limits
    session: str | None
    labels: dict[str, str]
    shared: Shared | None = None
    """What it takes over of the run that it goes on from."""
    files: Sequence[Path] = ()
    changes: Changes = Changes()
    """What is otherwise in it than in that run."""
    texts: Sequence[str] = ()
    """What its edited places say."""


def run_here(log: Log, modules: str, asked: Asked, output: Output) -> bool:
    """Runs it in this process, a line for each record once it is durable; whether it went well."""
    from ledgent.agent.loading import load_agents
    from ledgent.dashboard.working import key_warning

    agents = load_agents(modules)
    agent = agents.get(asked.agent)
    if agent is None:
        raise UnknownAgent(_unknown(asked.agent, sorted(agents), modules))
    if warning := key_warning([agent]):
        note(warning)
    result = asyncio.run(_run(log, agent, asked, output))
    if output is Output.TABLE:
        _write_result(result)
    return result.ok


async def _run(log: Log, agent: "Agent", asked: Asked, output: Output) -> "RunResult":
    timeline = Timeline()
    begun: list[str] = []

    def show(record: Recorded) -> None:
        begun[:] = [record.run_id]
        if output is Output.TABLE:
            write_line(text_line(timeline.line(record)))
        else:
            write_rows([event_as_json(record)], Output.JSONL)

    try:
        options: dict[str, Any] = {"limits": asked.limits, "session": asked.session, "labels": asked.labels}
        if asked.shared is None:
            return await agent.run(asked.input, files=asked.files, log=log, on_record=show, **options)
        origin = asked.shared.forked_from
        options |= asked.changes._asdict()
        return await agent.fork(origin.run_id, at=origin.seq, input=asked.input, log=log, on_record=show, **options)
    except asyncio.CancelledError:
        if begun:
            note(
                f"Run {begun[0]} is handed over: a worker goes on with it, or `ledgent run cancel {begun[0]}` ends it."
            )
        raise
    finally:
        for model in agent.live_models:
            await model.aclose()


def submit(log: Log, asked: Asked, wait: bool, output: Output) -> bool:
    """Leaves it to a worker; with `wait`, follows it there. Whether it is known to have gone well, or not known."""
    run_id = asyncio.run(_submitted(log, asked))
    if output is not Output.TABLE:
        write_rows([{"run_id": run_id, "status": "queued"}], Output.JSONL)
    elif not wait:
        say(run_id)
    if not wait:
        note("It is queued for a worker (`ledgent up --agents MODULES`); `ledgent run tail --follow RUN` shows it.")
        return True
    note(f"Run {run_id} is queued; waiting for a worker ...")
    return follow_answer(log, run_id, 0, output)


async def _submitted(log: Log, asked: Asked) -> str:
    if asked.files and asked.input is None:
        raise UsageError("files come with an input: what is to be done with them")
    return await start_run(
        log,
        asked.agent,
        asked.input,
        limits=asked.limits,
        session=asked.session,
        labels=asked.labels,
        forked_from=asked.shared.forked_from if asked.shared else None,
        texts=asked.texts,
        instructions=asked.changes.instructions,
        files=await kept_files(asked.files, DirectoryBlobs()),
    )


def follow_answer(log: Log, run_id: str, after_seq: int, output: Output = Output.TABLE) -> bool:
    """Shows the run's records until it has answered or ended; whether it went well."""
    last: list[Recorded] = []

    def records() -> Iterator[Recorded]:
        for record in run_followed(log, run_id, after_seq, ANSWERED):
            last[:] = [record]
            yield record

    if output is Output.TABLE:
        write_as_lines(log, records(), named=False)
    else:
        write_rows(map(event_as_json, records()), Output.JSONL)
    return not last or last[-1].event.type in ("run.completed", "run.suspended")


def _write_result(result: "RunResult") -> None:
    if result.output:
        say(f"\n{printable(result.output)}")
    if not result.ok:
        why = result.error.message if result.error else (f"its limit of {result.limit}" if result.limit else "")
        note(f"\nRun {result.run_id} ended as {result.status}" + (f": {why}" if why else ""))
    if result.waits_for == "approval":
        note(f"\nIts calls wait to be allowed: ledgent run approve {result.run_id}   or not: ledgent run deny ...")
    elif result.waits_for == "answer":
        for call in result.waiting:
            note(f"\n{_asked(call)}\nAnswer: ledgent run answer {result.run_id} {call.request.call_id} ...")
    elif result.status == "suspended":
        note(f'\nIt waits for the next message: ledgent run send {result.run_id} "..."')
    else:
        note(f"\nLook closer: ledgent run show {result.run_id}")


def _asked(call: ToolCall) -> str:
    return printable(f"{call.question} [{' | '.join(call.choices)}]" if call.choices else call.question or "")


def _unknown(name: str, known: list[str], modules: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
    return f"no agent is named {name!r} in {modules}. {hint}"
