"""The log as JSON lines: each concerns its run, by id and trace, whoever writes it."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Fail, ScriptedModel, tool
from ledgent.agent.worker import Worker
from ledgent.dashboard.log_lines import JsonLines, log_of_runs
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import start_run
from ledgent.schemas.codec import trace_id_of

LEDGENT = str(Path(sys.executable).parent / "ledgent")
mine = logging.getLogger("mine")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged meanwhile."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    loggers = [logging.getLogger(name) for name in ("mine", "ledgent")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield text
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_what_a_tool_logs_is_its_runs_in_whatever_thread_it_is(written: io.StringIO) -> None:
    @tool
    async def here() -> str:
        mine.info("here")
        await asyncio.sleep(0.01)
        return "ok"

    @tool
    def elsewhere() -> str:
        mine.warning("elsewhere, %d times", 2, extra={"shelf": "A1"})
        return "ok"

    log = MemoryLog()
    agent = Agent("shop", ScriptedModel([[Call("here"), Call("elsewhere")], "done"]), tools=[here, elsewhere])
    run_ids = {await start_run(log, "shop", f"go {number}") for number in range(3)}
    await Worker(log, {"shop": agent}).work(until_idle=True)
    said = lines(written.getvalue())
    assert len(said) == 6
    for message in ("here", "elsewhere, 2 times"):
        assert {line["run_id"] for line in said if line["message"] == message} == run_ids
    assert all(line["trace_id"] == trace_id_of(line["run_id"]) for line in said)
    assert {line.get("shelf") for line in said if line["level"] == "warning"} == {"A1"}


async def test_a_runs_events_and_failures_are_lines_with_their_place(written: io.StringIO) -> None:
    log = MemoryLog()
    agent = Agent("shop", ScriptedModel([Fail("auth", "no\nkey")]))
    run_id = await start_run(log, "shop", "go")
    await Worker(log, {"shop": agent}, on_record=log_of_runs(frozenset({"run.started"}))).work(until_idle=True)
    said = lines(written.getvalue())
    assert [(line["message"], line["seq"], line["level"]) for line in said] == [
        ("run.started", 2, "info"),
        ("model_call.failed", 4, "warning"),
        ("run.failed", 5, "warning"),
    ]
    assert {line["run_id"] for line in said} == {run_id}
    assert (said[0]["agent"], said[1]["code"], said[1]["reason"]) == ("shop", "auth", "no\nkey")


def test_outside_of_runs_there_is_no_run_and_an_error_has_its_traceback(written: io.StringIO) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        mine.exception("it failed")
    (line,) = lines(written.getvalue())
    assert "run_id" not in line
    assert "ValueError: bad" in line["error"]


@pytest.mark.slow
def test_a_worker_logs_json_when_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import logging\nfrom ledgent.agent import Agent, Call, ScriptedModel, tool\n"
        "@tool\ndef look() -> str:\n    logging.getLogger('mine').warning('looking')\n    return 'seen'\n"
        "agent = Agent('shop', ScriptedModel([Call('look'), 'done']), tools=[look])\n"
    )
    environment = {**os.environ, "LEDGENT_LOG_FORMAT": "json"}
    start = [LEDGENT, "run", "start", "shop", "hi", "--detach"]
    subprocess.run(start, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    command = [LEDGENT, "worker", "--agents", "mine", "--until-idle"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = lines(done.stderr)
    assert [line["message"] for line in said] == ["run.started", "looking", "run.completed"]
    assert len({line["trace_id"] for line in said}) == 1


def test_another_format_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "LEDGENT_LOG_FORMAT": "xml"}
    done = subprocess.run([LEDGENT, "run", "list"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "LEDGENT_LOG_FORMAT" in done.stderr
