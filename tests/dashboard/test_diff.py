"""Two runs side by side: what is the same, where they part, and what each step took."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Reply, RetryPolicy, ScriptedModel, ToolError, tool
from ledgent.dashboard.diff import Comparison, Figures, compare, side_of
from ledgent.dashboard.web.address import RunAddress, run_address
from ledgent.dashboard.web.comparison import comparison_head, comparison_rows, settings_list
from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import decode
from ledgent.schemas.ports import Log
from ledgent.schemas.values import Usage
from tests.dashboard.command import ledgent


@tool(idempotent=True, attempts=2)
async def look_up(what: str) -> str:
    """Looks something up."""
    return f"{what}: found"


@tool
async def pay(what: str) -> str:
    """Pays."""
    if what == "nothing":
        raise ToolError("no")
    return f"paid {what}"


def said(text: str | None, *calls: Call) -> Reply:
    return Reply(text, calls, usage=Usage(input_tokens=100, output_tokens=10), cost_usd=0.25)


TURNS = (
    said(None, Call("look_up", what="a"), Call("pay", what="nothing")),
    said("Now.", Call("pay", what="b")),
    said("Done."),
)


def clerk(*turns: Any, **options: Any) -> Agent:
    model = ScriptedModel(turns or TURNS, name="first", retry=RetryPolicy(first_s=0.001))
    return Agent("clerk", model, "Be brief.", tools=[look_up, pay], **options)


async def run(log: Log, *turns: Any, input: str = "go") -> str:
    return (await clerk(*turns).run(input, log=log)).run_id


def compared(log: Log, first: str, second: str) -> Comparison:
    return compare(*(side_of(run_id, map(decode, log.records(run_id))) for run_id in (first, second)))


def marks(found: Comparison) -> list[tuple[str, str]]:
    return [(row.mark, (row.first or row.second).role) for row in found.rows]  # type: ignore[union-attr]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


async def test_a_run_and_the_same_again_are_the_same(log: MemoryLog) -> None:
    found = compared(log, await run(log), await run(log))
    assert found.parts_at is None
    assert found.settings == ()
    roles = ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "end"]
    assert marks(found) == [("same", role) for role in roles]
    assert (found.first.model_calls, found.first.tool_calls, found.first.reused) == (3, 3, 0)
    assert found.first.total._replace(took_ms=0) == Figures(6, 300, 30, 0.75)


async def test_the_first_divergence_and_what_follows_are_told(log: MemoryLog) -> None:
    first = await run(log)
    second = await run(log, TURNS[0], said("Now.", Call("pay", what="c")), said("So."), input="go")
    found = compared(log, first, second)
    assert found.parts_at == 4
    assert marks(found)[4:] == [
        ("changed", "assistant"),
        ("changed", "tool"),
        ("changed", "assistant"),
        ("same", "end"),
    ]
    row = found.rows[5]
    assert row.first is not None
    assert row.second is not None
    assert (row.first.text, row.second.text) == ("paid b", "paid c")


async def test_steps_that_only_one_has_face_nothing(log: MemoryLog) -> None:
    found = compared(log, await run(log), await run(log, TURNS[0], said("Done.")))
    assert found.parts_at == 4
    assert [mark for mark, _ in marks(found)][4:] == ["first_only", "first_only", "same", "same"]
    back = compare(found.second, found.first)
    assert [mark for mark, _ in marks(back)][4:] == ["second_only", "second_only", "same", "same"]


async def test_failed_attempts_count_in_the_step_that_they_led_to(log: MemoryLog) -> None:
    shaky = Attempts(Fail("server_error"), said("Done."))
    found = compared(log, await run(log, said("Done.")), await run(log, shaky))
    assert found.parts_at is None, "how often it was tried is no difference"
    steps = [row.second for row in found.rows]
    assert steps[1] is not None
    assert steps[1].figures.attempts == 2
    gone = compared(log, await run(log, said("Done.")), await run(log, Fail("auth", "no key")))
    assert gone.rows[-1].second is not None
    assert gone.rows[-1].second.text.startswith("failed: ")
    assert gone.second.total.attempts == gone.rows[-1].second.figures.attempts == 1


async def test_what_a_fork_took_over_costs_it_nothing(log: MemoryLog) -> None:
    parent = await run(log)
    at = next(r.seq for r in map(decode, log.records(parent)) if getattr(r.event, "call_id", "") == "m2")
    child = (await clerk(*TURNS).fork(parent, at=at, log=log, instructions="Be kind.")).run_id
    found = compared(log, parent, child)
    assert found.parts_at is None
    origins = [row.second.origin for row in found.rows if row.second]
    assert origins == ["shared"] * 4 + ["own", "reused", "own", "own"]
    assert (found.second.model_calls, found.second.tool_calls, found.second.reused) == (2, 0, 1)
    assert found.second.total._replace(took_ms=0) == Figures(2, 200, 20, 0.5)
    assert found.settings == (("instructions", "Be brief.", "Be kind."),)
    assert found.second.forked_from is not None
    assert found.second.forked_from.run_id == parent


async def test_a_price_that_is_not_known_is_not_nothing(log: MemoryLog) -> None:
    found = compared(log, await run(log, said("Done.")), await run(log, Reply("Done.", usage=Usage(input_tokens=5))))
    assert (found.first.total.cost_known, found.second.total.cost_known) == (True, False)


async def test_the_page_marks_where_they_part_and_writes_what_was_said_as_text(log: MemoryLog) -> None:
    first, second = (
        await run(log),
        await run(log, TURNS[0], said("Then.", Call("pay", what="c")), said("<script>alert(1)</script>")),
    )
    found = compared(log, first, second)
    page = comparison_head(found) + comparison_rows(found, 0, 200) + settings_list(found.settings)
    assert "They part at step 5 of " in page
    assert [row.mark for row in found.rows].count("changed") == 3
    assert page.count("First divergence") == page.count("lg-parts") == 1
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "First divergence" not in comparison_rows(found, 0, 4)


def test_the_run_that_one_is_compared_with_is_in_its_address() -> None:
    address = RunAddress("one", tab="compare", other="two")
    assert address.params() == {"run": "one", "tab": "compare", "with": "two"}
    assert run_address({"run": ["one"], "tab": ["compare"], "with": ["two"]}) == address


@pytest.mark.slow
def test_fork_and_diff_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text(AGENTS)
    assert ledgent(tmp_path, "run", "start", "clerk", "go", "--agents", "helpers").code == 0
    (parent,) = (row["run_id"] for row in runs_in(tmp_path))
    (tmp_path / "kind.txt").write_text("Be kind.")
    done = ledgent(
        tmp_path, "run", "fork", parent, "--at", "2", "--agents", "helpers", "--instructions", "@kind.txt",
        "--result", "m1.t0=5 = five", "--message", "0=please", "--max-steps", "7", "--label", "try=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "add not made, as call m1.t0 gave 5 = five" in done.out
    child = next(row["run_id"] for row in runs_in(tmp_path) if row["run_id"] != parent)
    assert ledgent(tmp_path, "run", "verify", "--all").code == 0
    shown = ledgent(tmp_path, "run", "diff", parent, child)
    assert shown.code == 1
    assert "They part at step 1" in shown.out
    assert f"Run {child} began from the other at record 2." in shown.out
    found = json.loads(ledgent(tmp_path, "run", "diff", parent, child, "-o", "json").out)
    assert (found["parts_at"], set(found["settings"])) == (1, {"instructions", "limits.steps"})
    assert [row["mark"] for row in found["steps"]] == ["changed", "same", "changed", "same", "same"]
    assert (found["first"]["tool_calls"], found["second"]["tool_calls"], found["second"]["reused"]) == (1, 0, 1)
    assert ledgent(tmp_path, "run", "diff", parent, parent).code == 0
    for wrong in (("--message", "x=y"), ("--message", "0"), ("--result", "m7.t0=1"), ("--instructions", "@gone.txt")):
        done = ledgent(tmp_path, "run", "fork", parent, "--at", "2", "--agents", "helpers", *wrong)
        assert (done.code, done.out) == (2, ""), wrong
    queued = ledgent(tmp_path, "run", "fork", parent, "--at", "2", "--instructions", "Be quick.", "--detach")
    assert queued.code == 0
    assert len(runs_in(tmp_path)) == 2


def runs_in(folder: Path) -> list[dict[str, str]]:
    log = open_log(f"sqlite:///{folder / '.ledgent' / 'log.db'}")
    try:
        return [{"run_id": run_id} for run_id in log.run_ids() if log.head(run_id) is not None]
    finally:
        log.close()


AGENTS = '''
from ledgent.agent import Agent, Call, ScriptedModel, tool


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


clerk = Agent("clerk", ScriptedModel([Call("add", a=2, b=3), "It is 5."]), "Be brief.", tools=[add])
'''
