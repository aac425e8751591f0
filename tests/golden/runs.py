"""The whole runs of the golden corpus, made with fixed ids, times and dice."""

import asyncio
from collections.abc import Awaitable, Callable
from tempfile import TemporaryDirectory

from ledgent.agent import (
    Agent,
    Attempts,
    Call,
    Fail,
    Image,
    Limits,
    Reply,
    RetryPolicy,
    ScriptedModel,
    SqliteMemory,
    ToolContext,
    ToolError,
    tool,
)
from ledgent.agent.models.scripted import Turn
from ledgent.agent.worker import Worker
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import decode, read_envelope
from ledgent.schemas.events import RunCompleted
from ledgent.schemas.requests import AnyRequest, CancelRun, EndConversation, SendMessage, StartRun
from ledgent.schemas.values import Part, Usage
from tests.schemas.chain import Chain
from tests.simulation.clock import SimulatedClock

USAGE = Usage(input_tokens=100, output_tokens=20)


@tool
async def look_up(order: str) -> dict[str, str]:
    """Looks an order up.

    Args:
        order: The order's id.
    """
    return {"order": order, "status": "pending"}


@tool(idempotent=True, attempts=3)
async def pay(order: str, context: ToolContext) -> str:
    """Pays an order."""
    return f"paid {order} as {context.idempotency_key[-5:]}"


@tool
async def refuse() -> str:
    """Never works."""
    raise ToolError("Error: not today")


@tool(ends_run=True)
async def hang_up() -> str:
    """Ends the conversation."""
    return "hung up"


def clerk(
    *turns: Turn, conversational: bool = False, limits: Limits | None = None, delay_s: float = 0, stream: bool = False
) -> Agent:
    model = ScriptedModel(turns, name="golden", retry=RetryPolicy(attempts=3), delay_s=delay_s, stream=stream)
    return Agent(
        "clerk", model, "Be brief.", [look_up, pay, refuse, hang_up], limits or Limits(steps=10), conversational
    )


def said(text: str | None, *calls: Call) -> Reply:
    return Reply(text, calls, usage=USAGE, cost_usd=0.25)


class Scene:
    """A log, a clock and a run with fixed names, and workers that come and go."""

    def __init__(self, name: str) -> None:
        self.run_id = f"0197f0a2-0000-7000-8000-{sum(name.encode()):012d}"
        self.log = MemoryLog()
        self.log.writer = "golden/1"
        self.log.storage.alive.add("golden/1")
        self.clock = SimulatedClock()
        self._requests = 0

    def next_id(self) -> str:
        self._requests += 1
        return f"request-{self._requests}"

    async def start(self, input: str | None = "hello") -> None:
        await self.send(StartRun(request_id=self.next_id(), run_id=self.run_id, agent="clerk", input=input))

    async def send(self, request: AnyRequest) -> None:
        await self.log.submit(request)

    async def work(self, agent: Agent) -> None:
        with TemporaryDirectory() as blobs:
            worker = Worker(self.log, {"clerk": agent}, clock=self.clock, blobs=DirectoryBlobs(blobs))
            await worker.work(until_idle=True)

    def another_process(self) -> None:
        """The process so far is dead; from here on another one works."""
        self.log.close()
        self.log = MemoryLog(self.log.storage)
        self.log.writer = "golden/2"
        self.log.storage.alive.add("golden/2")


async def answered(scene: Scene) -> None:
    await scene.start()
    await scene.work(clerk(said("hello yourself")))


async def tools(scene: Scene) -> None:
    await scene.start("look at #1 and #2")
    await scene.work(
        clerk(
            said("let me look", Call("look_up", order="#1"), Call("look_up", order="#2")),
            said(None, Call("refuse"), Call("lookup", order="#3"), Call.raw("look_up", "{not JSON")),
            said("both are pending"),
        )
    )


async def retried(scene: Scene) -> None:
    await scene.start()
    await scene.work(clerk(Attempts(Fail("rate_limited", retry_after_s=2.0), Fail("timeout"), said("at last"))))


async def failed(scene: Scene) -> None:
    await scene.start()
    await scene.work(clerk(Fail("auth", "the key was refused")))


async def limited(scene: Scene) -> None:
    await scene.start()
    turns = [said("again", Call("look_up", order="#1"))] * 5
    await scene.work(clerk(*turns, limits=Limits(steps=10, tokens=300)))


async def conversation(scene: Scene) -> None:
    turns = [said("hello"), said(None, Call("pay", order="#1")), said("paid")]
    for request in (
        StartRun(request_id=scene.next_id(), run_id=scene.run_id, agent="clerk", input="hi", labels={"by": "hand"}),
        SendMessage(request_id=scene.next_id(), run_id=scene.run_id, text="pay #1"),
        EndConversation(request_id=scene.next_id(), run_id=scene.run_id),
    ):
        await scene.send(request)
        await scene.work(clerk(*turns, conversational=True))


async def hung_up(scene: Scene) -> None:
    await scene.start()
    await scene.work(clerk(said("bye", Call("hang_up")), conversational=True))


async def cancelled(scene: Scene) -> None:
    await scene.start()
    agent = clerk(said("hello"), conversational=True)
    await scene.work(agent)
    await scene.send(CancelRun(request_id=scene.next_id(), run_id=scene.run_id, reason="enough"))
    await scene.work(agent)


