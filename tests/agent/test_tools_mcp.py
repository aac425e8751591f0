"""Tools from an MCP server: a real server in a process of its own, over stdio and over streamable HTTP."""

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import Agent, Call, Delta, ScriptedModel, Tool, ToolContext, ToolError, mcp_tools
from ledgent.agent.tools.function import InvalidArguments
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.errors import ErrorCode, UsageError
from ledgent.schemas.events import ToolCallCompleted, ToolCallFailed, ToolCallRejected
from tests.agent.raw_server import RawServer
from tests.agent.recorded import events_of, go, only

SERVER = [sys.executable, str(Path(__file__).with_name("mcp_server.py"))]
STDIO = [*SERVER, "stdio"]
SILENT = [sys.executable, "-c", "import time; time.sleep(60)"]
CONTEXT = ToolContext("run-1", "m1.t0", "run-1/m1.t0")
Serve = Callable[..., AbstractAsyncContextManager[dict[str, Tool]]]

pytestmark = pytest.mark.slow  # each test starts a server


@contextmanager
def over_http() -> Iterator[str]:
    """The URL of a server that was started for the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*SERVER, "http", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["stdio", "http"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Gives the tools by name while a block lasts, over both transports."""

    @asynccontextmanager
    async def by_name(**options: Any) -> AsyncIterator[dict[str, Tool]]:
        async with mcp_tools(**where, **options) as tools:
            yield {tool.spec.name: tool for tool in tools}

    where: dict[str, Any] = {"command": STDIO}
    if request.param == "stdio":
        yield by_name
        return
    with over_http() as url:
        where = {"url": url}
        yield by_name


async def call(made: Tool, arguments: str = "{}") -> str:
    return (await made.call(made.parse(arguments), CONTEXT)).text


class TestTools:
    async def test_an_agent_uses_them_as_any_others(self, log: MemoryLog, serve: Serve) -> None:
        async with serve() as tools:
            model = ScriptedModel([[Call("add", a=1), Call("add", a=5, b=5)], "done"])
            result = await go(Agent("caller", model, tools=list(tools.values())), log)
        assert sorted(event.result for event in events_of(log, result.run_id, ToolCallCompleted)) == ["10", "3"]

    async def test_their_schema_is_the_servers(self, serve: Serve) -> None:
        async with serve(timeout_s=7, idempotent=["add"]) as tools:
            add, fail = tools["add"].spec, tools["fail"].spec
        assert (add.description, add.idempotent, add.timeout_s) == ("Adds two numbers.", True, 7)
        assert add.parameters["required"] == ["a"]
        assert add.parameters["properties"] == {
            "a": {"title": "A", "type": "integer"},
            "b": {"default": 2, "title": "B", "type": "integer"},
        }
        assert fail.idempotent is False

    async def test_errors_are_told_to_the_model(self, serve: Serve) -> None:
        async with serve() as tools:
            with pytest.raises(ToolError, match=r"^Error executing tool fail: no such thing$|^no such thing$"):
                await call(tools["fail"], '{"text": "no such thing"}')
            with pytest.raises(ToolError, match="unable to parse string as an integer"):
                await call(tools["add"], '{"a": "x"}')
            with pytest.raises(InvalidArguments, match="arguments of add are not valid JSON"):
                await call(tools["add"], "{")
            with pytest.raises(InvalidArguments, match="must be a JSON object"):
                await call(tools["add"], "[1]")

    async def test_a_call_that_takes_too_long_is_given_up_and_the_next_is_served(
        self, log: MemoryLog, serve: Serve
    ) -> None:
        async with serve(timeout_s=0.5) as tools:
            model = ScriptedModel([[Call("wait", seconds=60)], [Call("add", a=1)], "done"])
            result = await go(Agent("caller", model, tools=list(tools.values())), log)
        assert only(log, result.run_id, ToolCallFailed).error.code is ErrorCode.TIMEOUT
        assert only(log, result.run_id, ToolCallCompleted).result == "3"

    async def test_calls_overlap(self, serve: Serve) -> None:
        async with serve() as tools:
            began = time.monotonic()
            await asyncio.gather(*[call(tools["wait"], '{"seconds": 0.5}') for _ in range(6)])
            assert time.monotonic() - began < 2

    async def test_progress_is_passed_on(self, log: MemoryLog, serve: Serve) -> None:
        reports: list[str] = []

        def take(delta: Delta) -> None:
            if delta.kind == "progress":
                reports.append(delta.text)

        async with serve(only=["count"]) as tools:
            agent = Agent("caller", ScriptedModel([Call("count", to=4), "done"]), tools=list(tools.values()))
            await agent.run("go", log=log, on_delta=take)
        assert reports == ["25%", "50%", "75%", "100%"]

    async def test_runs_on_other_event_loops_may_call_them(self, serve: Serve) -> None:
        async with serve() as tools:
            agent = Agent("caller", ScriptedModel([Call("add", a=1), "done"]), tools=list(tools.values()))
            outputs: list[str | None] = [agent.run_sync("go", log=MemoryLog()).output]  # blocks this loop
            thread = threading.Thread(target=lambda: outputs.append(agent.run_sync("go", log=MemoryLog()).output))
            thread.start()
            await asyncio.to_thread(thread.join)
        assert outputs == ["done", "done"]


