"""What every store promises of settings of models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.store.sqlite import open_sqlite
from trimtab.store.store import Store
from trimtab.testing.hosting import HostingStoreSuite


class TestSqlite(HostingStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_sqlite(tmp_path / "trimtab.db", synchronous="NORMAL")
        yield store
        store.close()
