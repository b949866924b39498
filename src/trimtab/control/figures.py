"""Figures: the numbers of a row of `trimtab top`, from samples of a window and from readings of replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from trimtab.metrics import names
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, MetricStore, Point
from trimtab.resources.usage import ReplicaUsage


class Figures(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None: not known."""

    rate_per_s: float | None = None  # requests
    errors_per_s: float | None = None
    p50_ms: float | None = None  # of answers without error, received until answered
    p95_ms: float | None = None
    p99_ms: float | None = None
    queue: float | None = None  # most requests that waited at once for a replica
    concurrency: float | None = None  # most requests in progress and queued at once
    batch_size: float | None = None  # requests in a batch, on average
    utilization_percent: float | None = None  # part of the time in which models work, 0 to 100
    cpu_percent: float | None = None  # 0 to 100 x cores, all replicas together
    memory_bytes: int | None = None
    memory_percent: float | None = None
    gpu_percent: float | None = None  # 0 to 100 x GPUs
    gpu_memory_bytes: int | None = None


# member of Reading -> where its samples are; by what is sorted by it
_SOURCES = {
    "invocations": (names.SAGEMAKER, "Invocations", "rate"),
    "errors": (names.TRIMTAB, "Errors", "errors"),
    "latency": (names.TRIMTAB, "Latency", "p99"),
    "queue": (names.TRIMTAB, "QueueDepth", "queue"),
    "concurrency": (names.SAGEMAKER, "ConcurrentRequestsPerModel", ""),
    "batches": (names.TRIMTAB, "BatchSize", ""),
    "utilization": (names.TRIMTAB, "Utilization", ""),
}


class Reading(Struct, frozen=True, kw_only=True):
    """A variant's samples of a window: points of one second."""

    end_s: int
    invocations: list[Point] = []
    errors: list[Point] = []
    latency: list[Point] = []
    queue: list[Point] = []
    concurrency: list[Point] = []
    batches: list[Point] = []
    utilization: list[Point] = []

    def rate_per_s(self, points: Sequence[Point]) -> float | None:
        """By the seconds since requests were counted first in the window: an endpoint may be younger than it."""
        if not points:
            return None
        since_s = min(point.start_s for point in (*points, *self.invocations))
        return sum(point.sketch.sum for point in points) / max(1, self.end_s - since_s)


def read(metrics: MetricStore, endpoint: str, variant: str, start_s: int, end_s: int, *, only: str = "") -> Reading:
    """The samples of [start_s, end_s). `only`: just those that are needed to sort by that."""
    dimensions = ((names.ENDPOINT, endpoint), (names.VARIANT, variant))
    return Reading(
        end_s=end_s,
        **{
            member: metrics.query(MetricKey(namespace, name, dimensions), start_s, end_s, 1)
            for member, (namespace, name, sort) in _SOURCES.items()
            if only in ("", sort)
        },
    )


def figures(readings: Sequence[Reading], usages: Sequence[ReplicaUsage]) -> Figures:
    """Of some variants, and of the replicas that are theirs."""
    latency = _merged(point for reading in readings for point in reading.latency)
    p50, p95, p99 = (_quantile_ms(latency, q) for q in (0.5, 0.95, 0.99))
    taken = usage_figures(usages)
    return Figures(
        rate_per_s=_sum(reading.rate_per_s(reading.invocations) for reading in readings),
        errors_per_s=_sum(reading.rate_per_s(reading.errors) for reading in readings),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        queue=_sum(_most(reading.queue) for reading in readings),
        concurrency=_sum(_most(reading.concurrency) for reading in readings),
        batch_size=_average(point for reading in readings for point in reading.batches),
        utilization_percent=_average(point for reading in readings for point in reading.utilization),
        cpu_percent=taken.cpu_percent,
        memory_bytes=taken.memory_bytes,
        memory_percent=taken.memory_percent,
        gpu_percent=taken.gpu_percent,
        gpu_memory_bytes=taken.gpu_memory_bytes,
    )


def usage_figures(usages: Sequence[ReplicaUsage]) -> Figures:
    """Of some replicas: their sums."""
    memory = _sum(usage.memory_bytes for usage in usages)
    gpu_memory = _sum(usage.gpu_memory_bytes for usage in usages)
    return Figures(
        cpu_percent=_sum(usage.cpu_percent for usage in usages),
        memory_bytes=None if memory is None else int(memory),
        memory_percent=_sum(usage.memory_percent for usage in usages),
        gpu_percent=_sum(usage.gpu_percent for usage in usages),
        gpu_memory_bytes=None if gpu_memory is None else int(gpu_memory),
    )


def rank(sort: str, readings: Callable[[], Sequence[Reading]], usages: Sequence[ReplicaUsage]) -> float | None:
    """The figure that `sort` means. `readings` is called only where requests matter."""
    if sort == "cpu":
        return usage_figures(usages).cpu_percent
    if sort == "memory":
        return usage_figures(usages).memory_bytes
    found = readings()
    if sort == "rate":
        return _sum(reading.rate_per_s(reading.invocations) for reading in found)
    if sort == "errors":
        return _sum(reading.rate_per_s(reading.errors) for reading in found)
    if sort == "p99":
        return _quantile_ms(_merged(point for reading in found for point in reading.latency), 0.99)
    return _sum(_most(reading.queue) for reading in found)


def _merged(points: Iterable[Point]) -> Sketch:
    merged = Sketch()
    for point in points:
        merged.merge(point.sketch)
    return merged


def _quantile_ms(latency: Sketch, q: float) -> float | None:
    return latency.quantile(q) / 1000 if latency.has_distribution else None


def _most(points: Sequence[Point]) -> float | None:
    return max((point.sketch.max for point in points), default=None)


def _average(points: Iterable[Point]) -> float | None:
    found = list(points)
    count = sum(point.sketch.count for point in found)
    return sum(point.sketch.sum for point in found) / count if count else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
