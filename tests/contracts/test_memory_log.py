"""The log in memory keeps the contract."""

import pytest

from ledgent.producers.memory import MemoryLog, MemoryStorage
from ledgent.schemas.ports import Log
from tests.contracts.log_contract import FullLogContract


class TestMemoryLog(FullLogContract):
    @pytest.fixture(autouse=True)
    def _storage(self) -> None:
        self.storage = MemoryStorage()

    def open(self) -> Log:
        return MemoryLog(self.storage)

    def open_mortal(self) -> Log:
        return self.open()

    def die(self, log: Log) -> None:
        log.close()
