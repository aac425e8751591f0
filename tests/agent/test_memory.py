"""What agents remember: kept once however often it is asked for, found by its words, and never a reason to fail."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, SqliteMemory
from ledgent.agent.memory import LONGEST_ENTRY
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import MemoryUnavailable, UsageError
from ledgent.schemas.events import MemoryRead, MemoryWritten, RunStarted, ToolCallCompleted, ToolCallFailed
from tests.agent.recorded import events_of, go, only, types_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "memory.db"


def clerk(memory: Any, *turns: Any, **options: Any) -> Agent:
    return Agent("clerk", ScriptedModel([*turns, "done"]), memory=memory, **options)


class TestTools:
    async def test_what_one_run_remembers_another_recalls(self, log: MemoryLog, file: Path) -> None:
        memory = SqliteMemory("clerk", file)
        said = [Call("remember", text="Ada likes tea."), Call("remember", text="Ada lives in Rome.")]
        await go(clerk(memory, said), log)
        result = await go(clerk(memory, Call("recall", query="What does Ada like?")), log)
        assert only(log, result.run_id, ToolCallCompleted).result == "Ada likes tea.\nAda lives in Rome."

    async def test_what_is_not_there_is_said_so(self, log: MemoryLog, file: Path) -> None:
        result = await go(clerk(SqliteMemory("clerk", file), Call("recall", query="Ada")), log)
        assert only(log, result.run_id, ToolCallCompleted).result == "Nothing is remembered about that."

    async def test_what_they_did_is_in_the_log_before_their_outcome(self, log: MemoryLog, file: Path) -> None:
        memory = SqliteMemory("clerk", file)
        result = await go(clerk(memory, Call("remember", text="Ada likes tea."), Call("recall", query="tea")), log)
        kinds = types_of(log, result.run_id)
        began = kinds.index("tool_call.started")
        assert kinds[began + 1 : began + 3] == ["memory.written", "tool_call.completed"]
        key = f"{result.run_id}/m1.t0"
        assert only(log, result.run_id, MemoryWritten) == MemoryWritten(call_id="m1.t0", key=key, text="Ada likes tea.")
        assert events_of(log, result.run_id, MemoryRead)[-1] == MemoryRead(
            query="tea", entries=("Ada likes tea.",), call_id="m2.t0"
        )
        memory.add("another text", key)
        assert memory.search("another", 9) == [], "it was added under the key that the log names"

    @pytest.mark.parametrize("text", ["", " \n", "x" * (LONGEST_ENTRY + 1)])
    async def test_nothing_and_too_much_are_not_remembered(self, log: MemoryLog, file: Path, text: str) -> None:
        result = await go(clerk(SqliteMemory("clerk", file), Call("remember", text=text)), log)
        only(log, result.run_id, ToolCallFailed)
        assert not events_of(log, result.run_id, MemoryWritten)

    async def test_a_memory_that_fails_fails_its_calls_and_not_the_run(self, log: MemoryLog, tmp_path: Path) -> None:
        (tmp_path / "memory.db").write_bytes(b"no database" * 1000)
        memory = SqliteMemory("clerk", tmp_path / "memory.db")
        with pytest.raises(MemoryUnavailable, match="does not answer: file is not a database"):
            memory.search("tea", 1)
        calls = [Call("remember", text="x"), Call("recall", query="x")]
        result = await go(clerk(memory, calls), log)
        assert result.output == "done"
        failed = events_of(log, result.run_id, ToolCallFailed)
        assert len(failed) == 4, "each is tried twice"
        assert all("MemoryUnavailable" in event.error.message for event in failed)
        assert not events_of(log, result.run_id, MemoryWritten)


class TestAgent:
    async def test_a_run_freezes_the_name_of_its_memory_and_the_tools(self, log: MemoryLog, file: Path) -> None:
        result = await go(clerk(SqliteMemory("travel", file)), log)
        spec = only(log, result.run_id, RunStarted).agent
        assert spec.memory == "travel"
        assert [tool.name for tool in spec.tools] == ["remember", "recall"]

    def test_a_memory_is_one_and_leaves_its_tools_their_names(self, file: Path) -> None:
        with pytest.raises(UsageError, match=r"such as SqliteMemory.*not 'travel'"):
            clerk("travel")

        def recall() -> str:
            """Recalls."""
            return ""

        with pytest.raises(UsageError, match="two tools have the same name"):
            clerk(SqliteMemory("travel", file), tools=[recall])

    def test_an_agent_with_other_fields_keeps_it(self, file: Path) -> None:
        memory = SqliteMemory("travel", file)
        agent = clerk(memory).but(instructions="Be brief.")
        assert agent.memory is memory
        assert [tool.name for tool in agent.but(memory=None).spec.tools] == []


class TestSqlite:
    def test_the_same_key_again_adds_nothing(self, file: Path) -> None:
        memory = SqliteMemory("clerk", file)
        for text in ("Ada likes tea.", "Ada likes tea.", "Ada likes coffee."):
            memory.add(text, "run/m1.t0")
        assert memory.search("Ada", 9) == ["Ada likes tea."]

    def test_namespaces_do_not_see_each_other(self, file: Path) -> None:
        for name in ("a", "b"):
            SqliteMemory(name, file).add(f"{name} likes tea", "same key")
        assert SqliteMemory("a", file).search("tea", 9) == ["a likes tea"]
        with pytest.raises(UsageError, match="needs a namespace"):
            SqliteMemory("", file)

    def test_the_best_come_first_and_no_more_than_asked_for(self, file: Path) -> None:
        memory = SqliteMemory("clerk", file)
        for text in ("Ada likes tea and walks", "Ada lives in Rome", "Zoë likes rain", "Bob likes tea"):
            memory.add(text, text)
        assert memory.search("Where does Ada drink tea?", 9)[0] == "Ada likes tea and walks"
        assert len(memory.search("likes", 2)) == 2
        assert memory.search("zoë", 9) == ["Zoë likes rain"]

    @pytest.mark.parametrize(
        "query", ["", "?", '"', 'tea" OR "', "tea*", "tea NOT (", "text:tea", "NEAR(tea", "-tea", "\0"]
    )
    def test_any_query_is_only_words(self, file: Path, query: str) -> None:
        memory = SqliteMemory("clerk", file)
        memory.add("Ada likes tea", "1")
        assert memory.search(query, 9) == (["Ada likes tea"] if "tea" in query else [])

    @pytest.mark.slow
    def test_processes_share_it(self, file: Path) -> None:
        code = (
            "import sys; from ledgent.agent import SqliteMemory; memory = SqliteMemory('clerk', sys.argv[1])\n"
            "for n in range(20): memory.add(f'note {n} of {sys.argv[2]}', f'{sys.argv[2]}/{n}')"
        )
        writing = [subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("one", "two")]
        assert [process.wait(60) for process in writing] == [0, 0]
        assert len(SqliteMemory("clerk", file).search("note", 99)) == 40
