"""Every Prometheus metric that trimtab exposes: name, type, meaning, labels. docs/metrics.md is made of this.

Names follow Prometheus's conventions (base units, `_total` for counters). What a gateway counts has the labels
`endpoint` and `variant`, and `version` where versions are told apart.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# Upper bounds of the duration histogram, in seconds; the last one, +Inf, is understood.
BOUNDS_S: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

VARIANT_LABELS: Final = ("endpoint", "variant")
VERSION_LABELS: Final = ("endpoint", "variant", "version")


class Family(Struct, frozen=True):
    """One metric family. A counter's `name` ends in `_total`."""

    name: str
    kind: str  # counter, gauge, histogram, summary (sum and count only)
    meaning: str
    labels: tuple[str, ...] = VARIANT_LABELS


INVOCATIONS: Final = Family("trimtab_invocations_total", "counter", "Requests received, refused ones included.")
THROTTLED: Final = Family("trimtab_throttled_requests_total", "counter", "Requests refused because a queue was full.")
RETRIES: Final = Family(
    "trimtab_retries_total", "counter", "Requests handed back untouched by a replica and sent to another."
)
CLIENTS_GONE: Final = Family("trimtab_clients_gone_total", "counter", "Callers who left before their answer.")
ERRORS: Final = Family(
    "trimtab_invocation_errors_total",
    "counter",
    "Requests that ended in an error, by reason: ModelFailed, OutOfMemory, QueueFull, ReplicaLost, ...",
    (*VERSION_LABELS, "reason"),
)
MODEL_ERRORS: Final = Family(
    "trimtab_model_errors_total",
    "counter",
    "Requests that the model answered with an error, by class: 4xx, 5xx (time-outs and lost replicas count).",
    (*VERSION_LABELS, "class"),
)
STREAM_ERRORS: Final = Family(
    "trimtab_stream_errors_total", "counter", "Streams that failed after their first chunk.", VERSION_LABELS
)
DURATION: Final = Family(
    "trimtab_invocation_duration_seconds",
    "histogram",
    "Received until answered, of answers without error.",
    VERSION_LABELS,
)
MODEL_DURATION: Final = Family(
    "trimtab_model_duration_seconds",
    "summary",
    "Sent to a replica until its (whole) answer is here, of answers without error.",
    VERSION_LABELS,
)
QUEUE_DURATION: Final = Family(
    "trimtab_queue_duration_seconds",
    "summary",
    "Received until sent to a replica, of answers without error.",
    VERSION_LABELS,
)
COMPUTE_DURATION: Final = Family(
    "trimtab_compute_duration_seconds", "summary", "In the model's handlers, as workers say.", VERSION_LABELS
)
FIRST_CHUNK: Final = Family(
    "trimtab_first_chunk_duration_seconds", "summary", "Streams: received until the first chunk.", VERSION_LABELS
)
BATCH_SIZE: Final = Family(
    "trimtab_batch_size_requests",
    "summary",
    "Requests worked on together: count is the number of batches, sum that of the requests in them.",
    VERSION_LABELS,
)
IN_PROGRESS: Final = Family(
    "trimtab_requests_in_progress", "gauge", "Requests in progress and queued: the most in the newest second."
)
QUEUED: Final = Family(
    "trimtab_queued_requests", "gauge", "Requests that wait for a replica: the most in the newest second."
)
UTILIZATION: Final = Family(
    "trimtab_replica_busy_ratio", "gauge", "Part of the newest second in which replicas had work; mean, 0 to 1."
)
READY: Final = Family("trimtab_replicas_ready", "gauge", "Replicas that take requests.")
MODEL_HITS: Final = Family(
    "trimtab_model_cache_hits_total", "counter", "Multi-model: requests whose model was loaded when they came."
)
MODEL_MISSES: Final = Family(
    "trimtab_model_cache_misses_total", "counter", "Multi-model: requests whose model was not loaded when they came."
)
MODEL_WAIT: Final = Family(
    "trimtab_model_wait_duration_seconds",
    "summary",
    "Multi-model: how long requests waited for their model; of those that did.",
)

COST: Final = Family(
    "trimtab_cost_usd_total",
    "counter",
    "US dollars that the variant has cost since it exists, by part: serving, headroom, idle, cold-starts, reloads, "
    "retries, shadow, rollout.",
    (*VARIANT_LABELS, "part"),
)

GATEWAY_FAMILIES: Final = (
    INVOCATIONS, THROTTLED, RETRIES, CLIENTS_GONE, ERRORS, MODEL_ERRORS, STREAM_ERRORS, DURATION, MODEL_DURATION,
    QUEUE_DURATION, COMPUTE_DURATION, FIRST_CHUNK, BATCH_SIZE, IN_PROGRESS, QUEUED, UTILIZATION, READY,
    MODEL_HITS, MODEL_MISSES, MODEL_WAIT, COST,
)  # fmt: skip


class Sampled(Struct, frozen=True):
    """A family made of what is recorded under `metric` (a name in `metrics/names.py`), times `scale`.

    `how`: `mean` or `sum` of the values recorded together (gauges), or `total`: of all values ever (counters,
    summaries).
    """

    metric: str
    family: Family
    how: str
    scale: float = 1.0


