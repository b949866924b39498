"""From what replicas take, and from what happens to them, to samples. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from trimtab.control.turn import REPLICA_IN_ROUTING, REPLICA_LOST
from trimtab.metrics import names
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import StartCause
from trimtab.resources.usage import ReplicaUsage

OUT_OF_MEMORY = "OutOfMemory"  # resources.replica.Failure

_OF_USAGE = (
    (names.INSTANCES, "CPUUtilization", "cpu_percent"),
    (names.INSTANCES, "MemoryUtilization", "memory_percent"),
    (names.INSTANCES, "DiskUtilization", "disk_percent"),
    (names.INSTANCES, "GPUUtilization", "gpu_percent"),
    (names.INSTANCES, "GPUMemoryUtilization", "gpu_memory_percent"),
    (names.TRIMTAB, "MemoryBytes", "memory_bytes"),
)
_UNITS = {(metric.namespace, metric.name): metric.unit for metric in names.METRICS}


def usage_samples(usages: Iterable[ReplicaUsage], start_s: int) -> list[Sample]:
    """A value per replica, under its variant. What is not known is not published."""
    by_variant: dict[tuple[str, str], list[ReplicaUsage]] = {}
    for usage in usages:
        by_variant.setdefault((usage.endpoint, usage.variant), []).append(usage)
    samples = []
    for (endpoint, variant), replicas in by_variant.items():
        for namespace, name, member in _OF_USAGE:
            values = [value for usage in replicas if (value := getattr(usage, member)) is not None]
            if values:
                samples.append(sample_of(namespace, name, endpoint, variant, Sketch.of(values), start_s))
    return samples


def count_samples(
    desired: Mapping[tuple[str, str], int], ready: Mapping[tuple[str, str], int], start_s: int
) -> Iterator[Sample]:
    """Replicas that there should be, and those that take requests, by endpoint and variant."""
    for (endpoint, variant), count in desired.items():
        here = ready.get((endpoint, variant), 0)
        yield sample_of(names.TRIMTAB, "ReplicasDesired", endpoint, variant, Sketch.of([count]), start_s)
        yield sample_of(names.TRIMTAB, "ReplicasReady", endpoint, variant, Sketch.of([here]), start_s)


def event_samples(endpoint: str, events: Sequence[Event]) -> list[Sample]:
    """What is counted of an endpoint's events."""
    samples = []
    for event in events:
        start_s = int(event.at_s)
        if event.what == REPLICA_LOST:
            one = Sketch.of([1.0])
            for more in ({}, {names.REASON: event.failure}):
                samples.append(sample_of(names.TRIMTAB, "ReplicasLost", endpoint, event.variant, one, start_s, more))
            if event.failure == OUT_OF_MEMORY:
                samples.append(sample_of(names.TRIMTAB, "ReplicasOutOfMemory", endpoint, event.variant, one, start_s))
        elif event.what == REPLICA_IN_ROUTING and event.load_time_s is not None:
            if event.cause == StartCause.ON_DEMAND:
                setup = Sketch.of([event.load_time_s * 1e6])
                samples.append(sample_of(names.SAGEMAKER, "ModelSetupTime", endpoint, event.variant, setup, start_s))
            took = Sketch.of([event.load_time_s * 1000])
            for more in ({}, {names.CAUSE: event.cause}):
                samples.append(sample_of(names.TRIMTAB, "ModelLoadTime", endpoint, event.variant, took, start_s, more))
    return samples


def sample_of(
    namespace: str,
    name: str,
    endpoint: str,
    variant: str,
    sketch: Sketch,
    start_s: int,
    more: Mapping[str, str] = {},
    resolution_s: int = 1,
) -> Sample:
    """A sample with the dimensions of a variant, and `more`."""
    dimensions = {names.ENDPOINT: endpoint, names.VARIANT: variant, **more}
    key = MetricKey(namespace, name, tuple(sorted(dimensions.items())))
    return Sample(key, start_s, sketch.copy(), _UNITS[namespace, name], resolution_s)