async def taken_over(scene: Scene) -> None:
    """The first process dies with a model call, then with two tool calls under way."""
    await scene.start()
    turns: list[Turn] = [said(None, Call("pay", order="#1"), Call("wait")), said("done")]
    proceed = asyncio.Event()

    @tool
    async def wait() -> str:
        """Waits."""
        await proceed.wait()
        return "too late"

    agent = clerk(*turns)
    agent = agent.but(tools=[*agent.tools, wait])
    working = asyncio.create_task(Worker(scene.log, {"clerk": agent}, clock=scene.clock).work())
    while len(scene.log.storage.records) < 7:  # noqa: ASYNC110  # for the first tool's outcome
        await asyncio.sleep(0.001)
    scene.another_process()
    await scene.work(agent)
    working.cancel()
    await asyncio.wait([working])


async def handed_over(scene: Scene) -> None:
    """The first process is stopped while the model is asked."""
    await scene.start()
    slow = clerk(said("done"), delay_s=30)
    working = asyncio.create_task(Worker(scene.log, {"clerk": slow}, clock=scene.clock).work())
    while len(scene.log.storage.records) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    working.cancel()
    await asyncio.wait([working])
    scene.another_process()
    await scene.work(clerk(said("done")))


async def begun_early(scene: Scene) -> None:
    """A tool is called while the model answers; the answer is cut off, and the next attempt is told what it gave."""
    await scene.start()
    asked = Reply("let me", [Call("look_up", order="#1"), Call("hang_up")])
    turns = [Attempts(Fail("connection", after=asked), said("more", Call("look_up", order="#2"))), said("both pending")]
    await scene.work(clerk(*turns, stream=True))


async def summarized(scene: Scene) -> None:
    """A window too small for all rounds of tools: the first summary takes effect, for the next one it is trimmed."""
    await scene.start("look at all orders")
    turns = [Reply(f"now #{n}", [Call("look_up", order=f"#{n}" * 20)], cost_usd=0.25) for n in range(1, 9)]
    model = ScriptedModel(
        [*turns, said("all are pending")],
        name="golden",
        context_window=560,
        summaries=[Attempts(Fail("timeout"), said("#1 is pending")), Fail("content_filtered")],
    )
    await scene.work(clerk().but(model=model))


async def nondeterministic(scene: Scene) -> None:
    """Recorded by a policy that threw dice: what it decided does not follow from what it saw."""
    await scene.start()
    await scene.work(clerk(said("heads")))
    chain = Chain(scene.run_id)
    for stored in scene.log.records(scene.run_id):
        record = decode(stored)
        event = RunCompleted(output="tails") if isinstance(record.event, RunCompleted) else record.event
        place = {name: getattr(record.envelope, name) for name in ("epoch", "writer", "at", "cause", "span_id")}
        again = chain.next(event, **place)
        chain.records.append(again)
        chain.guard = chain.guard._replace(seq=read_envelope(again.body).seq, digest=again.digest)
    scene.log = MemoryLog()
    await scene.log.append(chain.records)


async def files(scene: Scene) -> None:
    """An image and a document from the user, an image from each of two tools in one round, and a result that is cut."""

    @tool
    async def draw(what: str) -> list[object]:
        """Draws."""
        return [what, Image(b"\x89PNG\r\n\x1a\n" + what.encode(), name=f"{what}.png")]

    @tool(max_result_chars=20)
    async def recite() -> str:
        """Says much."""
        return "much " * 10

    parts = (
        Part(kind="image", media_type="image/jpeg", sha256="ab" * 32, size=12_345, name="a.jpg"),
        Part(kind="file", media_type="application/pdf", sha256="cd" * 32, size=54_321),
    )
    request = StartRun(request_id=scene.next_id(), run_id=scene.run_id, agent="clerk", input="look", files=parts)
    await scene.send(request)
    agent = clerk(said(None, Call("draw", what="dot"), Call("recite"), Call("draw", what="line")), said("done"))
    await scene.work(agent.but(tools=[draw, recite]))


async def remembered(scene: Scene) -> None:
    """What earlier runs remembered is told; the model remembers more and looks it up; one message finds nothing."""
    with TemporaryDirectory() as folder:
        memory = SqliteMemory("clerk", f"{folder}/memory.db")
        memory.add("Ada likes “tea”.\nWith milk.", "before")
        turns = [
            said(None, Call("remember", text="Ada likes #1.")),
            said(None, Call("recall", query="Ada")),
            said("so"),
        ]
        agent = clerk(*turns, said("well"), conversational=True).but(memory=memory, tools=[])
        await scene.start("I am Ada")
        await scene.work(agent)
        await scene.send(SendMessage(request_id=scene.next_id(), run_id=scene.run_id, text="thanks"))
        await scene.work(agent)


RUNS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    scene.__name__: scene
    for scene in (
        answered,
        tools,
        retried,
        failed,
        limited,
        conversation,
        hung_up,
        cancelled,
        taken_over,
        handed_over,
        begun_early,
        summarized,
        nondeterministic,
        files,
        remembered,
    )
}
