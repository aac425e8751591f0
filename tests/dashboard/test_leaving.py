"""`ledgent worker` and `up` leave well: calls under way may end, the rest is handed over, nothing of them stays."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import start_run
from ledgent.schemas.events import RunSuspended, ToolCallCompleted, ToolCallStarted
from tests.agent.recorded import check_run, events_of

LEDGENT = str(Path(sys.executable).parent / "ledgent")
AGENTS = """
import asyncio, time
from ledgent.agent import Agent, Call, ScriptedModel, tool

@tool
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"

@tool
def hang(seconds: float) -> str:
    time.sleep(seconds)
    return "hung"

turns = {"slow": Call("wait", seconds=2.0), "stuck": Call("hang", seconds=600.0)}
slow = Agent("slow", ScriptedModel([turns["slow"], "done"]), tools=[wait])
stuck = Agent("stuck", ScriptedModel([turns["stuck"], "done"]), tools=[hang])
"""

pytestmark = pytest.mark.slow


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Command:
    """A command at work in a folder of its own, and what is left of it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "mine.py").write_text(AGENTS)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = SqliteLog(folder / ".ledgent" / "log.db")
        self.process = subprocess.Popen(
            [LEDGENT, *arguments, "--agents", "mine"],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    async def at_work(self, agent: str) -> str:
        """A run of the agent whose tool is at work."""
        run_id = await start_run(self.log, agent, "go")
        deadline = time.monotonic() + 60
        while not events_of(self.log, run_id, ToolCallStarted):
            assert time.monotonic() < deadline, "no tool was called"
            await asyncio.sleep(0.05)
        return run_id

    def left(self, within_s: float) -> int:
        """How it ended; nothing of it is there any more: no process, no temporary file."""
        _, errors = self.process.communicate(timeout=within_s)
        assert "Traceback" not in errors, errors
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)
        assert not list(self.temporary.iterdir())
        return self.process.returncode

    def end(self) -> None:
        self.log.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.mark.parametrize("command", ["worker", "up"])
async def test_at_sigterm_a_call_under_way_ends_and_the_run_is_handed_over(tmp_path: Path, command: str) -> None:
    arguments = ["up", "--port", str(a_port())] if command == "up" else ["worker"]
    running = Command(tmp_path, *arguments)
    try:
        run_id = await running.at_work("slow")
        running.process.send_signal(signal.SIGTERM)
        assert running.left(within_s=90) == 0
        assert len(events_of(running.log, run_id, ToolCallCompleted)) == 1
        assert [event.reason for event in events_of(running.log, run_id, RunSuspended)] == ["handed_over"]
        check_run(running.log, run_id)
    finally:
        running.end()


async def test_a_hung_tool_holds_a_leaving_worker_no_longer_than_it_was_told(tmp_path: Path) -> None:
    running = Command(tmp_path, "worker", "--drain", "1")
    try:
        run_id = await running.at_work("stuck")
        begun = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.left(within_s=90) == 0
        assert 1.0 <= time.monotonic() - begun < 30.0
        assert [event.reason for event in events_of(running.log, run_id, RunSuspended)] == ["handed_over"]
    finally:
        running.end()


@pytest.mark.parametrize("command", ["worker", "up"])
async def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, command: str) -> None:
    arguments = ["up", "--port", str(a_port())] if command == "up" else ["worker"]
    running = Command(tmp_path, *arguments, "--drain", "300")
    try:
        await running.at_work("stuck")
        running.process.send_signal(signal.SIGINT)
        await asyncio.sleep(1.0)
        assert running.process.poll() is None, "it did not wait for the call under way"
        begun = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.left(within_s=90) == 130
        assert time.monotonic() - begun < 60.0
    finally:
        running.end()
