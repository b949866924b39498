"""Figures: the numbers of a row of `trimtab top`, from samples of a window and from readings of replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

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
    backlog: int | None = None  # of asynchronous endpoints: requests that wait or are worked on, now
    concurrency: float | None = None  # most requests in progress and queued at once
    batch_size: float | None = None  # requests in a batch, on average
    utilization_percent: float | None = None  # part of the time in which models work, 0 to 100
    cpu_percent: float | None = None  # 0 to 100 x cores, all replicas together
    memory_bytes: int | None = None
    memory_percent: float | None = None
    gpu_percent: float | None = None  # 0 to 100 x GPUs
    gpu_memory_bytes: int | None = None
    models_loaded: int | None = None  # of multi-model variants, all replicas together
    model_hit_percent: float | None = None  # requests whose model was loaded when they came
    usd_per_hour: float | None = None  # of all replicas, where a price is known
    usd_per_1000: float | None = None  # requests, at this rate


# member of Reading -> where its samples are, and which sort needs them
_SOURCES = {
    "invocations": (names.SAGEMAKER, "Invocations", "rate"),
    "processed": (names.SAGEMAKER, "InvocationsProcessed", "rate"),
    "errors": (names.TRIMTAB, "Errors", "errors"),
    "latency": (names.TRIMTAB, "Latency", "p99"),
    "queue": (names.TRIMTAB, "QueueDepth", "queue"),
    "concurrency": (names.TRIMTAB, "Concurrency", ""),
    "batches": (names.TRIMTAB, "BatchSize", ""),
    "utilization": (names.TRIMTAB, "Utilization", ""),
    "model_hits": (names.SAGEMAKER, "ModelCacheHit", ""),
}
_IDLE_S = 130  # zeros of what is idle are published once a minute


class Reading(Struct, frozen=True, kw_only=True):
    """A variant's samples of a window, as points of one second.

    `span_s`: how much of the window the variant has been there. `idle`: it is known that nothing came.
    """

    span_s: float
    idle: bool = False
    invocations: list[Point] = []
    processed: list[Point] = []  # of an asynchronous endpoint
    errors: list[Point] = []
    latency: list[Point] = []
    queue: list[Point] = []
    concurrency: list[Point] = []
    batches: list[Point] = []
    utilization: list[Point] = []
    model_hits: list[Point] = []

    def rate_per_s(self) -> float | None:
        """Requests a second."""
        counted = self.invocations or self.processed
        return self._zero if not counted else _total(counted) / self.span_s

    def errors_per_s(self) -> float | None:
        """Errors a second; not known while there are no requests."""
        return _total(self.errors) / self.span_s if self.errors else None

    def most(self, gauge: Sequence[Point]) -> float | None:
        """The peak of a gauge."""
        return max((point.sketch.max for point in gauge), default=self._zero)

    @property
    def _zero(self) -> float | None:
        return 0.0 if self.idle else None


class Window:
    """The samples of [start_s, end_s). Asks the store only for what has had any: most of many endpoints are idle."""

    def __init__(self, metrics: MetricStore, start_s: int, end_s: int) -> None:
        self._metrics = metrics
        self._start_s = start_s
        self._end_s = end_s
        self._live: dict[str, set[MetricKey]] = {}
        self._counted: dict[str, set[MetricKey]] = {}  # by name
        self._reasons: dict[str, list[tuple[str, MetricKey]]] | None = None  # endpoint -> of errors in the window

    def read(self, endpoint: str, variant: str, *, since_s: float, only: str = "") -> Reading:
        """Those of a variant that has been there since `since_s`. `only`: just what is needed to sort by that."""
        dimensions = ((names.ENDPOINT, endpoint), (names.VARIANT, variant))
        points = {
            member: self._points(member, MetricKey(namespace, name, dimensions))
            for member, (namespace, name, sort) in _SOURCES.items()
            if only in ("", sort)
        }
        idle = not any(points.values()) and any(
            self._is_counted(MetricKey(*_SOURCES[member][:2], dimensions)) for member in ("invocations", "processed")
        )
        return Reading(span_s=self._span_s(since_s), idle=idle, **points)

    def errors_by_reason(self, endpoint: str, *, since_s: float) -> dict[str, float]:
        """An endpoint's errors a second by reason, the most frequent first; empty while there are none."""
        if self._reasons is None:
            self._reasons = {}
            for key in self._alive("errors"):
                dimensions = dict(key.dimensions)
                if names.REASON in dimensions:
                    of = self._reasons.setdefault(dimensions.get(names.ENDPOINT, ""), [])
                    of.append((dimensions[names.REASON], key))
        rates: dict[str, float] = {}
        for reason, key in self._reasons.get(endpoint, ()):
            found = _total(self._metrics.query(key, self._start_s, self._end_s, 1)) / self._span_s(since_s)
            if found:
                rates[reason] = rates.get(reason, 0.0) + found
        return dict(sorted(rates.items(), key=lambda entry: (-entry[1], entry[0])))

    def _span_s(self, since_s: float) -> float:
        return min(self._end_s - self._start_s, max(1.0, self._end_s - since_s))

    def _points(self, member: str, key: MetricKey) -> list[Point]:
        return self._metrics.query(key, self._start_s, self._end_s, 1) if key in self._alive(member) else []

    def _alive(self, member: str) -> set[MetricKey]:
        """Those of a source's metrics that have had samples since the window began."""
        live = self._live.get(member)
        if live is None:
            namespace, name, _ = _SOURCES[member]
            live = self._live[member] = set(self._metrics.keys(namespace, name, since_s=self._start_s))
        return live

    def _is_counted(self, key: MetricKey) -> bool:
        """Whether requests of it have been counted, if only to be none, not long ago."""
        if key.name not in self._counted:
            since_s = self._end_s - _IDLE_S
            self._counted[key.name] = set(self._metrics.keys(key.namespace, key.name, since_s=since_s))
        return key in self._counted[key.name]


