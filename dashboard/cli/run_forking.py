"""`ledgent run restore|fork`: new runs that begin as another one stood. The other stays as it is."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ledgent.dashboard.cli.options import Agents, LogUrl, Output, OutputAs, RunId, point
from ledgent.dashboard.cli.run_acting import Cost, Detach, Seconds, Steps, Tokens, Wait, labels_in, read_given

if TYPE_CHECKING:
    from ledgent.agent.fork import Changes
    from ledgent.schemas.agents import Limits


class ToolsAre(StrEnum):
    """What becomes of a fork's tool calls."""

    RECORDED = "recorded"
    LIVE = "live"
    REFUSED = "refused"


At = Annotated[str, typer.Option("--at", metavar="SEQ|NAME", help="After this record, or at this checkpoint.")]
Input = Annotated[str | None, typer.Argument(metavar="[INPUT]", help="What the user says next; - reads it.")]


def restore(
    run: RunId,
    at: At,
    input: Input = None,
    agents: Agents = None,
    wait: Wait = False,
    detach: Detach = False,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Start a new run that begins as another one stood: here and now with --agents, else by a worker.

    The other run stays as it is. Exit codes as for `run start`.
    """
    from ledgent.agent.fork import Changes

    _begin(run, at, input, Changes(), None, {}, agents, wait, detach, output, log)


def fork(
    run: RunId,
    at: At,
    input: Input = None,
    model: Annotated[str | None, typer.Option("--model", help="Another model.")] = None,
    instructions: Annotated[
        str | None, typer.Option("--instructions", metavar="TEXT|@FILE", help="Other instructions.")
    ] = None,
    tools: Annotated[ToolsAre, typer.Option("--tools", help="What becomes of tool calls.")] = ToolsAre.RECORDED,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="TOOL", help="Called although that run made no such call; * is all."),
    ] = None,
    message: Annotated[
        list[str] | None,
        typer.Option("--message", metavar="N=TEXT", help="Another text of message N, from 0; -1 is the last."),
    ] = None,
    result: Annotated[
        list[str] | None, typer.Option("--result", metavar="CALL=TEXT", help="Another result of a tool call.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label.")] = None,
    max_steps: Steps = None,
    max_tokens: Tokens = None,
    max_cost: Cost = None,
    max_seconds: Seconds = None,
    agents: Agents = None,
    wait: Wait = False,
    detach: Detach = False,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Start a new run that shares another one's history up to a point, with something otherwise.

    Calls that the other run made too, with the same arguments and in the same order, are not made: what came of them
    there is told again. From the first other one on, `recorded` makes calls of tools that are idempotent or that a
    person allows, `refused` none, each also those of --allow; `live` makes all calls from the beginning.
    The other run stays as it is. Exit codes as for `run start`.
    """
    from ledgent.agent.fork import Changes
    from ledgent.schemas.agents import Limits

    messages = {_number(name): text for name, text in _pairs("--message", message)}
    given = _text_of(instructions)
    changes = Changes(model, given, tools.value, allow or (), messages, dict(_pairs("--result", result)))
    limits = Limits(steps=max_steps, tokens=max_tokens, cost_usd=max_cost, seconds=max_seconds)
    _begin(run, at, input, changes, limits, labels_in(label or []), agents, wait, detach, output, log)


def _begin(
    run: str,
    at: str,
    input: str | None,
    changes: "Changes",
    limits: "Limits | None",
    labels: dict[str, str],
    agents: str | None,
    wait: bool,
    detach: bool,
    output: Output,
    log: str | None,
) -> None:
    from ledgent.agent.fork import forked_at, kept
    from ledgent.dashboard.cli.starting import Asked, run_here, submit
    from ledgent.dashboard.logs import find_recorded_run, log_is_there, opened_log, settings_for
    from ledgent.schemas.errors import UnknownRun, UsageError

    if wait and detach:
        raise UsageError("--wait and --detach exclude each other")
    settings = settings_for(log, agents=agents)
    if not log_is_there(settings.log):
        raise UnknownRun(run)
    with opened_log(settings.log) as opened:
        shared, texts = forked_at(opened, find_recorded_run(opened, run), point(at), changes)
        asked = Asked(shared.agent, read_given(input), *kept(shared, limits, None, labels), shared, (), changes, texts)
        here = bool(settings.agents) and not wait and not detach
        ok = run_here(opened, settings.agents, asked, output) if here else submit(opened, asked, wait, output)
    if not ok:
        raise typer.Exit(1)


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    from ledgent.schemas.errors import UsageError

    pairs = []
    for one in given or []:
        name, mark, text = one.partition("=")
        if not mark:
            raise UsageError(
                f"{option} {one!r:.200} is not of the form {'N' if option == '--message' else 'CALL'}=TEXT"
            )
        pairs.append((name, text))
    return pairs


def _number(given: str) -> int:
    from ledgent.schemas.errors import UsageError

    number = point(given)
    if isinstance(number, str):
        raise UsageError(f"--message {given!r:.200}=... names no message: they are numbered from 0, and -1 is the last")
    return number


def _text_of(given: str | None) -> str | None:
    """The text, or that of the file after an @. Raises UsageError."""
    from pathlib import Path

    from ledgent.schemas.errors import UsageError

    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--instructions {given}: it cannot be read: {error}") from error
