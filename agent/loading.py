"""Agents by name, collected from the modules that people name. Nothing else."""

import importlib
import sys
from collections.abc import Iterable

from ledgent.agent.entries import Agent
from ledgent.schemas.errors import UsageError


def load_agents(modules: str | Iterable[str]) -> dict[str, Agent]:
    """The `Agent` instances of the modules (`examples.retail,my.agents`) by name; the current directory is importable.

    Raises UsageError for a module that cannot be imported or holds none, and for two agents of one name.
    """
    names = modules.split(",") if isinstance(modules, str) else modules
    if "" not in sys.path:
        sys.path.insert(0, "")
    agents: dict[str, Agent] = {}
    for name in filter(None, map(str.strip, names)):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a person's module may raise anything; what it was is told
            raise UsageError(f"--agents {name}: cannot be imported: {type(error).__name__}: {error}") from error
        found = {value.name: value for value in vars(module).values() if isinstance(value, Agent)}
        if not found:
            raise UsageError(f"--agents {name}: the module holds no ledgent Agent")
        for agent in found.values():
            if agents.setdefault(agent.name, agent) is not agent:
                raise UsageError(f"--agents {name}: there are two agents named {agent.name}")
    return agents
