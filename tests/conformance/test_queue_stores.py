"""Every store of queues, against the one suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab.queues.postgresql import PostgresqlQueueStore
from trimtab.queues.sqlite import SqliteQueueStore
from trimtab.queues.store import QueueStore
from trimtab.testing.postgresql import PostgresServer
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


@pytest.mark.postgres
class TestPostgresql(QueueStoreSuite):
    @pytest.fixture
    def open_store(self, postgres: PostgresServer) -> Iterator[Callable[[str], QueueStore]]:
        opened = []
        known: set[str] = set()

        def open_store(name: str) -> QueueStore:
            url = postgres.url() if name in known else postgres.empty()
            known.add(name)
            opened.append(PostgresqlQueueStore(url, database_clock=False))
            return opened[-1]

        yield open_store
        for store in opened:
            store.close()
