"""What the command line shows, before it is printed: lines, changes, times, and which run is meant."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from ledgent.agent import Agent, Attempts, Call, Fail, RetryPolicy, ScriptedModel, ToolContext, ToolError, tool
from ledgent.dashboard.cli.options import point_in_time
from ledgent.dashboard.logs import find_recorded_run, find_run, log_to_read, sqlite_file
from ledgent.dashboard.run_view import changes, step_to, view_of
from ledgent.dashboard.timeline import arguments_in_short, one_line, printable, short_id, took
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.codec import Stored
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.ports import Log


@tool
def fetch(key: str) -> str:
    """Fetches."""
    if key != "right":
        raise ToolError(f"no {key}, but there is right")
    return "found"


FETCHER = Agent(
    "fetcher",
    ScriptedModel(
        [
            [Call("fetch", key="wrong"), Call("fech", key="right")],
            Attempts(Fail("rate_limited", "slow down", retry_after_s=0.01), Call("fetch", key="right")),
            "All is found.",
        ],
        retry=RetryPolicy(first_s=0.01),
    ),
    tools=[fetch],
)


async def test_a_run_reads_as_lines_that_name_tools_errors_and_waits() -> None:
    log = MemoryLog()
    result = await FETCHER.run("go", log=log)
    view = view_of(result.run_id, log.records(result.run_id))
    said = [(line.type, line.what) for line in view.lines]
    assert ("run.started", "fetcher: go") in said
    assert ("model_call.completed", "[calls fetch, fech]") in said
    assert ("tool_call.started", 'fetch(key="wrong")') in said
    assert ("tool_call.failed", "fetch failed: no wrong, but there is right") in said
    assert any(type == "tool_call.rejected" and "Did you mean fetch?" in what for type, what in said)
    assert ("retry.scheduled", "attempt 2 in 10 ms, after rate_limited") in said
    assert ("tool_call.completed", "fetch gave found") in said
    assert said[-1] == ("run.completed", "All is found.")
    assert [line.offset_s for line in view.lines] == sorted(line.offset_s for line in view.lines)
    assert {line.tone for line in view.lines if line.type.endswith(".failed")} == {"bad"}
    assert (view.output, view.row.status, view.row.retries, view.unread) == ("All is found.", "completed", 1, None)


async def test_a_run_that_cannot_be_read_to_its_end_is_shown_up_to_there() -> None:
    log = MemoryLog()
    run_id = (await FETCHER.run("go", log=log)).run_id
    stored = [*log.records(run_id)]
    view = view_of(run_id, [*stored[:4], Stored(b"{}", "0" * 64), *stored[5:]])
    assert len(view.lines) == 4
    assert view.unread is not None


async def test_a_step_tells_what_its_record_changed() -> None:
    log = MemoryLog()
    run_id = (await FETCHER.run("go", log=log)).run_id
    step = step_to(run_id, log.records(run_id), 3)
    assert step.record.event.type == "model_call.started"
    assert step.changed["spent.steps"] == {"before": 0, "after": 1}
    assert step.changed["model_call"]["before"] is None
    assert step.state["seq"] == 3
    with pytest.raises(UsageError, match="none numbered 99"):
        step_to(run_id, log.records(run_id), 99)


async def test_a_step_is_found_by_the_name_of_its_checkpoint_too() -> None:
    @tool
    async def work(context: ToolContext) -> str:
        for name in ("begun", "done", "begun"):
            context.checkpoint(name)
        return "worked"

    log = MemoryLog()
    run_id = (await Agent("worker", ScriptedModel([Call("work"), "done"]), tools=[work]).run("go", log=log)).run_id
    step = step_to(run_id, log.records(run_id), "begun")
    assert (step.record.seq, step.state["checkpoints"]) == (8, {"begun": 8, "done": 7})
    assert step.changed["checkpoints.begun"] == {"before": 6, "after": 8}
    with pytest.raises(UsageError, match="has no checkpoint 'never': begun, done"):
        step_to(run_id, log.records(run_id), "never")


def test_changes_are_told_by_path_and_additions_as_such() -> None:
    before = {"a": {"b": 1, "c": 2}, "list": [1], "same": "x"}
    after = {"a": {"b": 1, "c": 3}, "list": [1, 2], "same": "x", "new": None}
    assert changes(before, after) == [("a.c", {"before": 2, "after": 3}), ("list", {"added": [2]})]
    assert changes([1, 2], [2]) == [("", {"before": [1, 2], "after": [2]})]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_run_is_found_by_either_end_of_its_id_even_before_it_begins(kind: str, tmp_path: Path) -> None:
    log: Log = MemoryLog() if kind == "memory" else SqliteLog(tmp_path / "log.db")
    first = (await FETCHER.run("go", log=log)).run_id
    queued = await start_run(log, "fetcher", "later")
    assert [*log.run_ids()] == sorted([first, queued])
    assert [*log.run_ids(since=max(first, queued))] == [max(first, queued)]
    assert find_run(log, first) == find_run(log, short_id(first)) == find_run(log, first[:-1]) == first
    assert find_run(log, queued[-10:]) == queued
    with pytest.raises(UsageError, match="is queued"):
        find_recorded_run(log, queued)
    with pytest.raises(UsageError, match="any of 2 runs"):
        find_run(log, first[:3])
    for unknown in ("", "xyz"):
        with pytest.raises(UnknownRun):
            find_run(log, unknown)
    log.close()


def test_looking_at_a_log_that_is_not_there_makes_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    assert sqlite_file(url) == tmp_path / "none.db"
    with log_to_read(url) as log:
        assert [*log.run_ids()] == []
    assert [*tmp_path.iterdir()] == []


def test_text_for_the_terminal_is_short_and_steers_nothing() -> None:
    assert one_line("a\n  b\tc", 20) == "a b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert one_line("x" * 5_000, 10) == "x" * 9 + "…"
    assert printable("ok\x1b[31m\x07\n\tü") == "ok�[31m�\n\tü"
    assert arguments_in_short('{"a": 1, "b": {"c": [true]}}') == 'a=1, b={"c":[true]}'
    assert arguments_in_short("{not JSON") == "{not JSON"
    assert arguments_in_short("[1]") == "[1]"


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [
        (None, ""),
        (0.04, "0.0 ms"),
        (12.3, "12 ms"),
        (1_234.5, "1.23 s"),
        (61_000, "1 min 1 s"),
        (7_260_000, "2 h 1 min"),
    ],
)
def test_durations_are_told_in_the_unit_that_suits_them(duration_ms: float | None, shown: str) -> None:
    assert took(duration_ms) == shown


def test_a_point_in_time_is_an_age_or_a_date() -> None:
    now = datetime.now(UTC)
    assert timedelta(hours=2) <= now - point_in_time("2h") + timedelta(seconds=1) < timedelta(hours=2, seconds=10)
    assert point_in_time("2026-11-20T18:00+02:00") == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert point_in_time("2026-11-20").tzinfo is not None
    for wrong in ("yesterday", "2y", "h", "99999999d", "999999w", ""):
        with pytest.raises(typer.BadParameter):
            point_in_time(wrong)
