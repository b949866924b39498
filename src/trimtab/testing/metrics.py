"""MemoryMetricStore: a MetricStore that keeps every sample as it came. For tests; it forgets nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trimtab.metrics.store import MetricKey, Point, Sample


class MemoryMetricStore:
    """See `MetricStore`."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def record(self, samples: Sequence[Sample], *, durable: bool = False) -> None:
        """See `MetricStore`."""
        self.samples += [msgspec.structs.replace(sample, sketch=sample.sketch.copy()) for sample in samples]

    def query(self, key: MetricKey, start_s: int, end_s: int, period_s: int, *, unit: str = "") -> list[Point]:
        """See `MetricStore`."""
        if period_s < 1:
            raise ValueError("a period has at least one second")
        found: dict[tuple[int, str], Point] = {}
        for sample in self.samples:
            start = sample.start_s - sample.start_s % period_s
            whole = start_s - start_s % period_s <= start < end_s
            if sample.key != key or unit not in ("", sample.unit) or not whole or not sample.sketch.count:
                continue
            point = found.get((start, sample.unit))
            if point is None:
                found[(start, sample.unit)] = Point(start, sample.sketch.copy(), sample.unit)
            else:
                point.sketch.merge(sample.sketch)
        return [found[place] for place in sorted(found)]

    def keys(self, namespace: str = "", name: str = "", *, since_s: int = 0) -> Iterable[MetricKey]:
        """See `MetricStore`."""
        return dict.fromkeys(
            sample.key
            for sample in self.samples
            if sample.start_s >= since_s and namespace in ("", sample.key.namespace) and name in ("", sample.key.name)
        )
