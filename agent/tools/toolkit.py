"""Tools that share an object: a class whose methods are tools. No log, no calls."""

from collections.abc import Callable, Iterable
from typing import Any

from ledgent.agent.tools.function import Tool, make_tool
from ledgent.schemas.errors import UsageError


class Toolkit:
    """A class whose methods marked `@tool` become tools that share `self`: `Agent(..., tools=[Shop(database)])`."""

    prefix: str = ""
    """Before each tool's name; a class sets it, or an object before it hands its tools out."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Its tools, in the order of their definition, those of base classes first; a subclass may replace them."""
        names = dict.fromkeys(name for cls in reversed(type(self).__mro__) for name in vars(cls))
        made = [attribute for name in names if isinstance(attribute := _looked_up(self, name), Tool)]
        return tuple(one.renamed(self.prefix + one.spec.name) if self.prefix else one for one in made)


def _looked_up(kit: Toolkit, name: str) -> Any:
    """The attribute, where it may be a tool: a property would come to life when asked."""
    found = next(vars(cls)[name] for cls in type(kit).__mro__ if name in vars(cls))
    return getattr(kit, name) if isinstance(found, Tool | staticmethod) else None


def tools_of(given: Iterable[Tool | Toolkit | Callable[..., Any]]) -> list[Tool]:
    """What an agent was given, as tools. Raises UsageError for what can be none."""
    made: list[Tool] = []
    for one in given:
        if isinstance(one, Toolkit):
            made.extend(one.tools)
        else:
            made.append(one if isinstance(one, Tool) else make_tool(one))
    for tool in made:
        if tool.unbound:
            owner = tool.function.__qualname__.rpartition(".")[0]
            raise UsageError(
                f"tool {tool.spec.name} is a method: pass an object of {owner}, or its {tool.function.__name__}"
            )
    return made
