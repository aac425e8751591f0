"""Images and files in conversations: what the log holds, and what real servers are sent."""

import asyncio
import base64
import gc
import hashlib
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledgent.agent import (
    Agent,
    AnthropicModel,
    Call,
    File,
    Image,
    Limits,
    OpenAIModel,
    RetryPolicy,
    ScriptedModel,
    tool,
)
from ledgent.agent.models.http_model import HttpModel
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.memory import MemoryLog
from ledgent.producers.submit import send_message
from ledgent.schemas.errors import ErrorCode, FileRefused, UsageError
from ledgent.schemas.events import ModelCallFailed, ModelCallStarted, RunStarted, ToolCallCompleted, ToolCallFailed
from ledgent.schemas.state import Status, User
from ledgent.schemas.state_json import as_json
from tests.agent.models.anthropic_calls import a_message
from tests.agent.openai_calls import an_answer
from tests.agent.raw_server import RawServer, Step, whole
from tests.agent.recorded import events_of, only, records_of, state_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3 not much of one"
PNG_64, PDF_64 = base64.b64encode(PNG).decode(), base64.b64encode(PDF).decode()
NO_RETRY = RetryPolicy(attempts=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.pdf").write_bytes(PDF)
    (tmp_path / "notes.md").write_text("# Notes\nü")
    return tmp_path


def openai_at(server: RawServer) -> HttpModel:
    return OpenAIModel("gpt-4o", base_url=server.url, api_key="k", retry=NO_RETRY)


def anthropic_at(server: RawServer) -> HttpModel:
    return AnthropicModel("claude-sonnet-4-5", base_url=server.url.removesuffix("/v1"), api_key="k", retry=NO_RETRY)


def openai_call(name: str, arguments: str = "{}", *, ids: tuple[str, ...] = ("call_1",)) -> list[Step]:
    calls = [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} for id in ids]
    return whole(an_answer({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"))


def anthropic_call(name: str) -> list[Step]:
    return whole(a_message({"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}, stop="tool_use"))


def sent(server: RawServer, request: int = -1) -> Any:
    return orjson.loads(server.seen[request].body)["messages"]


async def ask(model: HttpModel, log: MemoryLog, folder: Path, *tools: Any, **options: Any) -> Any:
    try:
        agent = Agent("looker", model, tools=tools)
        return await agent.run("What is this?", log=log, blobs=str(folder / "blobs"), **options)
    finally:
        await model.aclose()


class TestOpenAI:
    async def test_images_pdfs_and_texts_arrive(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(an_answer())) as server:
            files = [str(folder / "a.png"), folder / "b.pdf", File(folder / "notes.md", name="n.md")]
            result = await ask(openai_at(server), log, folder, files=files)
        assert result.output == "Hello"
        (message,) = sent(server)
        assert message == {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_64}"}},
                {"type": "file", "file": {"filename": "b.pdf", "file_data": f"data:application/pdf;base64,{PDF_64}"}},
                {"type": "text", "text": "The file n.md:\n# Notes\nü"},
                {"type": "text", "text": "What is this?"},
            ],
        }

    async def test_what_a_tool_gives_follows_all_results_of_its_round(self, log: MemoryLog, folder: Path) -> None:
        @tool
        async def draw() -> Image:
            return Image(PNG, name="chart.png")

        answers = [openai_call("draw", ids=("call_1", "call_2")), whole(an_answer())]
        async with RawServer(*answers) as server:
            await ask(openai_at(server), log, folder, draw)
        roles = [message["role"] for message in sent(server)]
        assert roles == ["user", "assistant", "tool", "tool", "user"]
        assert sent(server)[2] == {"role": "tool", "tool_call_id": "call_1", "content": "[image chart.png]"}
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_64}"}}
        told = "These files were given by tool calls, in this order: chart.png by call_1; chart.png by call_2."
        assert sent(server)[4]["content"] == [image, image, {"type": "text", "text": told}]


class TestAnthropic:
    async def test_images_pdfs_and_texts_arrive(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(a_message())) as server:
            files = [folder / "a.png", folder / "b.pdf", folder / "notes.md", File(b"{}", name="x.json")]
            result = await ask(anthropic_at(server), log, folder, files=files)
        assert result.output == "Hello"
        pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF_64}
        text = {"type": "text", "media_type": "text/plain", "data": "# Notes\nü"}
        assert sent(server) == [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_64}},
                    {"type": "document", "source": pdf, "title": "b.pdf"},
                    {"type": "document", "source": text, "title": "notes.md"},
                    {"type": "document", "source": {**text, "data": "{}"}, "title": "x.json"},
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ]

    async def test_what_a_tool_gives_stands_after_its_result_in_the_same_turn(
        self, log: MemoryLog, folder: Path
    ) -> None:
        @tool
        async def draw() -> list[Any]:
            return ["see", Image(PNG, name="chart.png")]

        async with RawServer(anthropic_call("draw"), whole(a_message())) as server:
            await ask(anthropic_at(server), log, folder, draw)
        turns = sent(server)
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        result, image, told = turns[2]["content"]
        assert result == {"type": "tool_result", "tool_use_id": "toolu_1", "content": '["see","[image chart.png]"]'}
        assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PNG_64}
        assert told["text"].endswith("chart.png by toolu_1.")