def figures(readings: Sequence[Reading], usages: Sequence[ReplicaUsage], models: Sequence[int] = ()) -> Figures:
    """Of some variants and their replicas. `models`: how many models each of these holds, of those that hold any."""
    latency = _merged(point for reading in readings for point in reading.latency)
    p50, p95, p99 = (_quantile_ms(latency, q) for q in (0.5, 0.95, 0.99))
    hits = _average(point for reading in readings for point in reading.model_hits)
    taken = usage_figures(usages, models)
    return Figures(
        rate_per_s=_sum(reading.rate_per_s() for reading in readings),
        errors_per_s=_sum(reading.errors_per_s() for reading in readings),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        queue=_sum(reading.most(reading.queue) for reading in readings),
        concurrency=_sum(reading.most(reading.concurrency) for reading in readings),
        batch_size=_average(point for reading in readings for point in reading.batches),
        utilization_percent=_average(point for reading in readings for point in reading.utilization),
        cpu_percent=taken.cpu_percent,
        memory_bytes=taken.memory_bytes,
        memory_percent=taken.memory_percent,
        gpu_percent=taken.gpu_percent,
        gpu_memory_bytes=taken.gpu_memory_bytes,
        models_loaded=taken.models_loaded,
        model_hit_percent=None if hits is None else 100.0 * hits,
    )


def priced(of: Figures, usd_per_hour: float | None) -> Figures:
    """With what it costs: by the hour, and of 1,000 requests at the rate of the window."""
    if usd_per_hour is None:
        return of
    per_1000 = usd_per_hour / 3.6 / of.rate_per_s if of.rate_per_s else None
    return replace(of, usd_per_hour=usd_per_hour, usd_per_1000=per_1000)


def usage_figures(usages: Sequence[ReplicaUsage], models: Sequence[int] = ()) -> Figures:
    """Of some replicas: their sums."""
    memory = _sum(usage.memory_bytes for usage in usages)
    gpu_memory = _sum(usage.gpu_memory_bytes for usage in usages)
    return Figures(
        cpu_percent=_sum(usage.cpu_percent for usage in usages),
        memory_bytes=None if memory is None else int(memory),
        memory_percent=_sum(usage.memory_percent for usage in usages),
        gpu_percent=_sum(usage.gpu_percent for usage in usages),
        gpu_memory_bytes=None if gpu_memory is None else int(gpu_memory),
        models_loaded=sum(models) if models else None,
    )


def rank(sort: str, readings: Callable[[], Sequence[Reading]], usages: Sequence[ReplicaUsage]) -> float | None:
    """The figure that `sort` means. `readings` is called only where requests matter."""
    if sort == "cpu":
        return usage_figures(usages).cpu_percent
    if sort == "memory":
        return usage_figures(usages).memory_bytes
    found = readings()
    if sort == "rate":
        return _sum(reading.rate_per_s() for reading in found)
    if sort == "errors":
        return _sum(reading.errors_per_s() for reading in found)
    if sort == "p99":
        return _quantile_ms(_merged(point for reading in found for point in reading.latency), 0.99)
    return _sum(reading.most(reading.queue) for reading in found)


def _merged(points: Iterable[Point]) -> Sketch:
    merged = Sketch()
    for point in points:
        merged.merge(point.sketch)
    return merged


def _quantile_ms(latency: Sketch, q: float) -> float | None:
    return latency.quantile(q) / 1000 if latency.has_distribution else None


def _total(points: Sequence[Point]) -> float:
    return sum(point.sketch.sum for point in points)


def _average(points: Iterable[Point]) -> float | None:
    found = list(points)
    count = sum(point.sketch.count for point in found)
    return sum(point.sketch.sum for point in found) / count if count else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
