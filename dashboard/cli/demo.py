"""`ledgent demo`: runs to look at, live."""

from ledgent.dashboard.cli.options import FaultsGiven, LogUrl, StoreUrl


def demo(log: LogUrl = None, store: StoreUrl = None, faults: FaultsGiven = None) -> None:
    """Watch agents run, without a key or a server: each kind of ending, recorded, stored and verified."""
    import asyncio

    from ledgent.agent.faults import Faults
    from ledgent.agent.verify import verify
    from ledgent.dashboard.cli.demo_screen import screen, write_outcome
    from ledgent.dashboard.compose import caught_up_store
    from ledgent.dashboard.demo.runs import play
    from ledgent.dashboard.logs import opened_log, settings_for
    from ledgent.processors.reads import get_run

    settings = settings_for(log, store)
    bad_day = Faults.parse(faults) if faults is not None else None
    with opened_log(settings.log) as opened:
        with screen() as on_record:
            results = asyncio.run(play(opened, on_record, bad_day))
        with caught_up_store(settings, opened) as asked:
            rows = [get_run(asked, result.run_id) for result in results]
        certificates = [verify(opened, result.run_id) for result in results]
        write_outcome([row for row in rows if row], certificates, opened)
