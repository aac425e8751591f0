"""Results that are too long for a model: cut for it, kept whole, and read on by it and by people."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Call, ScriptedModel, ToolContext, read_result, tool
from ledgent.agent.tools.read_result import MOST_CHARACTERS
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import MAX_TEXT_BYTES
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ToolCallCompleted, ToolCallFailed, ToolCallRejected
from ledgent.schemas.state import ToolResult
from ledgent.schemas.state_json import as_json
from tests.agent.recorded import events_of, only, records_of, state_of

LONG = "".join(chr(32 + n % 90) for n in range(120_000))


@tool
async def look() -> str:
    return LONG


def results(log: MemoryLog, run_id: str) -> list[str]:
    """What the model was told of its calls."""
    return [message.text for message in state_of(log, run_id).messages if isinstance(message, ToolResult)]


async def run(log: MemoryLog, *tools: Any, calls: Any = ("look",), blobs: Path | None = None) -> str:
    turns = [call if isinstance(call, Call) else Call(call) for call in calls]
    agent = Agent("a", ScriptedModel([*turns, "done"]), tools=tools)
    result = await agent.run("go", log=log, blobs=str(blobs) if blobs else None)
    assert result.output == "done"
    return result.run_id


class TestCut:
    async def test_the_model_is_told_the_beginning_and_how_much_there_is(self, log: MemoryLog) -> None:
        run_id = await run(log, look)
        completed = only(log, run_id, ToolCallCompleted)
        assert completed.result == LONG[:50_000] + "\n[cut: 50,000 of 120,000 characters are shown]"
        assert results(log, run_id) == [completed.result]

    async def test_the_whole_is_kept_and_referred_to(self, log: MemoryLog) -> None:
        run_id = await run(log, look)
        whole = only(log, run_id, ToolCallCompleted).whole
        assert whole is not None
        assert (whole.media_type, whole.size, whole.name) == ("text/plain", 120_000, "m1.t0.txt")
        assert DirectoryBlobs().get(whole.sha256).decode() == LONG
        assert as_json(state_of(log, run_id))["wholes"] == {"m1.t0": "m1.t0.txt, text/plain, 120,000 bytes"}
        assert only(log, run_id, ToolCallCompleted).files == ()  # the model is not shown it as a file

    async def test_it_is_durable_before_its_record_is(self, tmp_path: Path) -> None:
        class Watching(MemoryLog):
            kept: list[bool]

            async def append(self, records: Any, **options: Any) -> None:
                for record in records:
                    if b"tool_call.completed" in record.body:
                        self.kept.append(any(path.is_file() for path in (tmp_path / "blobs").rglob("*")))
                await super().append(records, **options)

        log = Watching()
        log.kept = []
        await run(log, look, blobs=tmp_path / "blobs")
        assert log.kept == [True]

    async def test_each_tool_has_its_own_bound(self, log: MemoryLog) -> None:
        @tool(max_result_chars=10)
        async def short() -> list[int]:
            return list(range(100))

        @tool(max_result_chars=120_000)
        async def long() -> str:
            return LONG

        run_id = await run(log, short, long, calls=("short", "long"))
        short_one, long_one = events_of(log, run_id, ToolCallCompleted)
        assert short_one.result == "[0,1,2,3,4\n[cut: 10 of 291 characters are shown]"
        assert short_one.whole is not None
        assert (short_one.whole.media_type, short_one.whole.name) == ("application/json", "m1.t0.json")
        assert json.loads(DirectoryBlobs().get(short_one.whole.sha256)) == list(range(100))
        assert (long_one.result, long_one.whole) == (LONG, None)

    def test_a_bound_is_a_number_above_zero(self) -> None:
        with pytest.raises(UsageError, match="max_result_chars: Input should be greater"):
            tool(max_result_chars=0)(lambda: None)

    @pytest.mark.parametrize("character", ["x", "ü", "\U0001f600", "\x00", '"'])
    async def test_a_record_has_room_for_it_whatever_its_characters(self, log: MemoryLog, character: str) -> None:
        @tool(max_result_chars=10_000_000)
        async def look() -> str:
            return character * 300_000

        run_id = await run(log, look)
        completed = only(log, run_id, ToolCallCompleted)
        kept, _, note = completed.result.rpartition("\n")
        assert kept == character * len(kept)
        assert note == f"[cut: {len(kept):,} of 300,000 characters are shown]"
        assert MAX_TEXT_BYTES * 0.8 < len(json.dumps(kept, ensure_ascii=False).encode()) <= MAX_TEXT_BYTES
        assert completed.whole is not None
        assert completed.whole.size == len((character * 300_000).encode())

    async def test_half_a_character_does_not_stop_it(self, log: MemoryLog) -> None:
        @tool(max_result_chars=3)
        async def look() -> str:
            return "ab\ud800cd"

        run_id = await run(log, look)
        completed = only(log, run_id, ToolCallCompleted)
        assert completed.result.startswith("ab?\n")
        assert completed.whole is not None
        assert DirectoryBlobs().get(completed.whole.sha256) == b"ab?cd"

    async def test_a_result_that_cannot_be_kept_is_told_as_that(self, log: MemoryLog, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        run_id = await run(log, look, blobs=tmp_path / "file")
        error = only(log, run_id, ToolCallFailed).error
        assert (error.code, error.retryable) == (ErrorCode.TOOL_ERROR, False)
        assert error.message.startswith("look has done its work, but what it gave cannot be kept: a file of 120,000")
        assert "set LEDGENT_BLOBS" in error.message


class TestReadingOn:
    async def test_a_model_with_the_tool_is_told_how_and_reads_all_of_it(self, log: MemoryLog) -> None:
        def turn(messages: list[dict[str, Any]]) -> Any:
            last = messages[-1]["content"]
            if messages[-1]["role"] == "user":
                return Call("look")
            if last.endswith('read_result(call_id="m1.t0", offset=50000) reads on]'):
                return Call("read_result", call_id="m1.t0", offset=50_000, limit=MOST_CHARACTERS)
            if "reads on]" in last:
                offset = int(last.rpartition("offset=")[2].partition(" ")[0])
                return Call("read_result", call_id="m1.t0", offset=offset, limit=MOST_CHARACTERS)
            return "done"

        agent = Agent("a", ScriptedModel(turn), tools=[look, read_result])
        result = await agent.run("go", log=log)
        first, *pieces = (event.result.rpartition("\n") for event in events_of(log, result.run_id, ToolCallCompleted))
        assert "".join(piece for piece, _, _ in (first, *pieces)) == LONG
        assert [note for _, _, note in pieces] == [
            "[characters 50,000 to 90,000 of 120,000; offset=90000 reads on]",
            "[characters 90,000 to 120,000 of 120,000; this is the end]",
        ]

    async def test_the_note_names_no_tool_that_is_another(self, log: MemoryLog) -> None:
        @tool(name="read_result")
        async def mine() -> str:
            return "mine"

        run_id = await run(log, look, mine)
        assert results(log, run_id)[0].endswith("are shown]")

    async def test_what_was_not_cut_cannot_be_read(self, log: MemoryLog) -> None:
        @tool
        async def small() -> str:
            return "small"

        calls = ("small", "look", Call("read_result", call_id="m1.t0"), Call("read_result", call_id="../m2.t0"))
        run_id = await run(log, small, look, read_result, calls=calls)
        messages = [event.error.message for event in events_of(log, run_id, ToolCallFailed)]
        assert messages == [
            f"No result of a call '{call_id}' was cut. The calls whose results were: m2.t0."
            for call_id in ("m1.t0", "../m2.t0")
        ]

    async def test_another_runs_results_are_not_at_hand(self, log: MemoryLog) -> None:
        await run(log, look)
        run_id = await run(log, read_result, calls=[Call("read_result", call_id="m1.t0")])
        assert only(log, run_id, ToolCallFailed).error.message.endswith("The calls whose results were: none.")

    async def test_bounds_of_a_piece_are_held(self, log: MemoryLog) -> None:
        calls = [
            "look",
            Call("read_result", call_id="m1.t0", limit=MOST_CHARACTERS + 1),
            Call("read_result", call_id="m1.t0", offset=-1),
            Call("read_result", call_id="m1.t0", offset=500_000),
        ]
        run_id = await run(log, look, read_result, calls=calls)
        assert len(events_of(log, run_id, ToolCallRejected)) == 2
        assert results(log, run_id)[-1] == "\n[characters 500,000 to 500,000 of 120,000; this is the end]"

    async def test_a_piece_of_the_costliest_characters_is_not_cut_again(self, log: MemoryLog) -> None:
        @tool
        async def nulls() -> str:
            return "\x00" * 60_000

        calls = ["nulls", Call("read_result", call_id="m1.t0", limit=MOST_CHARACTERS)]
        run_id = await run(log, nulls, read_result, calls=calls)
        assert events_of(log, run_id, ToolCallCompleted)[1].whole is None

    async def test_a_lost_one_is_told_to_the_model(self, log: MemoryLog, tmp_path: Path) -> None:
        @tool
        async def lose() -> str:
            for path in (tmp_path / "blobs").rglob("?" * 64):
                path.unlink()
            return "lost"

        calls = ["look", "lose", Call("read_result", call_id="m1.t0")]
        run_id = await run(log, look, lose, read_result, calls=calls, blobs=tmp_path / "blobs")
        message = only(log, run_id, ToolCallFailed).error.message
        assert message.startswith("The whole result of m1.t0 cannot be read: ")
        assert "is missing" in message

    async def test_tools_of_your_own_reach_it_too(self, log: MemoryLog) -> None:
        @tool
        def grep(call_id: str, text: str, context: ToolContext) -> list[int]:
            whole = context.whole_result(call_id)
            return [place for place in range(len(whole)) if whole.startswith(text, place)][:3]

        run_id = await run(log, look, grep, calls=["look", Call("grep", call_id="m1.t0", text="!!")])
        assert results(log, run_id)[1] == "[]"
        assert records_of(log, run_id)[-1].event.type == "run.completed"
