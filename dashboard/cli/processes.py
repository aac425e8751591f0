"""`ledgent up|worker|processors|sink|dashboard`: the processes that stay."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledgent.dashboard.cli.options import DEFAULT_PORT, Agents, Drain, FaultsGiven, LogUrl, Port, StoreUrl

if TYPE_CHECKING:
    import signal

    from ledgent.dashboard.serving import Plan


def up(
    agents: Agents = None,
    port: Port = DEFAULT_PORT,
    drain: Drain = 10.0,
    log: LogUrl = None,
    store: StoreUrl = None,
) -> None:
    """Run everything in one place: the store that follows the log, a worker for your agents, the dashboard.

    Ctrl-C stops it all; runs under way are handed over and go on with the next worker. A second one stops at once.
    """
    from ledgent.agent.loading import load_agents
    from ledgent.dashboard.logs import settings_for
    from ledgent.dashboard.serving import Plan

    settings = settings_for(log, store, agents)
    _serve(Plan(settings, load_agents(settings.agents), port, drain_s=drain))


def dashboard(
    port: Port = DEFAULT_PORT,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--listen-everywhere",
            help="Listen on every address; for a container whose port is published on loopback: there is no login.",
        ),
    ] = False,
    log: LogUrl = None,
    store: StoreUrl = None,
) -> None:
    """Serve the dashboard only, beside a running `ledgent up` or by itself."""
    from ledgent.dashboard.logs import settings_for
    from ledgent.dashboard.serving import Plan

    _serve(Plan(settings_for(log, store), {}, port, may_share=True, everywhere=everywhere))


def worker(
    agents: Agents = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Runs at once.")] = 64,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop once no request is open.")] = False,
    drain: Drain = 10.0,
    log: LogUrl = None,
    faults: FaultsGiven = None,
) -> None:
    """Work on the runs of your agents, those of workers that have died included."""
    from ledgent.agent.faults import Faults
    from ledgent.agent.loading import load_agents
    from ledgent.dashboard.cli.output import note, say
    from ledgent.dashboard.cli.watching import run_lines
    from ledgent.dashboard.logs import opened_log, settings_for
    from ledgent.dashboard.working import key_warning, work
    from ledgent.schemas.errors import UsageError

    settings = settings_for(log, agents=agents)
    known = load_agents(settings.agents)
    if not known:
        raise UsageError("a worker needs agents: name their modules with --agents or LEDGENT_AGENTS")
    if warning := key_warning(known.values()):
        note(f"ledgent: {warning}")
    if faults is not None:
        bad_day = Faults.parse(faults)
        known = {name: bad_day.agent(agent) for name, agent in known.items()}
        note(f"ledgent: calls of models and tools fail on purpose: {bad_day}")
    with opened_log(settings.log) as opened:
        say(f"Working on runs of {', '.join(known)} in {settings.log}; Ctrl-C stops.")
        received = work(opened, known, concurrency, until_idle, run_lines(), drain)
    _leave(received, worked=True)


def processors(log: LogUrl = None) -> None:
    """Compute metrics and run states of a log on Kafka, and raise alerts on stalled runs; as many as you like.

    Whether they get on is told at http://127.0.0.1:6066/healthz (LEDGENT_PROCESSORS_PORT).
    """
    from ledgent.dashboard.cli.output import say
    from ledgent.dashboard.logs import settings_for
    from ledgent.processors.faust_app import run

    settings = settings_for(log)
    if settings.log.startswith("kafka://"):  # another is refused
        say(f"Processing {settings.log}; Ctrl-C stops.")
    _leave(run(settings), worked=False)


def sink(log: LogUrl = None, store: StoreUrl = None) -> None:
    """Follow the log into the store, without worker and dashboard.

    Over Kafka and a ClickHouse server as many as you like: they share the partitions.
    """
    from ledgent.dashboard.cli.output import say
    from ledgent.dashboard.logs import opened_log, settings_for, without_password
    from ledgent.dashboard.serving import fill_until_signal

    settings = settings_for(log, store)
    with opened_log(settings.log) as opened:
        line = f"Following {settings.log} into {without_password(settings.store)}; Ctrl-C stops."
        received = fill_until_signal(settings, opened, lambda: say(line))
    _leave(received, worked=False)


def _serve(plan: "Plan") -> None:
    from ledgent.dashboard.cli.output import note
    from ledgent.dashboard.cli.watching import run_lines, write_ready
    from ledgent.dashboard.serving import serve
    from ledgent.dashboard.working import key_warning

    if warning := key_warning(plan.agents.values()):
        note(f"ledgent: {warning}")
    received = serve(plan, lambda serving: write_ready(plan, serving), run_lines())
    _leave(received, worked=bool(plan.agents))


def _leave(received: "signal.Signals | None", *, worked: bool) -> None:
    """Says that it is over; Ctrl-C is an interruption, SIGTERM the ordinary end of a service."""
    import signal

    from ledgent.dashboard.cli.output import note

    if received is not None:
        note("Stopped; runs that were under way are handed over." if worked else "Stopped.")
    if received is signal.SIGINT:
        raise typer.Exit(130)
