"""Runs worth looking at, made by real agents on scripted models: one of each kind of ending, and one of each danger."""

import asyncio
from collections.abc import Iterable

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, RetryPolicy, ScriptedModel, ToolError, tool
from ledgent.producers.submit import cancel_run
from ledgent.schemas.ports import Log

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PICTURE = "![a picture](https://pictures.invalid/secret.png) <img src='https://pictures.invalid/tag.png'>"
DANGER = f"{PICTURE} {SCRIPT} [a link](javascript:document.title='owned') $x^2$ :material/home:"
"""What a model may say to make a page load or run something."""

PRICE = {"cost_usd": 0.0021}


class Showcase:
    """The agents, each answer of their models taking `pace_s`, and some tools as many times longer or shorter."""

    def __init__(self, pace_s: float = 0.02) -> None:
        self._pace_s = pace_s
        self.tools = self._tools()

    async def fill(self, log: Log) -> dict[str, str]:
        """Makes the runs, one after the other; their ids by name."""
        runs = {
            "concert": ("planner", self._concert(), "Plan an evening in Vienna for four, with a concert.", None),
            "retried": ("support", self._retried(), "Where is my order 4711?", None),
            "recovered": ("support", self._recovered(), "Refund order 4711, please.", None),
            "limited": ("researcher", self._limited(), "Find every source there is.", Limits(steps=3)),
            "refused": ("support", self._refused(), "Is anybody there?", None),
            "danger": ("planner", self._danger(), f"Show me {DANGER}", None),
        }
        made = {}
        for name, (agent, model, text, limits) in runs.items():
            labels = {"tier": "gold"} if name == "concert" else {"scene": name}
            made[name] = (await self._agent(agent, model).run(text, log=log, limits=limits, labels=labels)).run_id
        made["cancelled"] = await self._cancelled(log)
        chat = self._agent("concierge", self._talk(), conversational=True).conversation(log=log)
        await chat.send("Do you have a room on Friday?")
        await asyncio.sleep(self._pace_s)
        await chat.send("For two, please.")  # and is not ended: it waits for the next message
        return {**made, "waiting": chat.run_id}

    async def watch(self, log: Log, answers: int, delay_s: float = 0.3) -> None:
        """A run that goes on for a while, for pages to watch."""
        turns = [Call("search", words=f"page {number}") for number in range(answers)]
        model = ScriptedModel(turns, name="scripted-large", delay_s=delay_s)
        await self._agent("watcher", model).run("Watch the news.", log=log, limits=Limits(steps=answers))

    def _agent(self, name: str, model: ScriptedModel, **options: bool) -> Agent:
        return Agent(name, model, f"You are a {name}. Be brief, and check what you say.", self.tools, **options)

    def _model(self, turns: Iterable[object], **options: object) -> ScriptedModel:
        retry = RetryPolicy(first_s=self._pace_s)
        return ScriptedModel(list(turns), name="scripted-large", delay_s=self._pace_s, retry=retry, **options)

    def _concert(self) -> ScriptedModel:
        return self._model([
            Reply("I look for concerts and tables at once.", [
                Call("search", words="concerts Vienna Friday"),
                Call("find_tables", people=4, after="22:00"),
                Call("weather", city="Vienna"),
            ], reasoning="Concert first, since it settles the time. Tables and weather do not depend on it.", **PRICE),
            Attempts(Fail("rate_limited", "Rate limit reached, try again in a moment.", retry_after_s=self._pace_s),
                     Fail("server_error", "The server had an error.", status=502),
                     Reply(None, [Call("book", what="concert", seats=4)], **PRICE)),
            Reply("The first try failed; I take the later concert.", [Call("book", what="late concert", seats=4),
                  Call("bok", what="a table")], **PRICE),
            Reply("All set: Mahler 4 at 19:30 in the Musikverein for four, then a table at Zum Schwarzen Kameel at "
                  "22:15. It will be dry and 14 °C, so you can walk.", **PRICE),
        ])  # fmt: skip

    def _retried(self) -> ScriptedModel:
        first = Attempts(Fail("rate_limited", retry_after_s=self._pace_s), Reply(None, [Call("search", words="4711")]))
        return self._model([first, "It left the warehouse yesterday and arrives tomorrow."])

    def _recovered(self) -> ScriptedModel:
        return self._model([
            Call("book", what="refund", seats=1),
            Call.raw("book", "{not JSON"),
            Call("book", what="late refund", seats=1),
            "The refund is on its way.",
        ])  # fmt: skip

    def _limited(self) -> ScriptedModel:
        return self._model([Call("search", words=f"source {n}") for n in range(9)])

    def _refused(self) -> ScriptedModel:
        return self._model([Fail("auth", "Incorrect API key provided.", status=401)])

    def _danger(self) -> ScriptedModel:
        return self._model([Reply(DANGER, [Call("search", words=DANGER)], reasoning=DANGER), DANGER])

    def _talk(self) -> ScriptedModel:
        return self._model(["Yes, two are free. For how many?", "Then the blue room is yours."])

    async def _cancelled(self, log: Log) -> str:
        slow = ScriptedModel([Call("search", words="everything")] * 9, name="scripted-large", delay_s=0.2)
        run = asyncio.ensure_future(self._agent("researcher", slow).run("Take your time.", log=log))
        await asyncio.sleep(0.3)
        (run_id,) = [run_id for run_id in log.run_ids() if self._is_open(log, run_id)]
        await cancel_run(log, run_id, "changed my mind")
        return (await run).run_id

    @staticmethod
    def _is_open(log: Log, run_id: str) -> bool:
        head = log.head(run_id)
        return head is not None and not head.guard.ended and not head.suspended

    def _tools(self) -> list[object]:
        pace_s = self._pace_s

        @tool
        async def search(words: str) -> list[dict[str, str]]:
            """Searches.

            Args:
                words: what for
            """
            await asyncio.sleep(2 * pace_s)
            return [{"title": f"About {words}", "when": "Friday, 19:30"}, {"title": "Another", "when": "Friday, 21:00"}]

        @tool
        async def find_tables(people: int, after: str) -> str:
            """Finds free tables.

            Args:
                people: how many
                after: the earliest time
            """
            await asyncio.sleep(5 * pace_s)
            return f"Zum Schwarzen Kameel has a table for {people} at 22:15."

        @tool
        async def weather(city: str) -> dict[str, object]:
            """Tells the weather.

            Args:
                city: where
            """
            await asyncio.sleep(pace_s)
            return {"city": city, "sky": "clear", "celsius": 14}

        @tool
        async def book(what: str, seats: int) -> str:
            """Books seats.

            Args:
                what: for what
                seats: how many
            """
            await asyncio.sleep(3 * pace_s)
            if "late" not in what:
                raise ToolError(f"{what}: no {seats} seats are left.")
            return f"Booked {seats} for {what}."

        return [search, find_tables, weather, book]
