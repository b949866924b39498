"""Every metric store, against the one suite."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from trimtab.clock import ManualClock
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricStore
from trimtab.testing.metric_store import NOW_S, MetricStoreSuite
from trimtab.testing.metrics import MemoryMetricStore


class TestMemory(MetricStoreSuite):
    @pytest.fixture
    def metrics(self) -> MetricStore:
        return MemoryMetricStore()


class TestSqlite(MetricStoreSuite):
    @pytest.fixture
    def metrics(self, tmp_path: Path) -> Iterator[MetricStore]:
        self.clock = ManualClock(NOW_S)
        store = SqliteMetricStore(tmp_path / "metrics.db", self.clock, commit_every_s=0)
        yield store
        store.close()

    def step(self, metrics: MetricStore) -> None:
        self.clock.advance(45)  # so that what is quiet is rolled up
        cast(SqliteMetricStore, metrics).step()
