"""What `step_overhead.py` times: the same five-tool-call run, written for each contender. One variant a process.

`python benchmarks/step_variants.py VARIANT WIDTH RUNS BASE_URL [CASE]` prints one JSON line: CPU and wall milliseconds
a step. CASE is `streamed`, or `parallel`: four tool calls in each answer; neither by default.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

STEPS = 6
"""Model calls in a run: five that ask for a tool, one that answers."""
SYSTEM = "You are a careful calculator."
PROMPT = "Add the numbers step by step with the add tool, then give the final answer."
FINAL = "The answer after 5 tool calls is 42."

MODELS = {"": "fake", "streamed": "fake", "parallel": "fake-4"}
"""By case; what the server makes of them is in zero_latency_server.py."""

Run = Callable[[], Awaitable[str]]


async def sdk(base_url: str, folder: Path, case: str) -> tuple[Run, Callable[[], Any]]:
    """The bare loop over the openai SDK, nothing kept."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0)
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }
    function = {"name": "add", "description": "Add two integers.", "parameters": parameters}

    request: dict[str, Any] = {"model": MODELS[case], "tools": [{"type": "function", "function": function}]}

    async def whole(messages: list[Any]) -> dict[str, Any]:
        reply = await client.chat.completions.create(messages=messages, **request)
        return reply.choices[0].message.model_dump(exclude_none=True)

    async def streamed(messages: list[Any]) -> dict[str, Any]:
        text, calls = "", dict[int, Any]()
        stream = await client.chat.completions.create(
            messages=messages, stream=True, stream_options={"include_usage": True}, **request
        )
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for piece in choice.delta.tool_calls or ():
                    function = {"name": "", "arguments": ""}
                    call = calls.setdefault(piece.index, {"id": piece.id, "type": "function", "function": function})
                    call["function"]["name"] += piece.function.name or ""
                    call["function"]["arguments"] += piece.function.arguments or ""
        return {"role": "assistant", "content": text} | ({"tool_calls": list(calls.values())} if calls else {})

    ask = streamed if case == "streamed" else whole

    async def run() -> str:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
        while True:
            message = await ask(messages)
            if not message.get("tool_calls"):
                return message["content"]
            messages.append(message)
            for call in message["tool_calls"]:
                arguments = json.loads(call["function"]["arguments"])
                result = str(arguments["a"] + arguments["b"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    return run, lambda: None


async def ledgent(base_url: str, folder: Path, case: str) -> tuple[Run, Callable[[], Any]]:
    """`Agent.run` with default settings: every event durable, synchronous=FULL. Then each run is verified."""
    from ledgent.agent import Agent, OpenAIModel, tool
    from ledgent.agent.verify import verify
    from ledgent.producers.opening import open_log

    @tool
    async def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    model = OpenAIModel(MODELS[case], base_url=base_url, api_key="x", stream=case == "streamed")
    agent = Agent("calculator", model, instructions=SYSTEM, tools=[add])
    log = open_log(f"sqlite:///{folder / 'log.db'}")
    run_ids: list[str] = []

    async def run() -> str:
        result = await agent.run(PROMPT, log=log)
        run_ids.append(result.run_id)
        return str(result)

    async def check() -> dict[str, Any]:
        certificates = [verify(log, run_id) for run_id in run_ids]
        assert all(certificate.ok for certificate in certificates), "a measured run does not verify"
        events = sum(certificate.records for certificate in certificates)
        await model.aclose()
        log.close()
        return {"verified": len(certificates), "events_per_step": events / len(certificates) / STEPS}

    return run, check


async def langgraph(base_url: str, folder: Path, case: str) -> tuple[Run, Callable[[], Any]]:
    """LangGraph's agent loop with its asynchronous SQLite saver, every step saved before the next."""
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    @tool
    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    model = ChatOpenAI(model="fake", base_url=base_url, api_key="x", max_retries=0).bind_tools([add])

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode([add]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    saver = AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db"))
    app = graph.compile(checkpointer=await saver.__aenter__())
    count = iter(range(1_000_000_000))

    async def run() -> str:
        config = {"configurable": {"thread_id": str(next(count))}}
        messages = {"messages": [("system", SYSTEM), ("user", PROMPT)]}
        result = await app.ainvoke(messages, config, durability="sync")
        return result["messages"][-1].content

    return run, lambda: saver.__aexit__(None, None, None)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(variant: str, width: int, runs: int, base_url: str, case: str = "") -> dict[str, Any]:
    """CPU and wall time a step, over `runs` runs, `width` of them at once."""
    with tempfile.TemporaryDirectory() as folder:
        make = {"sdk": sdk, "ledgent": ledgent, "langgraph": langgraph}[variant]
        run, done = await make(base_url, Path(folder), case)
        for _ in range(5):
            assert await run() == FINAL
        left = iter(range(runs))

        async def some() -> None:
            for _ in left:
                assert await run() == FINAL

        wall, cpu = time.perf_counter(), cpu_s()
        await asyncio.gather(*[some() for _ in range(width)])
        wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
        checked = done()
        if hasattr(checked, "__await__"):
            checked = await checked
    steps = runs * STEPS
    found = {"cpu_ms": cpu / steps * 1000, "wall_ms": wall / steps * 1000}
    return found | (checked if isinstance(checked, dict) else {})


if __name__ == "__main__":
    name, width, runs, url, *case = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(name, int(width), int(runs), url, *case))))