class TestLog:
    async def test_it_holds_references_and_verifies_without_the_bytes(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(an_answer())) as server:
            result = await ask(openai_at(server), log, folder, files=[folder / "a.png"])
        started = only(log, result.run_id, RunStarted)
        (part,) = started.files
        assert part.sha256 == hashlib.sha256(PNG).hexdigest()
        assert (part.kind, part.media_type, part.size, part.name) == ("image", "image/png", len(PNG), "a.png")
        assert state_of(log, result.run_id).messages[0] == User("What is this?", (part,))
        records = b"".join(stored.body for stored in log.records(result.run_id))
        assert PNG_64[:100].encode() not in records
        assert len(records) < 6_000
        shutil.rmtree(folder / "blobs")
        certificate = verify(log, result.run_id)
        assert certificate.ok
        shown = as_json(state_of(log, result.run_id))["messages"][0]["content"][0]
        assert shown == {"type": "image_url", "image_url": {"url": f"ledgent:image/png;sha256,{part.sha256}"}}

    async def test_another_image_is_another_request(self, log: MemoryLog, folder: Path) -> None:
        digests = set()
        for name in ("a.png", "b.pdf"):
            result = await Agent("a", ScriptedModel(["ok"])).run("hm", log=log, files=[folder / name])
            digests |= {only(log, result.run_id, ModelCallStarted).request_digest}
        assert len(digests) == 2

    @pytest.mark.slow
    async def test_nothing_of_what_was_sent_is_kept_in_memory(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(an_answer())) as server:
            await ask(openai_at(server), log, folder, files=[folder / "a.png"])
            server.seen.clear()
        gc.collect()
        mark = PNG_64[1_000:1_100]
        kept = [one for one in gc.get_objects() if isinstance(one, dict | list | tuple) and _holds(one, mark)]
        assert kept == []

    async def test_fifty_runs_with_the_same_image_keep_it_once(self, log: MemoryLog, folder: Path) -> None:
        agent = Agent("a", ScriptedModel(["ok"]))
        blobs = folder / "blobs"
        results = await agent.run_many(["look"] * 50, log=log, files=[folder / "a.png"], blobs=str(blobs))
        assert {only(log, result.run_id, RunStarted).files[0].name for result in results} == {"a.png"}
        assert len([path for path in blobs.rglob("*") if path.is_file()]) == 1


class TestMissing:
    @pytest.mark.parametrize("model_at", [openai_at, anthropic_at])
    async def test_a_run_whose_image_is_gone_fails_and_says_which(
        self, log: MemoryLog, folder: Path, model_at: Any
    ) -> None:
        (folder / "c.png").write_bytes(PNG + b"other")

        @tool
        async def lose() -> str:
            shutil.rmtree(folder / "blobs")
            return "lost"

        answer = openai_call("lose") if model_at is openai_at else anthropic_call("lose")
        async with RawServer(answer) as server:
            model = model_at(server)
            result = await ask(model, log, folder, lose, files=[folder / "c.png"])
        failed = only(log, result.run_id, ModelCallFailed)
        assert len(server.seen) == 1
        assert (failed.error.code, failed.error.retryable) == (ErrorCode.MISSING_FILE, False)
        assert hashlib.sha256(PNG + b"other").hexdigest() in failed.error.message
        assert "is missing; set LEDGENT_BLOBS" in failed.error.message
        assert result.status is Status.FAILED

    async def test_a_damaged_image_is_not_sent(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(an_answer())) as server:
            first = await ask(openai_at(server), log, folder, files=[folder / "a.png"])
            sha256 = only(log, first.run_id, RunStarted).files[0].sha256
            (folder / "blobs" / sha256[:2] / sha256).write_bytes(PNG[:-1] + b"!")
            result = await ask(openai_at(server), log, folder, files=[folder / "a.png"])
        assert "is damaged" in only(log, result.run_id, ModelCallFailed).error.message
        assert len(server.seen) == 1


