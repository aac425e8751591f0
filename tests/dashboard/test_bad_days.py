"""`--faults` and `ledgent model-server`, as people type them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ledgent.agent.verify import verify
from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.events import ModelCallFailed, ToolCallFailed
from tests.agent.recorded import events_of

LEDGENT = str(Path(sys.executable).parent / "ledgent")


@pytest.mark.slow
def test_the_demo_gets_through_a_bad_day_and_all_of_it_is_verified(tmp_path: Path) -> None:
    command = [LEDGENT, "demo", "--faults", "rate=0.3,kinds=rate_limited+server_error+timeout,seed=7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "recorded, stored and verified" in done.stdout
    log = SqliteLog(tmp_path / ".ledgent" / "log.db")
    injected = 0
    for run_id in log.run_ids():
        assert verify(log, run_id).ok
        failed = events_of(log, run_id, ModelCallFailed) + events_of(log, run_id, ToolCallFailed)
        injected += sum("injected" in event.error.message for event in failed)
    log.close()
    assert injected >= 5


def test_a_wrong_fault_is_told_before_anything_begins(tmp_path: Path) -> None:
    command = [LEDGENT, "demo", "--faults", "kinds=nonsense"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no kind of fault nonsense" in done.stderr
    assert not (tmp_path / ".ledgent").exists()


@pytest.mark.slow
def test_a_run_is_answered_by_the_model_server(tmp_path: Path) -> None:
    (tmp_path / "turns.json").write_text('["hello from the script"]')
    (tmp_path / "mine.py").write_text(
        'from ledgent.agent import Agent\nagent = Agent("mine", "gpt-4o-mini", "Be brief.")\n'
    )
    command = [LEDGENT, "model-server", "--script", "turns.json", "--port", "0"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        address = re.search(r"http://\S+/v1", said)
        assert address is not None, said
        environment = {**os.environ, "OPENAI_BASE_URL": address[0], "OPENAI_API_KEY": "none"}
        start = [LEDGENT, "run", "start", "mine", "hi", "--agents", "mine"]
        done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert "hello from the script" in done.stdout, done.stderr
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)
        assert (server.returncode, told.strip()) == (0, "Stopped after 1 answers, 0 of them failures.")
    finally:
        server.kill()
        server.communicate()
