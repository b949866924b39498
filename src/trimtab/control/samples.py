"""From what gateways counted to samples with AWS's names, units and dimensions (`metrics/names.py`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from trimtab.metrics.names import ENDPOINT, METRICS, REASON, SAGEMAKER, TRIMTAB, VARIANT, VERSION
from trimtab.metrics.sketch import ZERO, Sketch, bucket_of
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.routing import VariantRoute
from trimtab.resources.serverless import Serverless
from trimtab.wire.reports import Tally, TasksReport, VariantReport, VersionReport

_UNITS: Final = {(metric.namespace, metric.name): metric.unit for metric in METRICS}
_ONE: Final = bucket_of(1.0)
_IDLE: Final = (
    (SAGEMAKER, "Invocations"),
    (SAGEMAKER, "InvocationsPerInstance"),
    (SAGEMAKER, "ConcurrentRequestsPerModel"),
    (TRIMTAB, "Utilization"),
)
_IDLE_PROVISIONED: Final = (*_IDLE, (SAGEMAKER, "ServerlessProvisionedConcurrencyUtilization"))
_IDLE_ASYNCHRONOUS: Final = (
    (SAGEMAKER, "InvocationsProcessed"),
    (SAGEMAKER, "ConcurrentRequestsPerModel"),
    (TRIMTAB, "Utilization"),
)
MINUTE_S: Final = 60
_PLACES_KEPT: Final = 20_000
_KEYS_KEPT: Final = 200  # of one variant
_SHARED: Final = 4096  # small sketches that are made again and again: of counts, rates and gauges
_times: Final = lru_cache(_SHARED)(Sketch.times)
_ZERO: Final = Sketch(1.0, 0.0, 0.0, 0.0, {ZERO: 1.0})


class Adds(Protocol):
    """Takes a sketch under a name; `extra` and `value` are one more dimension."""

    def __call__(self, namespace: str, name: str, sketch: Sketch, extra: str = "", value: str = "") -> None: ...


class SampleMaker:
    """Makes the samples of one report at a time. Keys are kept: there are few, and they are used every second.

    What is made shares sketches: nobody may change them.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], _Keys] = {}

    def keys(self, endpoint: str, variant: str) -> _Keys:
        """Those of one variant."""
        known = self._keys.get((endpoint, variant))
        if known is None:
            if len(self._keys) >= _PLACES_KEPT:
                self._keys.clear()  # of endpoints that are no more
            known = self._keys[(endpoint, variant)] = _Keys(endpoint, variant)
        return known

    def active(self, report: VariantReport, start_s: int, span_s: int, route: VariantRoute | None) -> list[Sample]:
        """What one variant did in `span_s` seconds from `start_s`, in all gateways. `route`: as it is routed to now."""
        made: list[Sample] = []
        keys = self.keys(report.endpoint, report.variant)
        resolution_s = 1 if span_s < MINUTE_S else MINUTE_S

        def add(namespace: str, name: str, sketch: Sketch, extra: str = "", value: str = "") -> None:
            if sketch.count:
                key, unit = keys[(namespace, name, extra, value)]
                made.append(Sample(key, start_s, sketch, unit, resolution_s))

        ready = len({lane.replica_id for lane in route.lanes}) if route is not None else 0
        received = report.received if report.tasks is None else 0  # AWS: not of asynchronous endpoints
        if received > 0:
            add(SAGEMAKER, "Invocations", _times(1.0, received))
            add(SAGEMAKER, "InvocationsPerInstance", _times(1.0 / max(1, ready), received))
        least, most = report.in_hand.least, report.in_hand.most
        add(SAGEMAKER, "ConcurrentRequestsPerModel", _between(least / max(1, ready), most / max(1, ready)))
        add(TRIMTAB, "Concurrency", _between(least, most))
        add(TRIMTAB, "QueueDepth", _between(report.waiting.least, report.waiting.most))
        for name, count in (
            ("Throttles", report.throttled),
            ("Retries", report.retried),
            ("ClientsGone", report.clients_gone),
        ):
            if count:
                add(TRIMTAB, name, _times(1.0, count))
        add(TRIMTAB, "Utilization", utilization(report.busy_s, span_s, route))
        if route is not None and route.serverless is not None:
            self._on_demand(report, route.serverless, add)
        if (models := report.models) is not None:
            add(SAGEMAKER, "ModelCacheHit", _rate(models.hits, models.hits + models.misses))
            add(SAGEMAKER, "ModelLoadingWaitTime", sketch_of(models.waits))
            add(TRIMTAB, "FirstModelLatency", sketch_of(models.firsts))
        if (tasks := report.tasks) is not None:
            _of_tasks(tasks, add)
        for version in report.versions:
            add(TRIMTAB, "Latency", sketch_of(version.latency), VERSION, version.version)
            failed = sum(version.errors.values())
            add(TRIMTAB, "Errors", _rate(failed, version.ended), VERSION, version.version)
        self._of_all_versions(report.versions, add, asynchronous=tasks is not None)
        return made

    @staticmethod
    def _on_demand(report: VariantReport, rules: Serverless, add: Adds) -> None:
        """Of a serverless variant. What is refused at MaxConcurrency is in hand for a moment: no more than all."""
        least, most = (min(count, rules.max_concurrency) for count in (report.in_hand.least, report.in_hand.most))
        share = _between(least / rules.max_concurrency, most / rules.max_concurrency)
        add(SAGEMAKER, "ServerlessConcurrentExecutionsUtilization", share)
        billed = _merged(version.billed_ms for version in report.versions)
        add(TRIMTAB, "BilledDuration", billed)
        if billed.count:
            gb_s = rules.memory_mib / 1024 / 1000
            add(TRIMTAB, "BilledGBSeconds", _times(billed.sum * gb_s / billed.count, int(billed.count)))
        if rules.provisioned:
            used = (min(least, rules.provisioned), min(most, rules.provisioned))
            add(SAGEMAKER, "ServerlessProvisionedConcurrencyExecutions", _between(*used))
            of_all = (count / rules.provisioned for count in used)
            add(SAGEMAKER, "ServerlessProvisionedConcurrencyUtilization", _between(*of_all))
            if kept := report.received - report.throttled - report.spilled:
                add(SAGEMAKER, "ServerlessProvisionedConcurrencyInvocations", _times(1.0, kept))
            if report.spilled:
                add(SAGEMAKER, "ServerlessProvisionedConcurrencySpilloverInvocations", _times(1.0, report.spilled))

    @staticmethod
    def _of_all_versions(versions: Sequence[VersionReport], add: Adds, *, asynchronous: bool) -> None:
        ended = sum(version.ended for version in versions)
        for name, count in (
            ("Invocation4XXErrors", sum(version.client_faults for version in versions)),
            ("Invocation5XXErrors", sum(version.server_faults for version in versions)),
            ("InvocationModelErrors", sum(version.model_faults for version in versions)),
        ):
            add(SAGEMAKER, name, _rate(count, ended))
        errors: dict[str, int] = {}
        for version in versions:
            for reason, count in version.errors.items():
                errors[reason] = errors.get(reason, 0) + count
        add(TRIMTAB, "Errors", _rate(sum(errors.values()), ended))
        for reason, count in errors.items():
            add(TRIMTAB, "Errors", _rate(count, ended), REASON, reason)
        queue = _merged(version.queue_time for version in versions)
        first, first_model = (
            _merged(version.first_chunk for version in versions),
            _merged(version.first_chunk_model for version in versions),
        )
        add(SAGEMAKER, "ModelLatency", _merged(version.model_latency for version in versions))
        if not asynchronous:  # AWS
            add(SAGEMAKER, "OverheadLatency", queue)
        add(SAGEMAKER, "FirstChunkLatency", first)
        add(SAGEMAKER, "FirstChunkModelLatency", first_model)
        if first.count:
            add(SAGEMAKER, "FirstChunkOverheadLatency", _less(first, first_model))
        if broken := sum(version.broken_streams for version in versions):
            add(SAGEMAKER, "MidStreamErrors", _times(1.0, broken))
        add(TRIMTAB, "Latency", _merged(version.latency for version in versions))
        add(TRIMTAB, "QueueTime", queue)
        add(TRIMTAB, "ComputeTime", _merged(version.compute_time for version in versions))
        add(TRIMTAB, "BatchSize", batch_sizes(versions))
        answered = sum(version.latency.count for version in versions)
        add(TRIMTAB, "RequestBytes", Sketch.evenly(sum(version.request_bytes for version in versions), answered))
        add(TRIMTAB, "ResponseBytes", Sketch.evenly(sum(version.response_bytes for version in versions), answered))

    def idle(
        self, endpoint: str, variant: str, start_s: int, *, asynchronous: bool = False, provisioned: bool = False
    ) -> list[Sample]:
        """Zeros of a minute in which a variant has nothing to do, or not all the time (AWS publishes them)."""
        keys = self.keys(endpoint, variant)
        made = []
        of_its_kind = _IDLE_ASYNCHRONOUS if asynchronous else _IDLE_PROVISIONED if provisioned else _IDLE
        for namespace, name in of_its_kind:
            key, unit = keys[(namespace, name, "", "")]
            made.append(Sample(key, start_s, _ZERO, unit, MINUTE_S))
        return made


