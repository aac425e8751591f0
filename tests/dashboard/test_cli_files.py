"""Files on the command line, and whole results: real processes."""

import json
from pathlib import Path

import pytest

from ledgent.producers.blobs import DirectoryBlobs
from tests.dashboard.command import Done, ledgent

pytestmark = pytest.mark.slow

AGENTS = """
from ledgent.agent import Agent, Call, ScriptedModel, tool


@tool(max_result_chars=20)
def recite() -> str:
    return "one \\u00fc " * 10 + "\\x1b[2J"


looker = Agent("looker", ScriptedModel(lambda messages: messages[0]["content"][0]["type"]), conversational=True)
reciter = Agent("reciter", ScriptedModel([Call("recite"), "Done."]), tools=[recite])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(AGENTS)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    return tmp_path


def here(folder: Path, *words: str) -> Done:
    return ledgent(folder, *words, LEDGENT_BLOBS="blobs", LEDGENT_AGENTS="mine", PYTHONPATH=".")


def test_a_run_is_started_with_files_and_a_message_sent_with_one(folder: Path) -> None:
    done = here(folder, "run", "start", "looker", "What is this?", "--file", "a.png", "--file", "mine.py")
    assert done.code == 0, done.err
    assert "looker: What is this? [a.png, image/png, 11 bytes] [mine.py, text/x-python," in done.out
    assert "image_url" in done.out
    assert len([path for path in (folder / "blobs").rglob("*") if path.is_file()]) == 2
    run_id = json.loads(here(folder, "run", "tail", "-o", "jsonl").out.splitlines()[0])["run_id"]
    sent = here(folder, "run", "send", run_id, "And this?", "--file", "a.png")
    assert (sent.code, sent.out) == (0, "")
    missing = here(folder, "run", "send", run_id, "And this?", "--file", "none.png")
    assert (missing.code, missing.error) == (2, "ledgent: there is no file none.png")


def test_a_submitted_run_takes_its_files_along(folder: Path) -> None:
    refused = here(folder, "run", "start", "looker", "--detach", "--file", "a.png")
    assert (refused.code, refused.error) == (2, "ledgent: files come with an input: what is to be done with them")
    assert here(folder, "run", "start", "looker", "x", "--detach", "--file", "a.png").code == 0
    assert [path.name[:2] for path in (folder / "blobs").iterdir()] != []


def test_the_whole_of_a_result_is_printed_or_written(folder: Path) -> None:
    whole = "one \u00fc " * 10 + "\x1b[2J"
    started = here(folder, "run", "start", "reciter", "go", "-o", "jsonl")
    records = [json.loads(line) for line in started.out.splitlines()]
    run_id = records[0]["run_id"]
    printed = here(folder, "run", "result", run_id[-6:], "m1.t0")
    assert (printed.code, printed.out) == (0, whole)
    written = here(folder, "run", "result", run_id, "m1.t0", "--out", "it.txt")
    assert (written.code, (folder / "it.txt").read_text()) == (0, whole)
    wrong = here(folder, "run", "result", run_id, "m1.t7")
    assert (wrong.code, wrong.error) == (2, f"ledgent: run {run_id}: no call m1.t7 has returned; these have: m1.t0")
    for path in (folder / "blobs").rglob("?" * 64):
        path.unlink()
    lost = here(folder, "run", "result", run_id, "m1.t0")
    assert lost.code == 1
    assert "is missing; set LEDGENT_BLOBS" in lost.error


def test_the_doctor_looks_at_the_files(folder: Path) -> None:
    def told(**changes: str) -> tuple[str, str]:
        found = json.loads(ledgent(folder, "doctor", "-o", "json", **changes).out)
        (finding,) = [each for each in found if each["subject"] == "files"]
        return finding["verdict"], finding["what"]

    assert told(LEDGENT_BLOBS="new") == ("ok", "there are none in new yet; it is made when it is needed")
    DirectoryBlobs(folder / "new").put(b"x")
    assert told(LEDGENT_BLOBS="new") == ("ok", "new is writable")
    assert told(LEDGENT_BLOBS="a.png/new") == ("warn", f"{folder / 'a.png'} is no directory that can be written")
    assert told(LEDGENT_BLOBS="s3://x") == (
        "warn",
        "'s3://x' is no directory for files: set LEDGENT_BLOBS to a directory that all processes of this log share",
    )
