"""JSON Schema of the events, made from their classes. And as they were released."""

from pathlib import Path
from typing import Any

import orjson

from ledgent import schemas
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import EVENT_CLASSES

RELEASED = Path(schemas.__file__).with_name("released.json")
"""Written by `python -m tests.golden.make`."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schemas() -> dict[str, dict[str, Any]]:
    """The schema of every event type by name and version, `run.started.v1`: of payloads as they are stored."""
    return {
        f"{name}.v{event.version}": {
            "$schema": DIALECT,
            "$id": f"urn:ledgent:event:{name}:{event.version}",
            **event.model_json_schema(mode="serialization"),
        }
        for name, event in EVENT_CLASSES.items()
    }


def released_schemas() -> dict[str, dict[str, Any]]:
    """The schemas of every shape that was ever released, as they were."""
    return schemas_from(None)


def schemas_from(path: Path | None) -> dict[str, dict[str, Any]]:
    """The schemas in a file that `schema export` wrote; None: as they were released. Raises UsageError."""
    try:
        found: dict[str, dict[str, Any]] = orjson.loads((path or RELEASED).read_bytes())
        if not all(".v" in name and isinstance(schema, dict) for name, schema in found.items()):
            raise ValueError("its entries are no schemas of events")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path or RELEASED} holds no event schemas: {error}") from error
    return found