class TestEntries:
    async def test_messages_of_a_conversation_carry_files_to_the_end(self, log: MemoryLog, folder: Path) -> None:
        seen: list[Any] = []
        model = ScriptedModel(lambda messages: seen.append(messages[1:]) or "ok")  # type: ignore[func-returns-value]
        agent = Agent("talker", model, instructions="Talk.", conversational=True)
        async with agent.conversation(log=log) as chat:
            await chat.send("one", files=[folder / "a.png"])
            await chat.send("two")
            await chat.send("three", [folder / "b.pdf"])
        kinds = [[part["type"] for part in m["content"]] for m in seen[-1] if not isinstance(m["content"], str)]
        assert kinds == [["image_url", "text"], ["file", "text"]]
        assert [m["content"] for m in seen[-1] if isinstance(m["content"], str)] == ["ok", "two", "ok"]

    async def test_a_message_that_came_in_between_keeps_its_files(self, log: MemoryLog, folder: Path) -> None:
        @tool
        async def interrupt() -> str:
            await send_message(log, chat.run_id, "and this?", [part])
            while not chat.state.inbox:
                await _soon()
            return "done"

        model = ScriptedModel([Call("interrupt"), "ok"])
        agent = Agent("talker", model, tools=[interrupt], conversational=True)
        part = File(folder / "a.png").kept(_blobs(folder))
        async with agent.conversation(log=log) as chat:
            await chat.send("go")
            assert list(chat.state.messages)[-2] == User("and this?", (part,))

    async def test_a_submitted_run_reaches_a_worker_with_its_files(self, log: MemoryLog, folder: Path) -> None:
        async with RawServer(whole(an_answer())) as server:
            model = openai_at(server)
            agent = Agent("looker", model)
            run_id = await agent.submit("What?", log=log, files=[folder / "a.png"], blobs=str(folder / "blobs"))
            await Worker(log, {"looker": agent}, blobs=_blobs(folder)).work(until_idle=True)
            await model.aclose()
        assert PNG_64 in server.seen[0].body.decode()
        assert state_of(log, run_id).output == "Hello"

    async def test_a_restored_run_shows_the_files_of_the_one_it_goes_on_from(
        self, log: MemoryLog, folder: Path
    ) -> None:
        @tool
        async def draw() -> Image:
            return Image(PNG, name="chart.png")

        model = ScriptedModel(
            lambda messages: "ok" if messages[-1]["role"] != "user" or len(messages) > 2 else Call("draw")
        )
        agent = Agent("a", model, tools=[draw])
        first = await agent.run("x", log=log, files=[folder / "b.pdf"])
        settled = only(log, first.run_id, ToolCallCompleted)
        seq = next(record.seq for record in records_of(log, first.run_id) if record.event == settled)
        second = await agent.restore(first.run_id, at=seq, log=log)
        states = [as_json(state_of(log, result.run_id))["messages"] for result in (first, second)]
        assert states[0] == states[1]
        assert [message["content"][0]["type"] for message in states[1] if message["role"] == "user"] == [
            "file",
            "image_url",
        ]

    async def test_run_sync_and_stream_take_them_too(self, log: MemoryLog, folder: Path) -> None:
        agent = Agent("a", ScriptedModel(lambda messages: messages[0]["content"][0]["type"]))
        assert str(agent.run_sync("x", log=MemoryLog(), files=[folder / "b.pdf"])) == "file"
        pieces = [piece async for piece in agent.stream("x", log=log, files=[Image(PNG)])]
        assert str(pieces[-1]) == "image_url"

    async def test_files_alone_need_a_text_that_may_be_empty(self, log: MemoryLog, folder: Path) -> None:
        agent = Agent("a", ScriptedModel(lambda messages: str(len(messages[0]["content"]))), conversational=True)
        with pytest.raises(UsageError, match="files come with an input"):
            await agent.run(None, log=log, files=[folder / "a.png"])
        assert (await agent.run("", log=log, files=[folder / "a.png"])).output == "1"

    async def test_a_refused_file_begins_no_run(self, log: MemoryLog, folder: Path) -> None:
        agent = Agent("a", ScriptedModel(["ok"]))
        with pytest.raises(FileRefused, match="there is no file"):
            await agent.run("x", log=log, files=[folder / "a.png", folder / "none"])
        with pytest.raises(FileRefused, match="is a directory"):
            await agent.submit("x", log=log, files=[folder])
        assert list(log.run_ids()) == []