def _sampled(metric: str, name: str, kind: str, how: str, scale: float, meaning: str) -> Sampled:
    return Sampled(metric, Family(name, kind, meaning), how, scale)


SAMPLED: Final = (
    _sampled("CPUUtilization", "trimtab_cpu_usage_ratio", "gauge", "mean", 0.01, "CPUs used by a replica; mean."),
    _sampled(
        "MemoryUtilization",
        "trimtab_memory_usage_ratio",
        "gauge",
        "mean",
        0.01,
        "Part of the instance's memory that a replica uses; mean.",
    ),
    _sampled(
        "DiskUtilization",
        "trimtab_disk_usage_ratio",
        "gauge",
        "mean",
        0.01,
        "Used part of the data directory's file system.",
    ),
    _sampled("GPUUtilization", "trimtab_gpu_usage_ratio", "gauge", "mean", 0.01, "GPUs used by a replica; mean."),
    _sampled(
        "GPUMemoryUtilization",
        "trimtab_gpu_memory_usage_ratio",
        "gauge",
        "mean",
        0.01,
        "GPU memories used by a replica; mean.",
    ),
    _sampled(
        "MemoryBytes", "trimtab_memory_bytes", "gauge", "sum", 1.0, "Proportional set size of all replicas' processes."
    ),
    _sampled("ReplicasDesired", "trimtab_replicas_desired", "gauge", "mean", 1.0, "Replicas that there should be."),
    _sampled(
        "InvocationsProcessed",
        "trimtab_async_requests_total",
        "counter",
        "total",
        1.0,
        "Asynchronous: requests that ended with a result or a failure.",
    ),
    _sampled(
        "InvocationFailures",
        "trimtab_async_failures_total",
        "counter",
        "total",
        1.0,
        "Of these, those that ended with a failure.",
    ),
    _sampled(
        "ExpiredRequests",
        "trimtab_async_expired_total",
        "counter",
        "total",
        1.0,
        "Asynchronous: requests that were too old to be worked on.",
    ),
    _sampled(
        "TimeInBacklog",
        "trimtab_async_backlog_duration_seconds",
        "summary",
        "total",
        0.001,
        "Asynchronous: accepted until first taken out of the queue.",
    ),
    _sampled(
        "TotalProcessingTime",
        "trimtab_async_duration_seconds",
        "summary",
        "total",
        0.001,
        "Asynchronous: accepted until ended.",
    ),
    _sampled(
        "ReplicasLost", "trimtab_replicas_lost_total", "counter", "total", 1.0, "Replicas that died or were killed."
    ),
    _sampled(
        "ReplicasOutOfMemory",
        "trimtab_replicas_out_of_memory_total",
        "counter",
        "total",
        1.0,
        "Of these, those that ran out of memory.",
    ),
    _sampled(
        "ModelLoadTime",
        "trimtab_model_load_duration_seconds",
        "summary",
        "total",
        0.001,
        "From the decision to start a replica until it is ready.",
    ),
    _sampled(
        "BilledDuration",
        "trimtab_billed_duration_seconds",
        "summary",
        "total",
        0.001,
        "Serverless: time in an environment's hands, in begun milliseconds.",
    ),
    _sampled(
        "BilledGBSeconds", "trimtab_billed_gb_seconds_total", "counter", "total", 1.0, "Serverless: the same x memory."
    ),
    _sampled(
        "ModelsLoaded", "trimtab_models_loaded", "gauge", "sum", 1.0, "Multi-model: models loaded, of all replicas."
    ),
    _sampled(
        "ModelMemoryBytes",
        "trimtab_model_memory_bytes",
        "gauge",
        "sum",
        1.0,
        "Multi-model: measured memory of all replicas' models.",
    ),
    _sampled(
        "ModelDownloadingTime",
        "trimtab_model_fetch_duration_seconds",
        "summary",
        "total",
        1e-6,
        "Multi-model: fetching and unpacking a model's artifact.",
    ),
    _sampled(
        "ModelLoadingTime",
        "trimtab_model_loading_duration_seconds",
        "summary",
        "total",
        1e-6,
        "Multi-model: loading a model that is on the disk; count is the number of loads.",
    ),
    _sampled(
        "ModelUnloadingTime",
        "trimtab_model_unloading_duration_seconds",
        "summary",
        "total",
        1e-6,
        "Multi-model: from the decision to unload a model until its memory is back.",
    ),
    _sampled(
        "ModelUnloads",
        "trimtab_model_unloads_total",
        "counter",
        "total",
        1.0,
        "Multi-model: models unloaded, crashes not included.",
    ),
    _sampled(
        "ModelLoadFailures",
        "trimtab_model_load_failures_total",
        "counter",
        "total",
        1.0,
        "Multi-model: models that could not be fetched or loaded.",
    ),
    _sampled(
        "ModelCrashes",
        "trimtab_model_crashes_total",
        "counter",
        "total",
        1.0,
        "Multi-model: loaded models whose process died unasked.",
    ),
)

FAMILIES: Final = (*GATEWAY_FAMILIES, *(sampled.family for sampled in SAMPLED))
