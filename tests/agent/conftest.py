"""A log for each test, every run in it checked when the test is over."""

from collections.abc import Iterator

import pytest

from ledgent.producers.memory import MemoryLog
from tests.agent.recorded import check_run


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    """A log in memory. Whatever a test did, each run must then be whole and verified."""
    log = MemoryLog()
    yield log
    for run_id in log.run_ids():
        if log.head(run_id) is not None:
            check_run(log, run_id)
