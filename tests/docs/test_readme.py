"""What the README tells people to do, done."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """What stands behind the prompts, without the remarks."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in lines]


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_agent_runs_as_it_is_and_the_real_model_takes_one_line(tmp_path: Path) -> None:
    first, real = blocks("python")
    assert "17 and 25 make 42." in run([sys.executable, "-c", first], tmp_path)
    assert len(real.strip().splitlines()) == 1
    run([sys.executable, "-c", first.split("model =")[0] + real], tmp_path)


@pytest.mark.slow
def test_each_command_does_what_it_is_shown_for(tmp_path: Path) -> None:
    first, _ = blocks("python")
    run([sys.executable, "-c", first], tmp_path)
    ledgent = [str(Path(sys.executable).parent / "ledgent")]
    listed = run([*ledgent, "run", "list", "-o", "jsonl"], tmp_path)
    run_id = re.search(r'"run_id": ?"([^"]+)"', listed)
    assert run_id is not None, listed
    shown = [command for command in commands() if command[0] == "ledgent"]
    assert len(shown) >= 5
    for _, *arguments in shown:
        output = run([*ledgent, *(run_id[1] if word in ("01a1", "02b2") else word for word in arguments)], tmp_path)
        assert output.strip(), arguments


@pytest.mark.slow
def test_each_command_of_the_walk_through_a_failed_run_does_what_it_is_shown_for(tmp_path: Path) -> None:
    failing = "from ledgent.agent import Agent, Fail, ScriptedModel\n" + (
        "Agent('newsletter', ScriptedModel([Fail('auth', 'the key was refused')])).run_sync('Write.')"
    )
    run([sys.executable, "-c", failing], tmp_path)
    ledgent = [str(Path(sys.executable).parent / "ledgent")]
    listed = run([*ledgent, "run", "list", "--status", "failed", "-o", "jsonl"], tmp_path)
    run_id = re.search(r'"run_id": ?"([^"]+)"', listed)
    assert run_id is not None, listed
    text = (CHECKOUT / "docs" / "replay.md").read_text()
    shown = [shlex.split(line[2:], comments=True) for line in text.splitlines() if line.startswith("$ ledgent")]
    assert len(shown) >= 13
    for _, *arguments in shown:
        run([*ledgent, *(run_id[1] if word in ("01a1", "02b2") else word for word in arguments)], tmp_path)
    assert {"certificates.json", "runs.jsonl", "anchors.jsonl"} <= {path.name for path in tmp_path.iterdir()}


def test_the_two_commands_that_set_everything_up_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    made = {command[1] for command in commands() if command[0] == "make"}
    assert made == {"demo", "test"}
    assert made <= set(targets)


def test_every_file_that_the_documents_name_is_there() -> None:
    for document in ("README.md", "ARCHITECTURE.md"):
        text = (CHECKOUT / document).read_text()
        named = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`([a-z_]+/[\w/.]*)", text)
        missing = [name for name in named if not (CHECKOUT / name).exists()]
        assert missing == [], document