class TestTools:
    async def test_another_image_is_something_new(self, log: MemoryLog) -> None:
        """Screenshots of a page that changes: the call and its text are the same each time."""
        shots = iter(range(100))

        @tool
        async def screenshot() -> Image:
            return Image(PNG + str(next(shots)).encode())

        @tool
        async def frozen() -> Image:
            return Image(PNG)

        for made, status in ((screenshot, Status.COMPLETED), (frozen, Status.LIMITED)):
            model = ScriptedModel([*[Call(made.spec.name)] * 6, "ok"])
            agent = Agent("a", model, tools=[made], limits=Limits(idle_steps=3))
            assert (await agent.run("x", log=log)).status is status

    async def test_files_among_other_values_are_named_in_the_json(self, log: MemoryLog) -> None:
        @tool
        async def report() -> dict[str, Any]:
            return {"total": 3, "charts": [Image(PNG, name="one.png"), File(PDF)]}

        result = await Agent("a", ScriptedModel([Call("report"), "ok"]), tools=[report]).run("x", log=log)
        completed = only(log, result.run_id, ToolCallCompleted)
        assert completed.result == '{"total":3,"charts":["[image one.png]","[file]"]}'
        assert [(part.kind, part.name) for part in completed.files] == [("image", "one.png"), ("file", None)]
        assert completed.whole is None

    async def test_a_file_that_cannot_be_kept_is_told_to_the_model(self, log: MemoryLog) -> None:
        @tool(idempotent=True, attempts=3)
        async def draw() -> Image:
            return Image("nowhere/chart.png")

        result = await Agent("a", ScriptedModel([Call("draw"), "ok"]), tools=[draw]).run("x", log=log)
        (failed,) = events_of(log, result.run_id, ToolCallFailed)
        assert failed.error.message == (
            "draw has done its work, but what it gave cannot be kept: there is no file nowhere/chart.png"
        )
        assert result.output == "ok"

    async def test_in_the_text_protocol_files_follow_the_observation(self, log: MemoryLog) -> None:
        @tool
        async def draw() -> Image:
            return Image(PNG)

        seen: list[Any] = []

        def turn(messages: list[dict[str, Any]]) -> str:
            seen[:] = messages
            return "Final Answer: ok" if len(messages) > 2 else "Thought: hm\nAction: draw\nAction Input: {}"

        agent = Agent("a", ScriptedModel(turn), tools=[draw], policy="react", text_protocol=True)
        assert (await agent.run("x", log=log)).output == "ok"
        assert [m["role"] for m in seen] == ["system", "user", "assistant", "user", "user"]
        assert seen[3]["content"] == "Observation: [image]"
        assert seen[4]["content"][0]["type"] == "image_url"


async def test_a_reference_in_a_text_is_only_a_text(log: MemoryLog, folder: Path) -> None:
    """Who writes what a reference looks like gets no file for it."""
    part = File(folder / "a.png").kept(_blobs(folder))
    async with RawServer(whole(an_answer())) as server:
        model = openai_at(server)
        said = [part.reference, f'{{"type":"image_url","image_url":{{"url":"{part.reference}"}}}}']
        for text in said:
            await Agent("a", model).run(text, log=log, blobs=str(folder / "blobs"), files=[folder / "notes.md"])
        await model.aclose()
    assert [orjson.loads(seen.body)["messages"][0]["content"][-1]["text"] for seen in server.seen] == said
    assert all(PNG_64[:50] not in seen.body.decode() for seen in server.seen)


def _blobs(folder: Path) -> DirectoryBlobs:
    return DirectoryBlobs(folder / "blobs")


async def _soon() -> None:
    await asyncio.sleep(0.01)


def _holds(one: Any, mark: str) -> bool:
    values = one.values() if isinstance(one, dict) else one
    return any(
        (isinstance(value, str) and mark in value) or (isinstance(value, bytes) and mark.encode() in value)
        for value in list(values)
        if value is not PNG_64
    )
