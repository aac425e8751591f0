"""The log in an SQLite file keeps the contract, with several adapters over one file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.ports import Log
from tests.contracts.log_contract import FullLogContract

HEARTBEAT_S = 0.05
DEAD_AFTER_S = 0.4
NEVER_S = 3600.0


class TestSqliteLog(FullLogContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "log.db"
        self.logs: list[SqliteLog] = []
        yield
        for log in self.logs:
            log.close()

    def open(self, heartbeat_s: float = HEARTBEAT_S) -> Log:
        log = SqliteLog(self.path, heartbeat_s=heartbeat_s, dead_after_s=DEAD_AFTER_S)
        self.logs.append(log)
        return log

    def open_mortal(self) -> Log:
        # Its counter stands still after the first beat, as a dead process's does.
        return self.open(heartbeat_s=NEVER_S)

    def die(self, log: Log) -> None:
        pass
