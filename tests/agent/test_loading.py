"""Agents by name, from the modules that people name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledgent.agent.loading import load_agents
from ledgent.schemas.errors import UsageError

AGENT = "from ledgent.agent import Agent, ScriptedModel\n{name} = Agent({agent!r}, ScriptedModel([]))\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(name: str, text: str) -> str:
    Path(f"{name}.py").write_text(text)
    return name


def test_a_module_in_the_current_folder_is_found() -> None:
    module("here_are_two", AGENT.format(name="a", agent="one") + AGENT.format(name="b", agent="two"))
    assert sorted(load_agents("here_are_two")) == ["one", "two"]


def test_several_modules_are_named_with_commas() -> None:
    for name in ("first_of_them", "second_of_them"):
        module(name, AGENT.format(name="a", agent=name))
    assert sorted(load_agents("first_of_them, second_of_them,")) == ["first_of_them", "second_of_them"]
    assert sorted(load_agents(["first_of_them", "second_of_them"])) == ["first_of_them", "second_of_them"]


def test_the_same_agent_seen_twice_is_one() -> None:
    module("has_it", AGENT.format(name="a", agent="one"))
    module("imports_it", "from has_it import a\n")
    assert list(load_agents("has_it,imports_it")) == ["one"]


def test_no_modules_are_no_agents() -> None:
    assert load_agents("") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", "holds no ledgent Agent"),
        ("import no_such_module_at_all\n", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError"),
        ("this is no python\n", "cannot be imported: SyntaxError"),
    ],
)
def test_a_module_that_gives_no_agent_is_refused_with_the_reason(text: str, reason: str) -> None:
    module("is_no_good", text)
    with pytest.raises(UsageError, match=f"is_no_good: .*{reason}") as refusal:
        load_agents("is_no_good")
    assert "\n" not in str(refusal.value)


def test_two_agents_of_one_name_are_refused() -> None:
    module("says_one", AGENT.format(name="a", agent="same"))
    module("says_two", AGENT.format(name="a", agent="same"))
    with pytest.raises(UsageError, match="two agents named same"):
        load_agents("says_one,says_two")
