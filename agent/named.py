"""Functions that a run's spec names, `module:function`: to them, from them, and whether they are what they were."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from ledgent.schemas.errors import UsageError


def name_of(function: Callable[..., Any]) -> str:
    """How a spec names the function. Raises UsageError for one that no other process could find."""
    name = f"{function.__module__}:{function.__qualname__}"
    try:
        found = function_at(name)
    except UsageError:
        found = None
    if found is not function or function.__module__ == "__main__":
        raise UsageError(
            f"{function.__qualname__} must be a function at the top level of a module that can be imported: "
            "a run names it, so that any process can judge by it"
        )
    return name


@cache
def function_at(name: str) -> Callable[..., Any]:
    """The function of that name. Raises UsageError."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no function {name}: {error}") from error
    if not callable(found):
        raise UsageError(f"{name} is no function")
    function: Callable[..., Any] = found
    return function


@cache
def source_of(name: str) -> str:
    """SHA-256 of the function's source, as hex; empty where Python does not know it. Raises UsageError."""
    try:
        return hashlib.sha256(inspect.getsource(function_at(name)).encode()).hexdigest()
    except (OSError, TypeError):
        return ""
