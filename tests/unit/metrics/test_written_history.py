"""A history that is written before a trimtab serves is what its store would have kept, had it been there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimtab import datadir
from trimtab.clock import ManualClock
from trimtab.config import Paths
from trimtab.errors import Invalid
from trimtab.metrics.names import METRICS
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey
from trimtab.testing.account import Case, daily, none
from trimtab.testing.history import samples, write_history

NOW_S = 1_790_001_234.0
DAY_S = 86_400
HOUR_S = 3600
CASES = (Case(name="busy", traffic=daily(0.2), payload_bytes=10_000), Case(name="idle", traffic=none))


def key(endpoint: str, name: str, namespace: str = "AWS/SageMaker") -> MetricKey:
    return MetricKey(namespace, name, (("EndpointName", endpoint), ("VariantName", "main")))


def test_what_was_written_is_read_at_every_period_until_the_last_whole_hour(tmp_path: Path) -> None:
    write_history(tmp_path / "data", CASES, NOW_S, days=4)
    end_s = int(NOW_S // HOUR_S * HOUR_S)
    written = [sample for sample in samples(CASES[0], NOW_S, 4) if sample.key == key("busy", "Invocations")]
    asked = sum(sample.sketch.sum for sample in written)
    store = SqliteMetricStore(Paths(tmp_path / "data").metrics, ManualClock(NOW_S), commit_every_s=0)
    try:
        for period_s in (60, 300, HOUR_S, DAY_S):
            points = store.query(key("busy", "Invocations"), end_s - 4 * DAY_S, end_s, period_s)
            assert sum(point.sketch.sum for point in points) == asked
        sizes = [
            store.query(key("busy", name, "trimtab/Endpoints"), end_s - 4 * DAY_S, end_s, HOUR_S)
            for name in ("RequestBytes", "ResponseBytes")
        ]
        total = sum(point.sketch.sum for points in sizes for point in points)
        assert total / asked == pytest.approx(10_000)
        (cpu,) = store.query(key("busy", "CPUUtilization", "/aws/sagemaker/Endpoints"), end_s - HOUR_S, end_s, HOUR_S)
        assert cpu.sketch.count == 2 * 3600  # two replicas, each second
        idle = store.query(key("idle", "Invocations"), end_s - 4 * DAY_S, end_s, HOUR_S)
        assert [point.sketch.sum for point in idle] == [0.0] * 96
        assert store.query(key("busy", "Invocations"), end_s, end_s + HOUR_S, 60) == []
    finally:
        store.close()


def test_only_what_trimtab_publishes_is_written_and_in_its_units() -> None:
    units = {(metric.namespace, metric.name): metric.unit for metric in METRICS}
    for case in CASES:
        for sample in samples(case, NOW_S, 1):
            assert units[sample.key.namespace, sample.key.name] == sample.unit


def test_a_directory_that_a_trimtab_serves_from_is_left_alone(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data")
    held = datadir.claim(paths)
    try:
        with pytest.raises(Invalid, match="Another trimtab"):
            write_history(tmp_path / "data", CASES, NOW_S, days=1)
        assert not paths.metrics.exists()
    finally:
        os.close(held)