class TestAnswers:
    async def test_all_kinds_of_them_become_text_and_files(self, log: MemoryLog) -> None:
        async with mcp_tools(command=STDIO, only=["shop.picture", "files", "nothing"]) as tools:
            made = {one.spec.name: one for one in tools}
            assert await call(made["nothing"]) == '{"result":null}'
            model = ScriptedModel([[Call("shop_picture"), Call("files")], "done"])
            result = await go(Agent("caller", model, tools=tools), log)
        told = {event.call_id: event for event in events_of(log, result.run_id, ToolCallCompleted)}
        picture, files = told["m1.t0"], told["m1.t1"]
        assert picture.result == "a dot\n[image]"
        assert [(part.kind, part.media_type, part.size) for part in picture.files] == [("image", "image/png", 12)]
        assert files.result.splitlines() == [
            "[file report.pdf]",
            "hello",
            "[application/zip at shop://a.zip]",
            "[audio, audio/wav, 3 bytes: not shown]",
        ]
        assert [(part.kind, part.media_type, part.name) for part in files.files] == [
            ("file", "application/pdf", "report.pdf")
        ]
        assert DirectoryBlobs().get(files.files[0].sha256) == b"%PDF-1.7"

    async def test_names_are_made_fit_and_prefixed(self) -> None:
        async with mcp_tools(command=STDIO, only=["shop.picture"], prefix="mine_") as (picture,):
            assert picture.spec.name == "mine_shop_picture"
            assert (await call(picture)).startswith("a dot")

    async def test_wrong_json_is_rejected_under_the_prefixed_name(self, log: MemoryLog) -> None:
        async with mcp_tools(command=STDIO, only=["add"], prefix="mine_") as tools:
            model = ScriptedModel([Call.raw("mine_add", "{"), "done"])
            result = await go(Agent("caller", model, tools=tools), log)
        assert "arguments of mine_add" in only(log, result.run_id, ToolCallRejected).message


class TestConnection:
    async def test_the_server_gets_the_environment_it_is_given(self) -> None:
        async with mcp_tools(command=STDIO, env={"SHOP_KEY": "k1"}, only=["environment"]) as (environment,):
            assert await call(environment, '{"name": "SHOP_KEY"}') == "k1"
            assert await call(environment, '{"name": "PYTEST_CURRENT_TEST"}') == "not set"

    async def test_a_server_that_dies_fails_the_calls_and_not_the_run(self, log: MemoryLog, serve: Serve) -> None:
        async with serve() as tools:
            model = ScriptedModel([[Call("leave")], [Call("add", a=1)], "done"])
            result = await asyncio.wait_for(go(Agent("caller", model, tools=list(tools.values())), log), 20)
        failures = [event.error.message for event in events_of(log, result.run_id, ToolCallFailed)]
        assert len(failures) == 2
        assert all("raised ConnectionError: the connection to the MCP server" in text for text in failures)
        assert result.output == "done"

    async def test_headers_reach_the_server(self) -> None:
        async with RawServer([b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"]) as server:
            with pytest.raises(ConnectionError):
                async with mcp_tools(url=server.url, headers={"Authorization": "Bearer k1"}, connect_s=5):
                    pass
            assert server.seen[0].headers["authorization"] == "Bearer k1"

    async def test_after_the_block_calls_fail_and_the_process_is_gone(self) -> None:
        threads = threading.active_count()
        async with mcp_tools(command=STDIO, only=["add"]) as (add,):
            assert await call(add, '{"a": 1}') == "3"
        with pytest.raises(ConnectionError, match="is closed"):
            await call(add, '{"a": 1}')
        assert [thread for thread in threading.enumerate() if thread.name == "ledgent-mcp"] == []
        assert threading.active_count() <= threads + 1  # the event loop keeps one to wait in

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"command": ["no-such-program-here"]}, "no-such-program-here cannot be used: FileNotFoundError"),
            ({"command": [sys.executable, "-c", "pass"]}, "cannot be used: .*Connection closed"),
            (
                {"command": SILENT, "connect_s": 0.5},
                "no answer within 0.5 s",
            ),
            ({"url": "http://127.0.0.1:9/mcp", "connect_s": 20}, "http://127.0.0.1:9/mcp cannot be used"),
        ],
    )
    async def test_a_server_that_cannot_be_used_is_told_by_name(self, options: dict[str, Any], told: str) -> None:
        began = time.monotonic()
        with pytest.raises(ConnectionError, match=told):
            async with mcp_tools(**options):
                pass
        assert time.monotonic() - began < 15
        assert [thread for thread in threading.enumerate() if thread.name == "ledgent-mcp"] == []

    def test_without_the_package_all_else_works_and_this_says_what_to_install(self) -> None:
        program = """
            import asyncio, sys
            sys.modules["mcp"] = None
            from ledgent.agent import mcp_tools
            async def main():
                async with mcp_tools(command=["a"]):
                    pass
            asyncio.run(main())
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
        assert "UsageError: tools from an MCP server need the mcp package: pip install 'ledgent[mcp]'" in done.stderr

    @pytest.mark.parametrize("options", [{}, {"command": ["a"], "url": "b"}, {"command": "a b"}])
    async def test_what_makes_no_sense_is_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="either command="):
            async with mcp_tools(**options):
                pass

    @pytest.mark.parametrize("option", ["only", "idempotent"])
    async def test_a_name_that_the_server_does_not_have_is_refused(self, option: str) -> None:
        with pytest.raises(UsageError, match="has no tool sub; it has: add, count"):
            async with mcp_tools(command=STDIO, **{option: ["sub"]}):
                pass