class _Keys(dict[tuple[str, str, str, str], tuple[MetricKey, str]]):
    """Keys and units of one variant, by namespace, name, and one more dimension; made when they are asked for."""

    def __init__(self, endpoint: str, variant: str) -> None:
        self._own = {ENDPOINT: endpoint, VARIANT: variant}

    def __missing__(self, of: tuple[str, str, str, str]) -> tuple[MetricKey, str]:
        namespace, name, extra, value = of
        if len(self) >= _KEYS_KEPT:
            self.clear()  # of versions that are no more
        dimensions = {**self._own, **({extra: value} if extra else {})}
        made = MetricKey(namespace, name, tuple(sorted(dimensions.items()))), _UNITS[(namespace, name)]
        self[of] = made
        return made


def _of_tasks(tasks: TasksReport, add: Adds) -> None:
    """How tasks have ended. AWS: "Monitor asynchronous endpoints"."""
    processed = tasks.ok + tasks.failed
    add(SAGEMAKER, "InvocationsProcessed", _times(1.0, processed))
    add(SAGEMAKER, "InvocationFailures", _rate(tasks.failed, processed))
    for name, count in (
        ("RequestDownloadFailures", tasks.download_failures),
        ("ResponseUploadFailures", tasks.upload_failures),
        ("NotificationFailures", tasks.notice_failures),
        ("ExpiredRequests", tasks.expired),
    ):
        if count:
            add(SAGEMAKER, name, _times(1.0, count))
    add(SAGEMAKER, "RequestDownloadLatency", sketch_of(tasks.download))
    add(SAGEMAKER, "ResponseUploadLatency", sketch_of(tasks.upload))
    add(SAGEMAKER, "TimeInBacklog", sketch_of(tasks.in_backlog))
    add(SAGEMAKER, "TotalProcessingTime", sketch_of(tasks.whole))
    add(TRIMTAB, "TimeInWork", sketch_of(tasks.in_work))


