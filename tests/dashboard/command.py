"""The `ledgent` command as a person runs it: a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ledgent.agent import Agent
from ledgent.producers.opening import open_log

LEDGENT = Path(sys.executable).with_name("ledgent")
AGENTS = '''
from ledgent.agent import Agent, Call, ScriptedModel, ask_user, tool


@tool
def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: One number.
        b: The other.
    """
    return a + b


@tool
async def wait(seconds: float) -> str:
    """Waits.

    Args:
        seconds: How long.
    """
    import asyncio

    await asyncio.sleep(seconds)
    return "waited"


@tool(approval=True)
def pay(usd: int) -> str:
    """Pays.

    Args:
        usd: How much.
    """
    return f"paid {usd}"


adder = Agent("adder", ScriptedModel([Call("add", a=2, b=3), "It is 5."]), tools=[add])
patient = Agent("patient", ScriptedModel([Call("wait", seconds=30), "Done."]), tools=[wait])
talker = Agent("talker", ScriptedModel(["Hello!", "Bye!"]), conversational=True)
escaping = Agent("escaping", ScriptedModel(["\\x1b[2Jgone"]))
wordy = Agent("wordy", ScriptedModel(["word " * 40_000]))
asker = Agent(
    "asker",
    ScriptedModel([Call("ask_user", question="Where to?", choices=["Rome", "Oslo"]), "Off we go."]),
    tools=[ask_user],
)
payer = Agent("payer", ScriptedModel([[Call("pay", usd=5), Call("pay", usd=6)], "Settled."]), tools=[pay])
'''
REMOTE_AGENTS = """
from ledgent.agent import Agent, OpenAIModel, RetryPolicy

keyless = Agent("keyless", "gpt-4o-mini")
unreachable = Agent(
    "unreachable",
    OpenAIModel("m", base_url="http://127.0.0.1:9/v1", api_key="k", retry=RetryPolicy(attempts=2, first_s=0.01)),
)
"""


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on the standard error; a second one, or a traceback, is a failure."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("ledgent: "), self.err
        return self.err.strip()


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what would tell the command where things are."""
    ours = ("LEDGENT_LOG", "LEDGENT_STORE", "LEDGENT_AGENTS", "LEDGENT_DEBUG", "OPENAI_API_KEY", "OPENAI_BASE_URL")
    return {name: value for name, value in os.environ.items() if name not in ours} | changes


def ledgent(folder: Path, *words: str, input: str | None = None, **changes: str) -> Done:
    """Runs the command in the folder."""
    done = subprocess.run(
        [LEDGENT, *words],
        cwd=folder,
        env=environment(**changes),
        input=input,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """The command, under way."""
    return subprocess.Popen(
        [LEDGENT, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def recorded(folder: Path, *agents: Agent) -> list[str]:
    """Runs the agents into the folder's log; the ids of the runs."""
    (folder / ".ledgent").mkdir(exist_ok=True)
    log = open_log(f"sqlite:///{folder}/.ledgent/log.db")
    try:
        return [agent.run_sync("What is 2 and 3?", log=log).run_id for agent in agents]
    finally:
        log.close()
