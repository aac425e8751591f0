"""Whether everything that was valid by one JSON Schema is valid by another: what a change of an event may not break.

Of the keywords that pydantic writes for events. Whoever reads a log meets each shape that was ever written: a field
that is gone, newly required or narrower makes records unreadable, unless the version is raised and an upcast given.
Pure: no I/O.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ledgent.schemas.codec import UPCASTS

Schema = Mapping[str, Any]

_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def breaking_changes(released: Mapping[str, Schema], present: Mapping[str, Schema]) -> list[str]:
    """What of the released schemas, by name as in `run.started.v1`, can no longer be read; one line each."""
    found = []
    for name, schema in released.items():
        if name in present:
            found += [f"{name}: {line}" for line in narrowed(schema, present[name])]
            continue
        type, _, version = name.rpartition(".v")
        newer = [int(other.rpartition(".v")[2]) for other in present if other.rpartition(".v")[0] == type]
        if not newer:
            found.append(f"{name}: the type is gone")
        elif max(newer) < int(version):
            found.append(f"{name}: its version went back to {max(newer)}")
        else:
            steps = [step for step in range(int(version), max(newer)) if (type, step) not in UPCASTS]
            found += [f"{name}: UPCASTS in codec.py brings no version {step} to {step + 1}" for step in steps]
    return found


def narrowed(old: Schema, new: Schema) -> list[str]:
    """Where something that is valid by the old schema may not be by the new one."""
    return list(_narrowed(_Within(old, old), _Within(new, new), "$"))


class _Within:
    """A schema, its reference resolved in the document that it is of."""

    def __init__(self, schema: Any, document: Schema) -> None:
        self.document = document
        while isinstance(schema, Mapping) and "$ref" in schema:
            path = str(schema["$ref"]).removeprefix("#/").split("/")
            target: Any = document
            for part in path:
                target = target[part]
            schema = target
        self.schema: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        self.nothing = schema is False
        """Nothing is valid by it."""

    def within(self, schema: Any) -> "_Within":
        return _Within(schema, self.document)

    def branches(self) -> list["_Within"]:
        """What it may be one of; itself where it is no choice."""
        for choice in ("anyOf", "oneOf"):
            if choice in self.schema:
                return [self.within(each) for each in self.schema[choice]]
        return [self]


def _narrowed(old: _Within, new: _Within, path: str, seen: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    pair = (id(old.schema), id(new.schema))
    if pair in seen or old.nothing or (not new.schema and not new.nothing):
        return  # a schema within itself; or nothing was valid; or everything is
    seen = seen | {pair}
    choices = new.branches()
    if len(choices) > 1 or len(old.branches()) > 1:
        for branch in old.branches():
            if all(any(_narrowed(branch, choice, path, seen)) for choice in choices):
                yield f"{path}: {_named(branch)} is no longer possible"
        return
    if new.nothing:
        yield f"{path}: nothing is possible any more"
        return
    yield from _values(old.schema, new.schema, path)
    yield from _fields(old, new, path, seen)
    yield from _items(old, new, path, seen)


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if "type" in new and not _types(old) <= _types(new) | ({"integer"} if "number" in _types(new) else set()):
        yield f"{path}: was {_named_types(old)}, is {_named_types(new)}"
    if (after := _possible(new)) is not None:
        before = _possible(old)
        gone = "other values" if before is None else ", ".join(repr(each) for each in before if each not in after)
        if gone:
            yield f"{path}: {gone} no longer possible"
    for name in (*_LEAST, *_MOST):
        if name in new and (name not in old or (old[name] < new[name] if name in _LEAST else old[name] > new[name])):
            yield f"{path}: {name} is {new[name]}, was {old.get(name, 'not set')}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{path}: must match {new['pattern']}"


def _fields(old: _Within, new: _Within, path: str, seen: frozenset[tuple[int, int]]) -> Iterator[str]:
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    rest = new.schema.get("additionalProperties", True)
    for name, schema in before.items():
        if name in after or rest is not False:
            yield from _narrowed(old.within(schema), new.within(after.get(name, rest)), f"{path}.{name}", seen)
        else:
            yield f"{path}.{name}: the field is gone"
    always = set(old.schema.get("required", ()))
    for name in new.schema.get("required", ()):
        if name not in always:
            yield f"{path}.{name}: the field is required now"
    others = old.schema.get("additionalProperties", True)
    if others is not False and "object" in _types(old.schema):
        yield from _narrowed(old.within(others), new.within(rest), f"{path}.*", seen)


def _items(old: _Within, new: _Within, path: str, seen: frozenset[tuple[int, int]]) -> Iterator[str]:
    if "items" in new.schema:
        given = old.schema.get("items", True)
        yield from _narrowed(old.within(given), new.within(new.schema["items"]), f"{path}[]", seen)
    for at, schema in enumerate(new.schema.get("prefixItems", ())):
        before = old.schema.get("prefixItems", ())
        given = before[at] if at < len(before) else old.schema.get("items", True)
        yield from _narrowed(old.within(given), new.within(schema), f"{path}[{at}]", seen)


def _types(schema: Schema) -> set[str]:
    given = schema.get("type")
    if given is None:
        return {"anything"}
    return {given} if isinstance(given, str) else set(given)


def _possible(schema: Schema) -> list[Any] | None:
    """The only values, where they are listed."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _named_types(schema: Schema) -> str:
    return " or ".join(sorted(_types(schema)))


def _named(schema: _Within) -> str:
    known = _possible(schema.schema)
    return ", ".join(map(repr, known)) if known else str(schema.schema.get("title") or _named_types(schema.schema))
