"""What a changed event class may not do to the records that were written by the one before it."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, JsonValue

from ledgent.dashboard.schemas_export import event_schemas, released_schemas
from ledgent.schemas.codec import UPCASTS
from ledgent.schemas.compatibility import breaking_changes, narrowed
from ledgent.schemas.frozen import Frozen


class Inner(Frozen):
    name: str
    parent: "Inner | None" = None


class Released(Frozen):
    type: Literal["thing.done"] = "thing.done"
    call_id: str
    count: int = Field(default=1, ge=1)
    reason: Literal["a", "b"]
    parts: tuple[Inner, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    values: dict[str, JsonValue] = Field(default_factory=dict)
    note: str | None = None


def schema(cls: type[BaseModel]) -> dict[str, Any]:
    return cls.model_json_schema(mode="serialization")


def changed(**fields: Any) -> dict[str, Any]:
    """The schema of the class with other fields; None takes one away."""
    annotations = {**{n: (f.annotation, f) for n, f in Released.model_fields.items()}, **fields}
    given = {name: field for name, field in annotations.items() if field is not None}
    from pydantic import create_model

    return schema(create_model("Released", __base__=Frozen, **given))


class InnerWithMore(Frozen):
    name: str
    parent: "InnerWithMore | None" = None
    more: int = 0


class InnerNarrowed(Frozen):
    name: Literal["x"]
    parent: "InnerNarrowed | None" = None


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"count": None}, "$.count: the field is gone"),
        ({"added": (str, ...)}, "$.added: the field is required now"),
        ({"note": (str | None, ...)}, "$.note: the field is required now"),
        ({"call_id": (int, ...)}, "$.call_id: was string, is integer"),
        ({"reason": (Literal["a"], ...)}, "$.reason: 'b' no longer possible"),
        ({"call_id": (Literal["m1"], ...)}, "$.call_id: other values no longer possible"),
        ({"count": (int, Field(default=1, ge=2))}, "$.count: minimum is 2, was 1"),
        ({"count": (int, Field(default=1, ge=1, le=9))}, "$.count: maximum is 9, was not set"),
        ({"note": (str, "")}, "$.note: null is no longer possible"),
        ({"labels": (dict[str, int], {})}, "$.labels.*: was string, is integer"),
        ({"values": (dict[str, str], {})}, "$.values.*: was anything, is string"),
        ({"parts": (tuple[InnerNarrowed, ...], ())}, "$.parts[].name: other values no longer possible"),
        ({"call_id": (str, Field(pattern="^m"))}, "$.call_id: must match ^m"),
        ({"call_id": (str, Field(min_length=1))}, "$.call_id: minLength is 1, was not set"),
        ({"type": (Literal["thing.made"], "thing.made")}, "$.type: 'thing.done' no longer possible"),
    ],
)
def test_a_change_that_old_records_do_not_survive_is_found(fields: dict[str, Any], where: str) -> None:
    assert where in narrowed(schema(Released), changed(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"added": (str, "")},
        {"call_id": (str | None, ...)},
        {"reason": (Literal["a", "b", "c"], ...)},
        {"reason": (str, ...)},
        {"count": (int, Field(default=1, ge=0))},
        {"count": (float, 1)},
        {"parts": (tuple[InnerWithMore, ...], ())},
        {"labels": (dict[str, JsonValue], {})},
    ],
)
def test_a_change_that_old_records_survive_is_none(fields: dict[str, Any]) -> None:
    assert narrowed(schema(Released), changed(**fields)) == []


def test_a_type_or_a_version_that_is_gone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    released = {"thing.done.v1": schema(Released)}
    assert breaking_changes(released, {}) == ["thing.done.v1: the type is gone"]
    raised = {"thing.done.v3": changed(count=None)}
    missing = breaking_changes(released, raised)
    assert len(missing) == 2
    assert missing[0] == "thing.done.v1: UPCASTS in codec.py brings no version 1 to 2"
    for step in (1, 2):
        monkeypatch.setitem(UPCASTS, ("thing.done", step), lambda fields: fields)
    assert breaking_changes(released, raised) == []
    assert breaking_changes({"thing.done.v2": {}}, released) == ["thing.done.v2: its version went back to 1"]


def test_today_s_events_read_all_that_was_released() -> None:
    assert breaking_changes(released_schemas(), event_schemas()) == []


def test_what_was_released_is_known_for_every_type() -> None:
    released = {name.rpartition(".v")[0] for name in released_schemas()}
    assert released == {name.rpartition(".v")[0] for name in event_schemas()}, "python -m tests.golden.make --anew"
