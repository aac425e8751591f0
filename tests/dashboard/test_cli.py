"""The command line, as people meet it: real processes, what they print, and their exit codes."""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, tool
from ledgent.dashboard.cli.errors import explained
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import import_line
from ledgent.schemas.errors import BrokenHistory, LogUnavailable
from ledgent.schemas.events import EVENT_CLASSES
from ledgent.schemas.run import replay
from tests.dashboard.command import AGENTS, LEDGENT, REMOTE_AGENTS, environment, ledgent, recorded, started

pytestmark = pytest.mark.slow


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


TILLS = """
import asyncio
from ledgent.agent import Agent, Call, ScriptedModel, tool

@tool
async def pay():
    with open("paid", "a+") as paid:
        first = not paid.tell()
        paid.write("5 ")
    if first:
        await asyncio.sleep(60)
    return "paid"

till = Agent("till", ScriptedModel([Call("pay"), "Settled."]), tools=[pay], on_uncertain="ask_person")
"""

ADDER = Agent("adder", ScriptedModel([Call("add", a=2, b=3), "It is 5."]), tools=[add])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with agents in it and no log yet."""
    (tmp_path / "helpers.py").write_text(AGENTS)
    (tmp_path / "remote.py").write_text(REMOTE_AGENTS)
    return tmp_path


# help and wrong words -----------------------------------------------------------------------------------------------


def test_help_names_every_command_and_imports_nothing_heavy(folder: Path) -> None:
    done = ledgent(folder, "--help")
    assert done.code == 0
    processes = ("up", "worker", "processors", "sink", "dashboard")
    for name in ("demo", *processes, "doctor", "sql", "stats", "run", "log", "store", "topics", "dlq", "schema"):
        assert f"\n  {name} " in done.out

    heavy = {
        "pydantic",
        "orjson",
        "rich.console",
        "openai",
        "chdb",
        "streamlit",
        "clickhouse_connect",
        "pandas",
        "kafka",
    }
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, ledgent.dashboard.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert heavy.isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("rnu",), "Did you mean 'run'?"),
        (("run", "verfy"), "Did you mean 'verify'?"),
        (("run", "list", "--limt", "3"), "Did you mean --limit?"),
        (("run", "list", "--status", "faild"), "Did you mean failed?"),
    ],
)
def test_a_wrong_word_gets_a_suggestion(folder: Path, words: tuple[str, ...], suggestion: str) -> None:
    done = ledgent(folder, *words)
    assert done.code == 2
    assert suggestion in done.error


@pytest.mark.parametrize(
    "words",
    [
        ("run", "show"),
        ("run", "verify"),
        ("run", "list", "--since", "yesterday"),
        ("run", "list", "-o", "xml"),
        ("run", "show", "x", "--log", "redis://localhost"),
        ("worker",),
    ],
)
def test_wrong_usage_is_one_line(folder: Path, words: tuple[str, ...]) -> None:
    done = ledgent(folder, *words)
    assert done.code == 2
    assert done.error


# logs that cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unknown_run_is_one_line_and_makes_no_log(folder: Path) -> None:
    for words in (("run", "show", "nope"), ("run", "cancel", "nope"), ("run", "export", "nope")):
        done = ledgent(folder, *words)
        assert done.code == 2
        assert "no run 'nope'" in done.error
    assert not (folder / ".ledgent").exists()


def test_a_log_path_that_is_a_directory_is_one_line(folder: Path) -> None:
    done = ledgent(folder, "run", "show", "x", LEDGENT_LOG=f"sqlite:///{folder}")
    assert done.code == 3
    assert "is a directory" in done.error
    assert "LEDGENT_LOG=" in done.error


@pytest.mark.slow
def test_a_broken_log_file_is_one_line(folder: Path) -> None:
    (folder / "broken.db").write_bytes(b"no database, whatever it is called" * 200)
    for words in (("run", "list"), ("run", "verify", "--all"), ("run", "tail")):
        done = ledgent(folder, *words, "--log", "sqlite:///broken.db")
        assert done.code == 1
        assert "broken.db" in done.error


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_acknowledged_stays(folder: Path) -> None:
    words = "run start wordy hi --agents helpers"
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {LEDGENT} {words}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert limited.returncode in (1, 3)
    assert "disk" in limited.stderr
    assert limited.stderr.count("\n") == 1, limited.stderr
    shown = limited.stdout.count("\n")
    assert shown >= 3, "claimed, started and the call's intent were durable"
    verified = ledgent(folder, "run", "verify", "--all", "-o", "json")
    assert verified.code == 0
    assert [certificate["records"] for certificate in json.loads(verified.out)] == [shown]


# looking at runs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_shown_step_by_step_by_any_end_of_its_id(folder: Path) -> None:
    (run_id,) = recorded(folder, ADDER)
    for given in (run_id, run_id[-6:], run_id[:20]):
        done = ledgent(folder, "run", "show", given)
        assert done.code == 0
        assert run_id in done.out
        assert "status   completed" in done.out
        assert "add(a=2, b=3)" in done.out
        assert done.out.endswith("It is 5.\n")
    shown = json.loads(ledgent(folder, "run", "show", run_id, "-o", "json").out)
    assert shown["run"]["status"] == "completed"
    assert [event["seq"] for event in shown["events"]] == list(range(1, 10))


def test_an_id_that_fits_several_runs_is_refused(folder: Path) -> None:
    recorded(folder, ADDER, ADDER)
    done = ledgent(folder, "run", "show", "0")
    assert done.code == 2
    assert "may be any of 2 runs" in done.error


@pytest.mark.slow
def test_the_state_at_a_record_and_what_it_changed_are_shown(folder: Path) -> None:
    (run_id,) = recorded(folder, ADDER)
    step = json.loads(ledgent(folder, "run", "show", run_id, "--at", "6", "-o", "json").out)
    assert step["record"]["event"]["type"] == "tool_call.completed"
    assert step["state"]["seq"] == 6
    assert step["changed"]["messages"]["added"] == [{"role": "tool", "tool_call_id": "call_m1_0", "content": "5"}]
    assert "What it changed" in ledgent(folder, "run", "show", run_id, "--at", "6").out
    past_the_end = ledgent(folder, "run", "show", run_id, "--at", "99")
    assert past_the_end.code == 2
    assert "records 1 to 9" in past_the_end.error


@pytest.mark.slow
def test_the_exact_request_of_a_model_call_is_shown(folder: Path) -> None:
    (run_id,) = recorded(folder, ADDER)
    shown = ledgent(folder, "run", "show", run_id, "--request", "m2")
    assert shown.code == 0
    digest = hashlib.sha256(shown.out.removesuffix("\n").encode()).hexdigest()
    assert f"SHA-256 {digest}, as sent" in shown.err
    facts = json.loads(ledgent(folder, "run", "show", run_id, "--request", "m2/1", "-o", "json").out)
    assert facts["request"] == json.loads(shown.out)
    assert (facts["ok"], facts["digest"], facts["seq"]) == (True, digest, 7)
    missing = ledgent(folder, "run", "show", run_id, "--request", "m9")
    assert missing.code == 2
    assert "it has m1 to m2" in missing.error

    connection = sqlite3.connect(folder / ".ledgent" / "log.db")
    connection.execute("UPDATE records SET body = replace(body, 'What is 2', 'What is 3') WHERE seq = 2")
    connection.execute("UPDATE records SET body = CAST(body AS BLOB)")
    connection.commit()
    connection.close()
    changed = ledgent(folder, "run", "show", run_id, "--request", "m2")
    assert changed.code == 1
    assert "NOT what was sent" in changed.err


def test_what_models_and_tools_say_cannot_steer_the_terminal(folder: Path) -> None:
    done = ledgent(folder, "run", "start", "escaping", "hi", "--agents", "helpers")
    assert done.code == 0
    assert "gone" in done.out
    assert "\x1b" not in done.out


@pytest.mark.slow
def test_verification_names_the_record_that_was_changed(folder: Path) -> None:
    good, bad = recorded(folder, ADDER, ADDER)
    assert ledgent(folder, "run", "verify", "--all").code == 0

    connection = sqlite3.connect(folder / ".ledgent" / "log.db")
    (body,) = connection.execute(
        "SELECT body FROM records JOIN runs USING (run_key) WHERE run_id = ? AND records.seq = 4", (bad,)
    ).fetchone()
    connection.execute("UPDATE records SET body = ? WHERE body = ?", (body.replace(b"add", b"odd"), body))
    connection.commit()
    connection.close()

    done = ledgent(folder, "run", "verify", "--all")
    assert done.code == 1
    assert f"run {bad}: broken at record 4" in done.out
    assert "1 of 2 runs could not be verified" in done.error
    assert ledgent(folder, "run", "verify", good).code == 0
    (certificate,) = json.loads(ledgent(folder, "run", "verify", bad, "-o", "json").out)
    assert (certificate["ok"], certificate["seq"], certificate["records"]) == (False, 4, 3)


@pytest.mark.slow
def test_certificates_are_written_for_the_runs_of_a_time_by_todays_agents(folder: Path) -> None:
    (run_id,) = recorded(folder, ADDER)
    done = ledgent(folder, "run", "verify", "--all", "--since", "1h", "--agents", "helpers", "--certificate", "c.json")
    assert done.code == 1, "the test's adder has a tool of another description"
    (certificate,) = json.loads((folder / "c.json").read_text())
    assert (certificate["run_id"], certificate["verdict"], certificate["seq"]) == (run_id, "diverged", 3)
    assert (certificate["field"], certificate["cause"]) == ("model_call.started.request_digest", "agent_changed")
    assert certificate["code"].startswith("ledgent ")
    assert datetime.fromisoformat(certificate["verified_at"]).tzinfo is not None
    assert "the agent is not what it was: tools.add.parameters.properties.a" in done.out

    assert ledgent(folder, "run", "verify", "--all", "--since", "1h", "--certificate", "c.json").code == 0
    (certificate,) = json.loads((folder / "c.json").read_text())
    assert (certificate["ok"], certificate["records"], certificate["complete"]) == (True, 9, True)
    none = ledgent(folder, "run", "verify", "--all", "--since", "2199-01-01", "-o", "json")
    assert (none.code, json.loads(none.out)) == (0, [])
    assert ledgent(folder, "run", "verify", run_id, "--since", "1h").code == 2


@pytest.mark.slow
def test_an_export_keeps_every_byte_and_ends_with_the_heads(folder: Path) -> None:
    runs = recorded(folder, ADDER, ADDER)
    exported = ledgent(folder, "run", "export", "--all").out.encode().splitlines(keepends=True)
    log = open_log(f"sqlite:///{folder}/.ledgent/log.db")
    try:
        stored = [record for run_id in sorted(runs) for record in log.records(run_id)]
        heads = [log.head(run_id) for run_id in sorted(runs)]
    finally:
        log.close()

    read = [import_line(line) for line in exported if b'"event":' in line]
    assert read == stored
    assert replay(runs[0], read[:9]).state.output == "It is 5."
    named = [{"run_id": head.run_id, "seq": head.guard.seq, "digest": head.guard.digest} for head in heads if head]
    assert json.loads(exported[9]) == named[0]
    assert json.loads(exported[-1]) == {"heads": named}

    into = ledgent(folder, "run", "export", runs[0], "--out", "run.jsonl")
    assert into.code == 0
    assert (folder / "run.jsonl").read_bytes().startswith(b"".join(exported[:10]))
    assert ledgent(folder, "run", "export", runs[0], "--out", "missing/run.jsonl").code == 2


@pytest.mark.slow
def test_exports_are_checked_without_the_log_held_against_anchors_and_imported(folder: Path) -> None:
    runs = recorded(folder, ADDER, ADDER)
    assert ledgent(folder, "run", "export", "--all", "--out", "runs.jsonl").code == 0
    assert "2 heads" in ledgent(folder, "log", "anchor", "--to", "anchors").err
    good = ledgent(folder, "log", "verify", "runs.jsonl", "--anchors", "anchors")
    assert (good.code, good.out) == (0, "runs.jsonl: 2 runs, 18 records, whole and as they were written\n")

    lines = (folder / "runs.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "cut.jsonl").write_bytes(b"".join(lines[:5]))
    cut = ledgent(folder, "log", "verify", "cut.jsonl", "-o", "json")
    assert cut.code == 1
    (fault,) = json.loads(cut.out)[0]["faults"]
    assert (fault["line"], fault["run_id"], fault["seq"]) == (6, min(runs), 6)
    assert ledgent(folder, "log", "verify", "missing.jsonl").code == 2

    elsewhere = f"sqlite:///{folder}/other/log.db"
    imported = ledgent(folder, "run", "import", "runs.jsonl", "--log", elsewhere)
    assert (imported.code, imported.out) == (0, "runs.jsonl: 2 runs, 2 of them new; 18 records written\n")
    again = ledgent(folder, "run", "export", "--all", "--log", elsewhere)
    assert again.out.encode() == b"".join(lines)
    assert "exported" in ledgent(folder, "run", "import", "cut.jsonl", "--log", elsewhere).error


@pytest.mark.slow
def test_messages_and_spans_are_exported_and_messages_imported_as_imported_runs(folder: Path) -> None:
    (run_id,) = recorded(folder, ADDER)
    assert ledgent(folder, "run", "export", run_id, "--format", "openai", "--out", "chats.jsonl").code == 0
    chat = json.loads((folder / "chats.jsonl").read_text())
    assert [message["role"] for message in chat["messages"]] == ["user", "assistant", "tool", "assistant"]
    spans = json.loads(ledgent(folder, "run", "export", run_id, "--format", "otlp").out)
    assert len(spans["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 4
    elsewhere = f"sqlite:///{folder}/other/log.db"
    with (folder / "chats.jsonl").open("a") as file:
        file.write("nothing\n")
    done = ledgent(folder, "run", "import", "chats.jsonl", "--format", "openai", "--log", elsewhere)
    assert (done.code, done.out) == (1, "chats.jsonl: 1 runs, 1 of them new; 9 records written\n")
    assert "chats.jsonl, line 2" in done.error
    verified = ledgent(folder, "run", "verify", "--all", "--log", elsewhere)
    assert verified.code == 0
    assert "imported: 9 records whole and in order; nothing was decided here" in verified.out


def test_a_reader_that_has_had_enough_is_no_error(folder: Path) -> None:
    recorded(folder, Agent("wordy", ScriptedModel(["word " * 40_000])))
    process = started(folder, "run", "export", "--all")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.slow
def test_following_shows_what_comes_and_ctrl_c_ends_it(folder: Path) -> None:
    recorded(folder, ADDER)
    process = started(folder, "run", "tail", "--follow", "-n", "1", "-o", "jsonl")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"]["type"] == "run.completed"
    (run_id,) = recorded(folder, ADDER)
    assert json.loads(process.stdout.readline())["run_id"] == run_id
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


# asking for runs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_started_here_and_shown_as_it_goes(folder: Path) -> None:
    words = ("--agents", "helpers", "--label", "who=me", "--session", "s1")
    done = ledgent(folder, "run", "start", "adder", "What is 2 and 3?", *words)
    assert done.code == 0
    assert "add(a=2, b=3)" in done.out
    assert "\nIt is 5.\n" in done.out
    limited = ledgent(folder, "run", "start", "adder", "-", "--agents", "helpers", "--max-steps", "1", input="2 and 3?")
    assert limited.code == 1
    assert "ended as limited: its limit of steps" in limited.err


@pytest.mark.slow
def test_an_unknown_agent_or_module_is_one_line(folder: Path) -> None:
    unknown = ledgent(folder, "run", "start", "ader", "hi", "--agents", "helpers")
    assert unknown.code == 2
    assert "Did you mean adder?" in unknown.error
    missing = ledgent(folder, "run", "start", "adder", "hi", "--agents", "nothing.here")
    assert missing.code == 2
    assert "cannot be imported" in missing.error


@pytest.mark.slow
def test_a_missing_key_and_a_refused_connection_fail_the_run_without_a_traceback(folder: Path) -> None:
    keyless = ledgent(folder, "run", "start", "keyless", "hi", "--agents", "remote")
    assert keyless.code == 1
    assert "OPENAI_API_KEY is not set" in keyless.err
    assert "run.failed" in keyless.out
    refused = ledgent(folder, "run", "start", "unreachable", "hi", "--agents", "remote")
    assert refused.code == 1
    assert "retry.scheduled" in refused.out
    assert "ended as failed: " in refused.err
    for done in (keyless, refused):
        assert "Traceback" not in done.out + done.err
        assert "Unclosed" not in done.err


@pytest.mark.slow
def test_a_detached_run_waits_for_a_worker(folder: Path) -> None:
    detached = ledgent(folder, "run", "start", "adder", "hi", "--detach")
    run_id = detached.out.strip()
    assert detached.code == 0
    assert "is queued" in ledgent(folder, "run", "show", run_id).out
    assert ledgent(folder, "run", "verify", run_id).code == 2

    worked = ledgent(folder, "worker", "--agents", "helpers", "--until-idle")
    assert worked.code == 0
    assert "completed" in worked.out
    assert "status   completed" in ledgent(folder, "run", "show", run_id).out
    refused = ledgent(folder, "run", "cancel", run_id)
    assert refused.code == 2
    assert "has ended" in refused.error


@pytest.mark.slow
def test_a_conversation_goes_on_by_messages_and_is_ended(folder: Path) -> None:
    begun = ledgent(folder, "run", "start", "talker", "hi", "--agents", "helpers", "-o", "jsonl")
    assert begun.code == 0
    run_id = json.loads(begun.out.splitlines()[0])["run_id"]
    worker = started(folder, "worker", "--agents", "helpers")
    try:
        answered = ledgent(folder, "run", "send", run_id, "bye", "--follow")
        assert "Bye!" in answered.out
        ended = ledgent(folder, "run", "end", run_id, "--follow")
        assert "run.completed" in ended.out
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        worker.communicate()


@pytest.mark.slow
def test_a_run_is_cancelled_from_another_process(folder: Path) -> None:
    process = started(folder, "run", "start", "patient", "hi", "--agents", "helpers", "-o", "jsonl")
    assert process.stdout is not None
    run_id = json.loads(process.stdout.readline())["run_id"]
    assert ledgent(folder, "run", "cancel", run_id, "--reason", "enough").code == 0
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert "status   cancelled: enough" in ledgent(folder, "run", "show", run_id).out


@pytest.mark.slow
def test_ctrl_c_hands_a_run_over_to_the_next_worker(folder: Path) -> None:
    process = started(folder, "run", "start", "patient", "hi", "--agents", "helpers", "-o", "jsonl")
    assert process.stdout is not None
    run_id = json.loads(process.stdout.readline())["run_id"]
    _until(lambda: "tool_call.started" in ledgent(folder, "run", "tail", run_id).out)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "is handed over" in err
    shown = json.loads(ledgent(folder, "run", "show", run_id, "-o", "json").out)
    assert (shown["run"]["status"], shown["run"]["suspended"]) == ("suspended", "handed_over")


@pytest.mark.slow
def test_calls_that_wait_are_allowed_or_not(folder: Path) -> None:
    begun = ledgent(folder, "run", "start", "payer", "hi", "--agents", "helpers")
    run_id = begun.err.split("ledgent run approve ")[1].split()[0]
    shown = ledgent(folder, "run", "show", run_id)
    assert "may it call pay(usd=5)?" in shown.out
    assert "waits until its calls are allowed" in shown.out
    wrong = ledgent(folder, "run", "approve", run_id, "m1.t7")
    assert (wrong.code, wrong.out) == (2, "")
    assert "call m1.t7 does not wait for approval: m1.t0, m1.t1 do" in wrong.err
    assert ledgent(folder, "run", "approve", run_id, "m1.t0", "--by", "Ada").code == 0
    assert ledgent(folder, "run", "deny", run_id, "m1.t1", "--reason", "too much").code == 0
    ledgent(folder, "worker", "--agents", "helpers", "--until-idle")
    shown = ledgent(folder, "run", "show", run_id)
    for text in ("allowed by Ada", "pay gave paid 5", "This call was not allowed: too much.", "Settled."):
        assert text in shown.out
    assert "none of its calls does" in ledgent(folder, "run", "approve", run_id).err


@pytest.mark.slow
def test_a_person_says_what_became_of_a_call(folder: Path) -> None:
    (folder / "tills.py").write_text(TILLS)
    process = started(folder, "run", "start", "till", "hi", "--agents", "tills", "-o", "jsonl")
    assert process.stdout is not None
    run_id = json.loads(process.stdout.readline())["run_id"]
    _until(lambda: (folder / "paid").exists())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    ledgent(folder, "worker", "--agents", "tills", "--until-idle")
    shown = ledgent(folder, "run", "show", run_id)
    for text in ("The outcome of this call to pay is unknown", "ledgent run answer", "ledgent run approve"):
        assert text in shown.out
    assert "m1.t0: allowed" in ledgent(folder, "run", "approve", run_id, "--by", "Ada").err
    ledgent(folder, "worker", "--agents", "tills", "--until-idle")
    shown = ledgent(folder, "run", "show", run_id)
    for text in ("allowed by Ada", "pay gave paid", "Settled."):
        assert text in shown.out
    assert (folder / "paid").read_text() == "5 5 "


@pytest.mark.slow
def test_a_question_is_answered(folder: Path) -> None:
    begun = ledgent(folder, "run", "start", "asker", "hi", "--agents", "helpers")
    assert "Where to? [Rome | Oslo]" in begun.err
    run_id = begun.err.split("ledgent run answer ")[1].split()[0]
    shown = ledgent(folder, "run", "show", run_id)
    for text in ("Where to? [Rome | Oslo]", "waits until its question is answered", "ledgent run answer"):
        assert text in shown.out
    wrong = ledgent(folder, "run", "answer", run_id, "Paris")
    assert wrong.code == 2
    assert "'Paris' is none of the answers to choose from: 'Rome', 'Oslo'" in wrong.err
    assert "waits for an answer" in ledgent(folder, "run", "answer", run_id, "m1.t7", "Rome").err
    assert "none of its calls does" in ledgent(folder, "run", "approve", run_id).err
    assert ledgent(folder, "run", "answer", run_id, "m1.t0", "Oslo", "--by", "Ada").code == 0
    ledgent(folder, "worker", "--agents", "helpers", "--until-idle")
    shown = ledgent(folder, "run", "show", run_id)
    for text in ("Ada: Oslo", "Off we go."):
        assert text in shown.out
    assert "the run has ended" in ledgent(folder, "run", "answer", run_id, "Rome").err
    assert ledgent(folder, "run", "verify", run_id).code == 0


@pytest.mark.slow
def test_a_run_is_restored_at_a_name(folder: Path) -> None:
    begun = ledgent(folder, "run", "start", "asker", "hi", "--agents", "helpers")
    run_id = begun.err.split("ledgent run answer ")[1].split()[0]
    assert ledgent(folder, "run", "checkpoint", run_id, "7th").code == 2
    assert ledgent(folder, "run", "checkpoint", run_id, "asked").code == 0
    assert ledgent(folder, "run", "answer", run_id, "Oslo").code == 0
    ledgent(folder, "worker", "--agents", "helpers", "--until-idle")
    assert "checkpoint.saved" in ledgent(folder, "run", "show", run_id, "--at", "asked").out
    assert "in the middle of its calls" in ledgent(folder, "run", "restore", run_id, "--at", "5").error
    here = ledgent(folder, "run", "restore", run_id, "--at", "asked", "--agents", "helpers")
    assert (here.code, here.out.rstrip().endswith("Off we go.")) == (0, True)
    assert f"(from run {run_id[-8:]} at " in here.out
    queued = ledgent(folder, "run", "restore", run_id, "--at", "asked", "--detach").out.strip()
    ledgent(folder, "worker", "--agents", "helpers", "--until-idle")
    assert "Off we go." in ledgent(folder, "run", "show", queued).out
    assert ledgent(folder, "run", "verify", "--all").out.rstrip().endswith("3 runs verified")


# the rest -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_event_type_has_a_json_schema(folder: Path) -> None:
    assert ledgent(folder, "schema", "export", "--out", "shapes").code == 0
    schemas = {path.name: json.loads(path.read_text()) for path in (folder / "shapes").iterdir()}
    assert schemas.keys() == {f"{name}.v{cls.version}.json" for name, cls in EVENT_CLASSES.items()}
    assert {schema["$schema"] for schema in schemas.values()} == {"https://json-schema.org/draft/2020-12/schema"}
    assert json.loads(ledgent(folder, "schema", "export").out).keys() == {
        name.removesuffix(".json") for name in schemas
    }
    listed = [json.loads(line)["type"] for line in ledgent(folder, "schema", "list", "-o", "jsonl").out.splitlines()]
    assert listed == list(EVENT_CLASSES)


@pytest.mark.slow
def test_a_breaking_change_of_an_event_is_named(folder: Path) -> None:
    good = ledgent(folder, "schema", "check")
    assert good.code == 0, good.out
    schemas = json.loads(ledgent(folder, "schema", "export").out)
    schemas["run.started.v1"]["properties"]["mood"] = {"type": "string"}
    (folder / "then.json").write_text(json.dumps(schemas))
    bad = ledgent(folder, "schema", "check", "--against", "then.json")
    assert (bad.code, bad.out) == (1, "run.started.v1: $.mood: the field is gone\n")
    (folder / "none.json").write_text("[]")
    assert ledgent(folder, "schema", "check", "--against", "none.json").code == 2


def test_the_doctor_names_what_is_wrong_and_what_mends_it(folder: Path) -> None:
    fresh = ledgent(folder, "doctor", "-o", "json")
    assert fresh.code == 0
    assert {finding["verdict"] for finding in json.loads(fresh.out)} <= {"ok", "warn"}
    assert not (folder / ".ledgent").exists()

    unreachable = ledgent(folder, "doctor", "--log", f"sqlite:///{folder}")
    assert unreachable.code == 3
    assert "fail log" in unreachable.out
    (folder / "broken.db").write_bytes(b"no database" * 1000)
    assert ledgent(folder, "doctor", "--log", "sqlite:///broken.db").code == 1
    told = ledgent(folder, "doctor", OPENAI_API_KEY="sk-secret").out
    assert "OPENAI_API_KEY is set" in told
    assert "sk-secret" not in told


def test_every_error_is_one_line_with_its_own_exit_code() -> None:
    assert explained(LogUnavailable("the log\nis away")) == ("ledgent: the log is away", 3)
    assert explained(BrokenHistory("r", 4, "a gap")) == ("ledgent: run r: record 4: a gap", 1)
    text, code = explained(ZeroDivisionError("division by zero"))
    assert code == 1
    assert text.count("\n") == 0
    assert "LEDGENT_DEBUG=1" in text


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
