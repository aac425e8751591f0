"""Writes the golden corpus of the present version: python -m tests.golden.make

A file that is there stays as it is, for what was released once must be readable for ever. A new event type or a new
version of one gets its file, a new kind of run another; `--anew` writes all again, which only an unreleased change may.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from ledgent.agent.verify import verify
from ledgent.dashboard.schemas_export import RELEASED, event_schemas, released_schemas
from ledgent.schemas.codec import Envelope, encode, span_id_of, trace_id_of
from ledgent.schemas.frozen import Event
from ledgent.schemas.run import replay
from ledgent.schemas.state_json import as_json
from tests.golden.runs import RUNS, Scene
from tests.golden.samples import SAMPLES, SYSTEM_SAMPLES
from tests.schemas.chain import NOON, RUN

FOLDER = Path(__file__).parent / "v1"
SYSTEM = "system:golden/1"
"""What stands for the run id in records of system events."""


def sample(event: Event, run_id: str = RUN) -> dict[str, Any]:
    """One record of the event, as stored and as read."""
    envelope = Envelope(
        run_id=run_id,
        seq=8,
        epoch=2,
        writer="golden/1",
        at=NOON.replace(microsecond=123456),
        cause=7,
        trace_id=trace_id_of(RUN),
        span_id=span_id_of(RUN, "m2", 3),
        type=event.type,
        version=event.version,
        previous="cd" * 32,
    )
    stored = encode(envelope, event)
    return {"body": stored.body.decode(), "digest": stored.digest, "event": event.model_dump(mode="json")}


async def recorded(name: str) -> dict[str, Any]:
    """A whole run: its records as stored, the state that they fold into, and what verification says."""
    scene = Scene(name)
    await RUNS[name](scene)
    records = list(scene.log.records(scene.run_id))
    certificate = verify(scene.log, scene.run_id)
    return {
        "about": " ".join((RUNS[name].__doc__ or "").split()),
        "verdict": certificate.verdict,
        "seq": certificate.seq,
        "state": as_json(replay(scene.run_id, records).state),
        "records": [{"body": stored.body.decode(), "digest": stored.digest} for stored in records],
    }


def write(path: Path, content: dict[str, Any], anew: bool) -> None:
    if path.exists() and not anew:
        print(f"kept   {path.name}")
        return
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote  {path.name}")


def main(anew: bool) -> None:
    (FOLDER / "runs").mkdir(parents=True, exist_ok=True)
    for event in SAMPLES:
        write(FOLDER / f"{event.type}.json", sample(event), anew)
    (FOLDER / "system").mkdir(exist_ok=True)
    for system_event in SYSTEM_SAMPLES:
        write(FOLDER / "system" / f"{system_event.type}.json", sample(system_event, SYSTEM), anew)
    # A shape that is there stays as it was released; a new type, or a new version of one, comes to it.
    known = {} if anew or not RELEASED.exists() else released_schemas()
    RELEASED.write_text(json.dumps({**event_schemas(), **known}, indent=1, sort_keys=True) + "\n")
    for name in RUNS:
        write(FOLDER / "runs" / f"{name}.json", asyncio.run(recorded(name)), anew)


if __name__ == "__main__":
    main(anew="--anew" in sys.argv)
