"""What was released once: every stored event and whole run of every version is read, folded and verified as it was."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent.verify import verify
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.codec import Stored, decode, digest_of, encode, export_line, import_line
from ledgent.schemas.events import EVENT_CLASSES
from ledgent.schemas.run import replay
from ledgent.schemas.state_json import as_json
from ledgent.schemas.system_events import SYSTEM_EVENT_CLASSES, decode_system
from tests.golden.make import SYSTEM, recorded, sample
from tests.golden.runs import RUNS
from tests.golden.samples import SAMPLES, SYSTEM_SAMPLES

HERE = Path(__file__).parent
EVENTS = sorted(HERE.glob("v*/*.json"))
SYSTEM_EVENTS = sorted(HERE.glob("v*/system/*.json"))
WHOLE_RUNS = sorted(HERE.glob("v*/runs/*.json"))
MAKE = "python -m tests.golden.make"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def stored(record: dict[str, str]) -> Stored:
    return Stored(record["body"].encode(), record["digest"])


def named(path: Path) -> str:
    return str(path.relative_to(HERE).with_suffix(""))


@pytest.mark.parametrize("path", EVENTS, ids=named)
class TestEvents:
    def test_it_is_still_read_as_it_was_written(self, path: Path) -> None:
        golden = read(path)
        record = decode(stored(golden))
        assert record.event.type == path.stem
        assert digest_of(record.envelope.previous, golden["body"].encode()) == golden["digest"]
        if record.envelope.version == record.event.version:
            assert record.event.model_dump(mode="json") == golden["event"]
            assert encode(record.envelope, record.event) == stored(golden)


@pytest.mark.parametrize("path", SYSTEM_EVENTS, ids=named)
class TestSystemEvents:
    def test_it_is_still_read_as_it_was_written(self, path: Path) -> None:
        golden = read(path)
        record = decode_system(stored(golden))
        assert record.event.type == path.stem
        assert record.event.model_dump(mode="json") == golden["event"]
        assert encode(record.envelope, record.event) == stored(golden)


@pytest.mark.parametrize("path", WHOLE_RUNS, ids=named)
class TestWholeRuns:
    def test_it_folds_to_the_state_that_it_folded_to(self, path: Path) -> None:
        golden = read(path)
        records = [stored(record) for record in golden["records"]]
        run_id = golden["state"]["run_id"]
        one, two = replay(run_id, records), replay(run_id, records)
        assert one == two
        assert as_json(one.state) == golden["state"]
        assert one.skipped == 0

    def test_it_is_verified_as_it_was(self, path: Path) -> None:
        golden = read(path)
        log, run_id = MemoryLog(), golden["state"]["run_id"]
        asyncio.run(log.append([stored(record) for record in golden["records"]]))
        certificate = verify(log, run_id)
        assert (certificate.verdict, certificate.seq) == (golden["verdict"], golden["seq"]), certificate

    def test_it_is_exported_and_imported_byte_for_byte(self, path: Path) -> None:
        for record in read(path)["records"]:
            assert import_line(export_line(stored(record))) == stored(record)


def test_there_is_a_file_for_every_type_in_its_present_version() -> None:
    present = {(decode(stored(read(path))).envelope.type, read(path)["event"]["type"]) for path in EVENTS}
    versions = {
        (record.envelope.type, record.envelope.version) for record in (decode(stored(read(path))) for path in EVENTS)
    }
    assert {(name, name) for name in EVENT_CLASSES} <= present
    missing = {(name, cls.version) for name, cls in EVENT_CLASSES.items()} - versions
    assert missing == set(), f"write them with: {MAKE}"
    assert {path.stem for path in SYSTEM_EVENTS} == SYSTEM_EVENT_CLASSES.keys(), f"write them with: {MAKE}"


def test_every_field_of_every_type_is_in_the_corpus() -> None:
    for event in (*SAMPLES, *SYSTEM_SAMPLES):
        unset = [name for name, field in type(event).model_fields.items() if getattr(event, name) == field.default]
        assert set(unset) <= {"type"}, f"{event.type} has fields at their defaults"


def test_one_run_is_there_that_does_not_verify() -> None:
    verdicts = {named(path): read(path)["verdict"] for path in WHOLE_RUNS}
    assert {name for name, verdict in verdicts.items() if verdict != "verified"} == {"v1/runs/nondeterministic"}


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_the_present_code_writes_the_same_record(event: Any) -> None:
    assert sample(event) == read(HERE / "v1" / f"{event.type}.json")


@pytest.mark.parametrize("event", SYSTEM_SAMPLES, ids=lambda event: event.type)
def test_the_present_code_writes_the_same_system_record(event: Any) -> None:
    assert sample(event, SYSTEM) == read(HERE / "v1" / "system" / f"{event.type}.json")


@pytest.mark.parametrize("name", RUNS)
def test_the_present_code_takes_the_same_steps(name: str) -> None:
    """The same script gives the same events in the same order: a change here changes what runs look like."""
    golden, again = read(HERE / "v1" / "runs" / f"{name}.json"), asyncio.run(recorded(name))
    steps, now = ([decode(stored(record)).event.type for record in run["records"]] for run in (golden, again))
    assert now == steps
    assert again["state"]["messages"] == golden["state"]["messages"]
    assert again["verdict"] == golden["verdict"]
