"""Every store of queues, against the one suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab.queues.sqlite import SqliteQueueStore
from trimtab.queues.store import QueueStore
from trimtab.testing.queue_store import QueueStoreSuite


class TestSqlite(QueueStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[Callable[[str], QueueStore]]:
        opened = []

        def open_store(name: str) -> QueueStore:
            opened.append(SqliteQueueStore(tmp_path / name))
            return opened[-1]

        yield open_store
        for store in opened:
            store.close()
