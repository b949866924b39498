"""Which metrics an audit reads of each variant, and how finely.

CloudWatch keeps minutes for 15 days; GetMetricData answers at most 100,800 values a call.
"""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

INVOCATION_NAMESPACE: Final = "AWS/SageMaker"
MACHINE_NAMESPACE: Final = "/aws/sagemaker/Endpoints"
OWN_NAMESPACE: Final = "trimtab/Endpoints"  # what trimtab publishes beside; AWS has nothing there
FINE_S: Final = 300
COARSE_S: Final = 3600


class Measure(enum.StrEnum):
    """One statistic of one metric."""

    REQUESTS = "requests"  # in 300 s
    PROCESSED = "processed"  # asynchronous ones, in 300 s
    LATENCY_MEAN = "latency-mean"  # microseconds, as CloudWatch has it; all that follow are by the hour
    LATENCY_P50 = "latency-p50"
    LATENCY_P90 = "latency-p90"
    LATENCY_P99 = "latency-p99"
    LATENCY_MAX = "latency-max"
    CONCURRENCY = "concurrency"  # in progress and queued, per instance: the hour's largest
    GPU = "gpu"  # percent, 100 x GPUs: the hour's mean
    GPU_MEMORY = "gpu-memory"  # percent, 100 x GPUs: the hour's largest
    CPU_SAMPLES = "cpu-samples"  # one for each instance and minute
    MEMORY = "memory"  # percent: the hour's largest


class Source(Struct, frozen=True):
    """Where CloudWatch has it."""

    namespace: str
    metric: str
    stat: str
    period_s: int = COARSE_S


_INVOCATIONS: Final = INVOCATION_NAMESPACE
_MACHINE: Final = MACHINE_NAMESPACE

SOURCES: Final[dict[Measure, Source]] = {
    Measure.REQUESTS: Source(_INVOCATIONS, "Invocations", "Sum", FINE_S),
    Measure.PROCESSED: Source(_INVOCATIONS, "InvocationsProcessed", "Sum", FINE_S),
    Measure.LATENCY_MEAN: Source(_INVOCATIONS, "ModelLatency", "Average"),
    Measure.LATENCY_P50: Source(_INVOCATIONS, "ModelLatency", "p50"),
    Measure.LATENCY_P90: Source(_INVOCATIONS, "ModelLatency", "p90"),
    Measure.LATENCY_P99: Source(_INVOCATIONS, "ModelLatency", "p99"),
    Measure.LATENCY_MAX: Source(_INVOCATIONS, "ModelLatency", "Maximum"),
    Measure.CONCURRENCY: Source(_INVOCATIONS, "ConcurrentRequestsPerModel", "Maximum"),
    Measure.GPU: Source(_MACHINE, "GPUUtilization", "Average"),
    Measure.GPU_MEMORY: Source(_MACHINE, "GPUMemoryUtilization", "Maximum"),
    Measure.CPU_SAMPLES: Source(_MACHINE, "CPUUtilization", "SampleCount"),
    Measure.MEMORY: Source(_MACHINE, "MemoryUtilization", "Maximum"),
}

REQUEST_COUNT: Final = Source(OWN_NAMESPACE, "RequestBytes", "SampleCount")
REQUEST_BYTES: Final = Source(OWN_NAMESPACE, "RequestBytes", "Sum")
RESPONSE_BYTES: Final = Source(OWN_NAMESPACE, "ResponseBytes", "Sum")
