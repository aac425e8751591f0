"""`ledgent run diff`: two runs side by side. Changes nothing."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs, RunId

if TYPE_CHECKING:
    from ledgent.dashboard.diff import Side
    from ledgent.schemas.ports import History


def diff(
    first: RunId,
    second: Annotated[str, typer.Argument(metavar="RUN", help="The one that it is compared with.")],
    every: Annotated[bool, typer.Option("--all", help="Also the steps that are the same.")] = False,
    output: OutputAs = Output.TABLE,
    log: LogUrl = None,
) -> None:
    """Where two runs part, what they differ in, and what each step took.

    What counts is what was said, called and returned; ids, times and figures make no difference.
    Exit code 0 when their steps are the same, 1 when they part.
    """
    from ledgent.dashboard.cli.comparisons import write_comparison
    from ledgent.dashboard.diff import compare
    from ledgent.dashboard.logs import log_to_read, settings_for

    with log_to_read(settings_for(log).log) as opened:
        compared = compare(_side(opened, first), _side(opened, second))
    write_comparison(compared, output, every=every)
    if compared.parts_at is not None:
        raise typer.Exit(1)


def _side(opened: "History", given: str) -> "Side":
    from ledgent.dashboard.diff import side_of
    from ledgent.dashboard.logs import find_recorded_run
    from ledgent.schemas.codec import decode

    run_id = find_recorded_run(opened, given)
    return side_of(run_id, map(decode, opened.records(run_id)))
