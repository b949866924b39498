"""What every MetricStore must do, as a suite: subclass it and give it a `metrics` fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, MetricStore, Sample

NOW_S = 1_700_000_040  # the start of a minute
LATENCY = MetricKey("AWS/SageMaker", "ModelLatency", (("EndpointName", "a"), ("VariantName", "main")))
COUNT = MetricKey("AWS/SageMaker", "Invocations", (("EndpointName", "a"), ("VariantName", "main")))


def a_sample(*values: float, at_s: int = NOW_S, key: MetricKey = LATENCY, unit: str = "Microseconds") -> Sample:
    """A sample of 1 s."""
    return Sample(key, at_s, Sketch.of(values), unit)


class MetricStoreSuite:
    """The promises of `metrics.store.MetricStore`."""

    @pytest.fixture
    def metrics(self) -> Iterator[MetricStore]:
        """A new, empty store whose time is `NOW_S`."""
        raise NotImplementedError("a subclass gives the store")

    def step(self, metrics: MetricStore) -> None:
        """Let the store do what it does beside its calls."""

    def test_what_was_recorded_can_be_queried_at_once(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1, 2, 3)])
        (point,) = metrics.query(LATENCY, NOW_S, NOW_S + 1, 1)
        assert (point.start_s, point.unit, point.sketch) == (NOW_S, "Microseconds", Sketch.of([1, 2, 3]))

    def test_samples_of_one_second_add_up(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1), a_sample(5)])
        self.step(metrics)
        metrics.record([a_sample(3)])
        self.step(metrics)
        metrics.record([a_sample(4)])
        (point,) = metrics.query(LATENCY, NOW_S, NOW_S + 1, 1)
        assert point.sketch == Sketch.of([1, 5, 3, 4])

    def test_periods_are_aligned_and_whole_and_come_oldest_first(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(second, at_s=NOW_S + second) for second in (25, 3, 0, 19)])
        found = metrics.query(LATENCY, NOW_S + 5, NOW_S + 21, 10)
        assert [(p.start_s - NOW_S, p.sketch.sum) for p in found] == [(0, 3), (10, 19), (20, 25)]

    def test_only_periods_with_data_are_answered(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1)])
        assert metrics.query(LATENCY, NOW_S + 1, NOW_S + 100, 1) == []
        assert metrics.query(LATENCY, NOW_S, NOW_S, 1) == []
        assert metrics.query(LATENCY, NOW_S + 9, NOW_S, 1) == []
        assert metrics.query(COUNT, NOW_S, NOW_S + 1, 1) == []

    def test_an_enormous_range_costs_what_it_finds(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1)])
        for period_s in (1, 60, 3600, 86_400):
            (point,) = metrics.query(LATENCY, -(10**30), 10**30, period_s)
            assert point.sketch == Sketch.of([1])

    def test_units_are_told_apart(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1, unit="Seconds"), a_sample(2, unit="Bytes")])
        found = metrics.query(LATENCY, NOW_S, NOW_S + 1, 1)
        assert {(p.unit, p.sketch.sum) for p in found} == {("Seconds", 1), ("Bytes", 2)}
        (point,) = metrics.query(LATENCY, NOW_S, NOW_S + 1, 1, unit="Bytes")
        assert point.sketch.sum == 2

    def test_what_a_reader_does_to_its_sketch_changes_nothing(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1)])
        metrics.query(LATENCY, NOW_S, NOW_S + 1, 1)[0].sketch.add(8)
        assert metrics.query(LATENCY, NOW_S, NOW_S + 1, 1)[0].sketch == Sketch.of([1])

    def test_an_empty_sketch_is_no_sample(self, metrics: MetricStore) -> None:
        metrics.record([a_sample()])
        assert metrics.query(LATENCY, NOW_S, NOW_S + 1, 1) == []

    def test_a_statistic_set_comes_back_without_a_distribution(self, metrics: MetricStore) -> None:
        metrics.record([Sample(LATENCY, NOW_S, Sketch(3.0, 6.5, 1.0, 4.0), "Seconds")])
        self.step(metrics)
        (point,) = metrics.query(LATENCY, NOW_S, NOW_S + 60, 60)
        assert point.sketch == Sketch(3.0, 6.5, 1.0, 4.0)
        assert not point.sketch.has_distribution

    def test_a_period_that_is_none_is_refused(self, metrics: MetricStore) -> None:
        with pytest.raises(ValueError, match="period"):
            metrics.query(LATENCY, 0, 1, 0)

    def test_keys_are_found_by_namespace_name_and_time(self, metrics: MetricStore) -> None:
        metrics.record([a_sample(1), a_sample(1, key=COUNT, at_s=NOW_S - 500), a_sample(2, unit="Bytes")])
        self.step(metrics)
        assert set(metrics.keys()) == {LATENCY, COUNT}
        assert list(metrics.keys("AWS/SageMaker", "Invocations")) == [COUNT]
        assert set(metrics.keys(name="ModelLatency")) == {LATENCY}
        assert list(metrics.keys("Other")) == []
        assert list(metrics.keys(since_s=NOW_S - 100)) == [LATENCY]
