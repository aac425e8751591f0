"""JSON Schema of the events, made from their classes. Writes no file."""

from typing import Any

from ledgent.schemas.events import EVENT_CLASSES

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
