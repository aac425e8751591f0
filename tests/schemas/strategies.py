"""Any event, for property tests: every class with every field, texts and numbers of all kinds."""

from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from ledgent.schemas.events import EVENT_CLASSES, AnyEvent
from ledgent.schemas.terminators import (
    AllOf,
    AnyOf,
    CostBudget,
    Deadline,
    Predicate,
    StopWords,
    Terminator,
    TokenBudget,
)
from ledgent.schemas.values import Part

TEXT = st.one_of(
    st.text(max_size=20), st.sampled_from([',"event":', '"}', "\x00\x1f\x7f", "\\", '","digest":"', "ü😀"])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)

_CONDITIONS = st.one_of(
    st.builds(StopWords, words=st.lists(TEXT, min_size=1, max_size=3).map(tuple)),
    st.builds(TokenBudget, tokens=st.integers(1, 2**53)),
    st.builds(CostBudget, usd=st.floats(1e-9, 1e9)),
    st.builds(Deadline, seconds=st.floats(1e-9, 1e9)),
    st.builds(Predicate, function=st.just("shop.rules:sold_out"), parameters=st.dictionaries(TEXT, JSON, max_size=3)),
)
PARTS = st.builds(
    Part,
    kind=st.sampled_from(["image", "file"]),
    media_type=st.sampled_from(["image/png", "application/vnd.oasis.opendocument.text", "x/y+json"]),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(0, 2**53),
    name=st.none() | TEXT,
)
TERMINATORS = st.recursive(
    _CONDITIONS,
    lambda inner: st.builds(
        lambda cls, of: cls(of=tuple(of)), st.sampled_from([AnyOf, AllOf]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)


def events() -> st.SearchStrategy[AnyEvent]:
    """Events of every type."""
    return st.sampled_from(list(EVENT_CLASSES.values())).flatmap(any_of)


def any_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Values of one model class."""
    fields = {name: _field(info) for name, info in cls.model_fields.items() if name != "type"}
    return st.builds(cls, **fields)


def _field(info: FieldInfo) -> st.SearchStrategy[Any]:
    least = next((bound.ge for bound in info.metadata if isinstance(bound, Ge)), None)
    above = next((bound.gt for bound in info.metadata if isinstance(bound, Gt)), None)
    below = next((bound.lt for bound in info.metadata if isinstance(bound, Lt)), None)
    if below is None:  # near enough for a bound that is included
        below = next((bound.le for bound in info.metadata if isinstance(bound, Le)), None)
    return _value(info.annotation, least, above, below)


def _value(annotation: Any, least: Any = None, above: Any = None, below: Any = None) -> st.SearchStrategy[Any]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is JsonValue:
        return JSON
    if annotation == get_args(Terminator)[0]:
        return TERMINATORS
    if annotation is Part:
        return PARTS
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        return st.lists(_value(parts[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(_value(parts[0]), _value(parts[1]), max_size=3)
    if (origin is not None and type(None) in parts) or origin is Union:
        return st.one_of(*(_value(part, least, above, below) for part in parts))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _field(FieldInfo.from_annotation(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any_of(annotation)
    return _PLAIN[annotation](least, above, below) if annotation in _PLAIN else st.sampled_from(list(annotation))


_PLAIN: dict[Any, Callable[[Any, Any, Any], st.SearchStrategy[Any]]] = {
    str: lambda *_: TEXT,
    bool: lambda *_: st.booleans(),
    type(None): lambda *_: st.none(),
    int: lambda least, above, below: st.integers(
        min_value=-(2**53) if least is None else least, max_value=2**53 if below is None else below - 1
    ),
    float: lambda least, above, below: st.floats(
        min_value=least if above is None else above,
        max_value=below,
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    ),
}
