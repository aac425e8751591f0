"""A thousand runs against a provider that has too much to do: all end, and what they waited for is told."""

import gc
from collections import Counter
from pathlib import Path

import pytest

from ledgent.agent import Agent, Call, Faults, OpenAIModel, RetryPolicy, ScriptedModel, tool
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.dashboard.model_server import ModelServer
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import ModelCallFailed, RateLimitWaited, RetryScheduled, TimerFired
from ledgent.schemas.state import Status
from tests.agent.recorded import records_of, state_of

RUNS = 1_000
RATE_LIMITED, BROKEN = 0.30, 0.05
MOST_GROWTH_MIB = 100.0


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
async def test_a_thousand_runs_all_end_though_a_third_of_their_calls_is_refused(tmp_path: Path) -> None:
    @tool
    async def look(at: int) -> str:
        return f"seen {at}"

    faults = Faults(RATE_LIMITED + BROKEN, ["rate_limited"] * 6 + ["server_error"], seed=11)
    server = ModelServer(faults.model(ScriptedModel([Call("look", at=1), "done"], delay_s=0.02)))
    log = SqliteLog(tmp_path / "log.db")
    async with server.listening() as address:
        # As many attempts as it takes: how long they wait is the server's to say, and 0.5 s is what it says.
        model = OpenAIModel("any", base_url=address, api_key="none", retry=RetryPolicy(attempts=30, max_s=1.0))
        agent = Agent("busy", model, tools=[look])
        run_ids = [await start_run(log, "busy", f"task {number}") for number in range(RUNS)]
        gc.collect()
        before_mib = rss_mib()
        await Worker(log, {"busy": agent}, concurrency=128).work(until_idle=True)
        gc.collect()
        grown_mib = rss_mib() - before_mib
        await model.aclose()

    failed, retries, turns, fired = Counter[ErrorCode](), 0, 0, 0
    for run_id in run_ids:
        assert (state_of(log, run_id).status, state_of(log, run_id).output) == (Status.COMPLETED, "done")
        events = [record.event for record in records_of(log, run_id)]
        failed.update(event.error.code for event in events if isinstance(event, ModelCallFailed))
        for event in events:
            if isinstance(event, RetryScheduled):
                retries += 1
                assert event.code is not ErrorCode.RATE_LIMITED or event.delay_s >= 0.5, "the server asked for more"
            turns += isinstance(event, RateLimitWaited)
            fired += isinstance(event, TimerFired)
    for run_id in run_ids[::50]:
        assert verify(log, run_id).ok
    log.close()
    asked = server.answered
    assert failed[ErrorCode.RATE_LIMITED] / asked == pytest.approx(RATE_LIMITED, abs=0.04)
    assert failed[ErrorCode.SERVER_ERROR] / asked == pytest.approx(BROKEN, abs=0.02)
    assert failed.total() == server.failed == retries
    assert fired == retries + turns, "a wait that is no event"
    assert turns, "who asks while the provider has them all wait would be refused"
    assert grown_mib < MOST_GROWTH_MIB
