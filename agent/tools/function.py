"""A Python function as a tool: its schema from hints and docstring, its arguments validated, what it gives."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, overload

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.places import Places, Turn, resource
from ledgent.agent.tools.results import Output, output_of
from ledgent.agent.tools.threads import ThreadCall
from ledgent.schemas.agents import CircuitPolicy, OnUncertain, ToolSpec
from ledgent.schemas.errors import UsageError


class InvalidArguments(Exception):
    """The model's arguments do not fit the tool; the text tells the model how."""


class Tool:
    """A function that a model may call. Made by `@tool`; calling it calls the function."""

    def __init__(
        self,
        function: Callable[..., Any],
        spec: ToolSpec,
        parsed: Callable[[str, str], dict[str, Any]],
        injected: str | None = None,
        *,
        unbound: bool = False,
    ) -> None:
        self.function = function
        self.spec = spec
        self.unbound = unbound
        """Whether it is a method that still needs its object."""
        self._parsed = parsed
        self._injected = injected
        self._is_async = inspect.iscoroutinefunction(function)
        self._needs = _needs(spec)
        self.__doc__ = function.__doc__
        self.__name__ = spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> "Tool":
        """A method's tool, bound to its object; the object keeps it, so that all who ask share its places."""
        if instance is None or not self.unbound:
            return self
        kept: dict[Tool, Tool] = vars(instance).setdefault("_bound_tools", {})
        if self not in kept:
            kept[self] = Tool(self.function.__get__(instance), self.spec, self._parsed, self._injected)
        return kept[self]

    def __repr__(self) -> str:
        return f"<tool {self.spec.name}>"

    def parse(self, arguments: str) -> dict[str, Any]:
        """The function's keyword arguments. Raises InvalidArguments."""
        return self._parsed(self.spec.name, arguments)

    def renamed(self, name: str) -> Self:
        """This tool under another name; the two share their places."""
        made = type(self)(self.function, self.spec.model_copy(update={"name": name}), self._parsed, self._injected)
        made._needs = self._needs
        return made

    def turn(self, threads: Places) -> Turn | None:
        """What a call must hold while it is at work: last a place of `threads`, if it runs in one; None: nothing."""
        if self._is_async:
            return Turn(self._needs) if self._needs else None
        return Turn((*self._needs, threads))

    async def call(self, arguments: dict[str, Any], context: ToolContext, turn: Turn | None = None) -> Output:
        """What it gives, as `output_of` says. Raises what the function raises, and ToolError.

        Ends the turn. A function that is not async runs in a thread; when given up it is left behind with its turn,
        which lasts until the function returns.
        """
        if self._injected:
            arguments = {**arguments, self._injected: context}
        thread: ThreadCall | None = None
        try:
            if self._is_async:
                result = await self.function(**arguments)
            else:
                thread = ThreadCall(self.spec.name, self.function, arguments)
                result = await thread.result()
                if inspect.isawaitable(result):  # an async function behind a plain one
                    result = await result
        except asyncio.CancelledError:
            context.given_up.set()
            raise
        finally:
            if turn is not None:
                if thread is not None and thread.leave_behind(turn.end):
                    turn.outlived()
                else:
                    turn.end()
        return output_of(self.spec.name, result)


def _needs(spec: ToolSpec) -> tuple[Places, ...]:
    own = (Places(spec.concurrency, f"its place of {spec.concurrency}"),) if spec.concurrency else ()
    return (*own, *(resource(name) for name in sorted(set(spec.resources))))


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout_s: float = 60.0,
    idempotent: bool = False,
    attempts: int = 1,
    approval: bool = False,
    ends_run: bool = False,
    concurrency: int | None = None,
    resources: Sequence[str] = (),
    max_result_chars: int = 50_000,
    service: str | None = None,
    circuit: CircuitPolicy | None = None,
    on_uncertain: OnUncertain | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Makes a function a tool that a model may call.

    Its name, hints and docstring (Google, NumPy or reST style) become the schema that the model sees. `timeout_s`:
    seconds for one attempt, from when it has its thread and all else that it needs. `idempotent`: calling it again with
    the same idempotency key has no second effect; only such a tool is retried, up to `attempts` in all. `ends_run`: the
    run completes once it has returned. `concurrency`: calls of it at once in this process. `resources`: calls, of
    whatever tools, that name the same one do not overlap in this process; of those that wait, the first gets it first.
    (A tool that runs an agent whose tools need what it holds itself waits in vain.) `service`, `circuit`: once too many
    calls have failed, of all tools that name the same service, none is made for a while (docs/resilience.md). A call
    that could not begin within ten minutes fails without having been made. `max_result_chars`: of a result that the
    model is told; a longer one is kept whole and cut for the model, which reads on with `read_result` where the agent
    has that tool. `on_uncertain`: what comes of a call of a tool that is not idempotent when its process went away;
    None: what the agent says. Raises UsageError for a function that cannot be described.
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
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    unbound = bool(parameters) and parameters[0].name == "self" and parameters[0].annotation is inspect.Parameter.empty
    for parameter in parameters[unbound:]:
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
    return Tool(function, spec, partial(_parsed, arguments), injected, unbound=unbound)


def _parsed(model: type[BaseModel], name: str, arguments: str) -> dict[str, Any]:
    try:
        parsed = model.model_validate_json(arguments or "{}")
    except ValidationError as error:
        raise InvalidArguments(_explained(name, error)) from error
    return {field.alias or name: getattr(parsed, name) for name, field in type(parsed).model_fields.items()}


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
