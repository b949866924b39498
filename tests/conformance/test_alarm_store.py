"""What every store promises of alarms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.store.sqlite import open_sqlite
from trimtab.store.store import Store
from trimtab.testing.alarms import AlarmStoreSuite


class TestSqlite(AlarmStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_sqlite(tmp_path / "trimtab.db", synchronous="NORMAL")
        yield store
        store.close()
