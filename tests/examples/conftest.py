"""The demo airline for a test: a run that has changed nothing yet."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.airline.database import RECORDS
from tests.examples.airline_desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.delenv("AIRLINE_DATA", raising=False)
    monkeypatch.setenv("AIRLINE_STATE", str(tmp_path))
    before = json.dumps(RECORDS.start())
    yield Desk()
    assert json.dumps(RECORDS.start()) == before
