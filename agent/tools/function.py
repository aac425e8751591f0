"""A Python function as a tool: its schema from hints and docstring, its arguments validated, its result as text."""

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, overload

import docstring_parser
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from ledgent.schemas.agents import ToolSpec
from ledgent.schemas.errors import UsageError


class ToolContext(NamedTuple):
    """What a tool may know of the call that it serves; injected into a parameter annotated with this class."""

    run_id: str
    call_id: str
    idempotency_key: str
    """The same for every attempt of this call: hand it to services that take one."""


class InvalidArguments(Exception):
    """The model's arguments do not fit the tool; the text tells the model how."""


class Tool:
    """A function that a model may call. Made by `@tool`; calling it calls the function."""

    def __init__(self, function: Callable[..., Any], spec: ToolSpec, arguments: type[BaseModel], injected: str | None):
        self.function = function
        self.spec = spec
        self._arguments = arguments
        self._injected = injected
        self._is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = function.__doc__
        self.__name__ = spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.spec.name}>"

    def parse(self, arguments: str) -> dict[str, Any]:
        """The function's keyword arguments. Raises InvalidArguments."""
        try:
            parsed = self._arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            raise InvalidArguments(_explained(self.spec.name, error)) from error
        return {field.alias or name: getattr(parsed, name) for name, field in type(parsed).model_fields.items()}

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> str:
        """The result as the model is told it: a `str` verbatim, anything else as JSON. Raises what the function raises.

        A function that is not async runs in a thread of its own; it cannot be stopped, only left behind.
        """
        if self._injected:
            arguments = {**arguments, self._injected: context}
        if self._is_async:
            result = await self.function(**arguments)
        else:
            result = await _in_thread(self.function, arguments)
            if inspect.isawaitable(result):  # an async function behind a plain one
                result = await result
        return result if isinstance(result, str) else pydantic_core.to_json(result, inf_nan_mode="null").decode()


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout_s: float = 60.0,
    idempotent: bool = False,
    attempts: int = 1,
    ends_run: bool = False,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Makes a function a tool that a model may call.

    Its name, hints and docstring (Google, NumPy or reST style) become the schema that the model sees. `timeout_s`:
    seconds for one attempt. `idempotent`: calling it again with the same idempotency key has no second effect; only
    such a tool is retried, up to `attempts` in all. `ends_run`: the run completes once it has returned.
    Raises UsageError for a function that cannot be described.
    """
    if function is None:
        return lambda decorated: make_tool(decorated, **options)
    return make_tool(function)


def make_tool(function: Callable[..., Any], *, name: str | None = None, **options: Any) -> Tool:
    """As `tool`, without the decorator."""
    if options.get("attempts", 1) > 1 and not options.get("idempotent"):
        raise UsageError(
            f"tool {function.__name__}: attempts={options['attempts']} needs idempotent=True, "
            "since a call whose outcome is unknown may have had its effect"
        )
    try:
        return _made(function, name, options)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"tool {function.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (PydanticUserError, NameError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"tool {function.__name__}: its parameters cannot be described: {reason}") from error


def _made(function: Callable[..., Any], name: str | None, options: dict[str, Any]) -> Tool:
    doc = docstring_parser.parse(function.__doc__ or "")
    described = {param.arg_name: " ".join((param.description or "").split()) for param in doc.params}
    fields: dict[str, Any] = {}
    injected: str | None = None
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.annotation is ToolContext:
            injected = parameter.name
            continue
        # Under a name of our own, since a parameter may be called what a pydantic model has already.
        fields[f"p{len(fields)}"] = _field(function, parameter, described.get(parameter.name))
    arguments = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    spec = ToolSpec(
        name=name or function.__name__,
        description=" ".join((doc.description or "").split()),
        parameters=_schema(arguments),
        **options,
    )
    return Tool(function, spec, arguments, injected)


def _field(function: Callable[..., Any], parameter: inspect.Parameter, description: str | None) -> Any:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise UsageError(f"tool {function.__name__}: parameter {parameter.name} must be one that is passed by its name")
    if parameter.annotation is parameter.empty:
        raise UsageError(
            f"tool {function.__name__}: parameter {parameter.name} needs a type hint, for the model's schema"
        )
    default = ... if parameter.default is parameter.empty else parameter.default
    field = Field(default, alias=parameter.name)
    if description:
        field = Field(default, alias=parameter.name, description=description)
    return (parameter.annotation, field)


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    schema = arguments.model_json_schema()
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {name: _untitled(value) for name, value in schema.get("properties", {}).items()},
        "required": schema.get("required", []),
    }
    if "$defs" in schema:
        parameters["$defs"] = {name: _untitled(value) for name, value in schema["$defs"].items()}
    return parameters


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that only repeat the names: they cost tokens in every request."""
    kept = {key: value for key, value in schema.items() if key != "title"}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: _untitled(value) for name, value in kept["properties"].items()}
    return kept


def _explained(name: str, error: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'arguments'}: {problem['msg']}" for problem in error.errors()
    )
    return f"The arguments of {name} are not valid: {problems}. Call it again with valid arguments."


async def _in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs the function in a daemon thread: a hung one holds up neither the run nor the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            setter(value)

    def run() -> None:
        outcome: Callable[[Any], None] = future.set_exception
        value: Any
        try:
            value = context.run(function, **arguments)
            outcome = future.set_result
        except StopIteration as error:  # which a future refuses to carry
            value = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
            value = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome, value)

    threading.Thread(target=run, name=f"ledgent-tool-{function.__name__}", daemon=True).start()
    return await future