def sketch_of(tally: Tally) -> Sketch:
    """The same distribution. It shares the tally's buckets."""
    return Sketch(float(tally.count), tally.sum, tally.min, tally.max, tally.buckets)  # type: ignore[arg-type]


def utilization(busy_s: Mapping[str, float], span_s: int, route: VariantRoute | None) -> Sketch:
    """A sample for each ready replica: the percentage of the time in which it had a request in hand."""
    if route is None:
        return Sketch()
    lanes: dict[str, int] = {}
    for lane in route.lanes:
        lanes[lane.replica_id] = lanes.get(lane.replica_id, 0) + 1
    return Sketch.of(
        min(100.0, 100.0 * busy_s.get(replica, 0.0) / (span_s * count)) for replica, count in lanes.items()
    )


def batch_sizes(versions: Iterable[VersionReport]) -> Sketch:
    """A value for each batch. A batch of n was seen by n answers, so each of them is a part of 1/n of it."""
    made = Sketch()
    for version in versions:
        for size, answers in version.batched.items():
            made.add(float(size), answers / size)
    return made


@lru_cache(_SHARED)
def _rate(ones: int, of: int) -> Sketch:
    """0 for each of `of`, but 1 for `ones` of them."""
    zeros = of - ones
    buckets = {bucket: float(count) for bucket, count in ((ZERO, zeros), (_ONE, ones)) if count}
    return Sketch(float(of), float(ones), 0.0 if zeros else 1.0, 1.0 if ones else 0.0, buckets) if of else Sketch()


@lru_cache(_SHARED)
def _between(least: float, most: float) -> Sketch:
    return Sketch.of((float(least), float(most)))


def _merged(tallies: Iterable[Tally]) -> Sketch:
    counted = [tally for tally in tallies if tally.count]
    if len(counted) == 1:
        return sketch_of(counted[0])
    made = Sketch()
    for tally in counted:
        made.merge(sketch_of(tally))
    return made


def _less(whole: Sketch, part: Sketch) -> Sketch:
    """The difference of two times of the same requests: exact in sum and count, without a distribution."""
    low, high = max(0.0, whole.min - part.min), max(0.0, whole.max - part.max)
    total = max(0.0, whole.sum - part.sum)
    if whole.count == 1:
        return Sketch.of([total])
    return Sketch(whole.count, total, min(low, total / whole.count), max(high, total / whole.count))
