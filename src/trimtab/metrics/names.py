"""Every metric that trimtab publishes of itself: name, unit, dimensions, meaning. docs/metrics.md is made of this.

What AWS publishes has AWS's name, unit and dimensions (SageMaker developer guide, "Monitor Amazon SageMaker AI with
Amazon CloudWatch"); what it does not is in the namespace `trimtab/Endpoints`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SAGEMAKER: Final = "AWS/SageMaker"
INSTANCES: Final = "/aws/sagemaker/Endpoints"
TRIMTAB: Final = "trimtab/Endpoints"

ENDPOINT: Final = "EndpointName"
VARIANT: Final = "VariantName"
VERSION: Final = "ModelVersion"  # the deployment that a variant's replicas were born of
REPLICA: Final = "ReplicaId"
DIRECTION: Final = "Direction"  # of a scaling decision: Out, In
CAUSE: Final = "Cause"  # of a start: Deployment, Restart, ScaleOut, OnDemand; of a model's load or unload: Asked, ...
PART: Final = "Part"  # of a cost: serving, headroom, idle, cold-starts, reloads, retries, shadow, rollout
REASON: Final = "Reason"  # of an error: `TrimtabError.reason`

PER_VARIANT: Final = (ENDPOINT, VARIANT)
PER_ENDPOINT: Final = (ENDPOINT,)
PER_VERSION: Final = (ENDPOINT, VARIANT, VERSION)


class Metric(Struct, frozen=True):
    """One metric. `dimension_sets` lists each set of dimensions that it is published under."""

    namespace: str
    name: str
    unit: str
    meaning: str
    dimension_sets: tuple[tuple[str, ...], ...] = (PER_VARIANT,)


METRICS: Final = (
    Metric(SAGEMAKER, "Invocations", "None", "1 for each request; Sum. Zeros are published while an endpoint is idle."),
    Metric(
        SAGEMAKER,
        "InvocationsPerInstance",
        "None",
        "1/n for each request, n = ready replicas; only Sum means anything.",
    ),
    Metric(
        SAGEMAKER, "Invocation4XXErrors", "None", "0 or 1 for each request, by the model's status; Average is the rate."
    ),
    Metric(SAGEMAKER, "Invocation5XXErrors", "None", "0 or 1 for each request; time-outs and lost replicas count."),
    Metric(SAGEMAKER, "InvocationModelErrors", "None", "0 or 1: requests that did not end in 2XX from the model."),
    Metric(SAGEMAKER, "ModelLatency", "Microseconds", "Sent to a replica until its (whole) answer is here."),
    Metric(SAGEMAKER, "OverheadLatency", "Microseconds", "Received until answered, less ModelLatency."),
    Metric(SAGEMAKER, "FirstChunkLatency", "Microseconds", "Streams: received until the first chunk is sent on."),
    Metric(SAGEMAKER, "FirstChunkModelLatency", "Microseconds", "Streams: sent to a replica until its first chunk."),
    Metric(SAGEMAKER, "FirstChunkOverheadLatency", "Microseconds", "FirstChunkLatency less FirstChunkModelLatency."),
    Metric(SAGEMAKER, "MidStreamErrors", "None", "1 for each stream that failed after its first chunk."),
    Metric(
        SAGEMAKER,
        "ConcurrentRequestsPerModel",
        "None",
        "In progress and queued, per ready replica; Min and Max; every second here, AWS: 10 s.",
    ),
    Metric(
        SAGEMAKER,
        "ModelCacheHit",
        "None",
        "Multi-model: 1 for each request whose model was loaded when it came, else 0; Average is the hit ratio.",
    ),
    Metric(
        SAGEMAKER,
        "ModelLoadingWaitTime",
        "Microseconds",
        "Multi-model: how long a request waited for its model to be fetched, loaded or both; of those that did.",
    ),
    Metric(
        SAGEMAKER, "ModelDownloadingTime", "Microseconds", "Multi-model: fetching and unpacking a model's artifact."
    ),
    Metric(SAGEMAKER, "ModelLoadingTime", "Microseconds", "Multi-model: loading a model that is on the disk."),
    Metric(
        SAGEMAKER,
        "ModelUnloadingTime",
        "Microseconds",
        "Multi-model: from the decision to unload a model until its memory is back, its last requests included.",
    ),
    Metric(
        SAGEMAKER,
        "ModelSetupTime",
        "Microseconds",
        "Serverless: from the decision to start an environment until it is ready; one value for each start.",
    ),
    Metric(
        SAGEMAKER,
        "ServerlessConcurrentExecutionsUtilization",
        "None",
        "Serverless: requests in hand / MaxConcurrency; Min and Max.",
    ),
    Metric(
        SAGEMAKER,
        "ServerlessProvisionedConcurrencyExecutions",
        "None",
        "Serverless: requests in hand, as many as provisioned environments can have; Min and Max.",
    ),
    Metric(
        SAGEMAKER, "ServerlessProvisionedConcurrencyUtilization", "None", "The same / ProvisionedConcurrency; Min, Max."
    ),
    Metric(
        SAGEMAKER,
        "ServerlessProvisionedConcurrencyInvocations",
        "None",
        "Serverless: 1 for each request that a provisioned environment could take.",
    ),
    Metric(
        SAGEMAKER,
        "ServerlessProvisionedConcurrencySpilloverInvocations",
        "None",
        "Serverless: 1 for each request that came while all provisioned environments were in use.",
    ),
    Metric(
        SAGEMAKER,
        "ApproximateBacklogSize",
        "Count",
        "Asynchronous: requests that wait or are worked on; every second while there are any.",
        (PER_ENDPOINT,),
    ),
    Metric(
        SAGEMAKER,
        "ApproximateBacklogSizePerInstance",
        "Count",
        "The same per ready replica; where there is none, the backlog itself.",
        (PER_ENDPOINT,),
    ),
    Metric(
        SAGEMAKER,
        "ApproximateAgeOfOldestRequest",
        "Seconds",
        "Asynchronous: since the oldest request that has not ended was accepted.",
        (PER_ENDPOINT,),
    ),
    Metric(
        SAGEMAKER,
        "HasBacklogWithoutCapacity",
        "None",
        "Asynchronous: 1 while there are requests and no ready replica, else 0.",
        (PER_ENDPOINT,),
    ),
    Metric(
        SAGEMAKER,
        "InvocationsProcessed",
        "None",
        "Asynchronous: 1 for each request that ended with a result or a failure; not for expired ones. Zeros are "
        "published while an endpoint is idle.",
    ),
    Metric(
        SAGEMAKER,
        "InvocationFailures",
        "None",
        "Asynchronous: 0 or 1 for each request that ended: 1 where the model, its input or its output failed; Average "
        "is the rate.",
    ),
    Metric(SAGEMAKER, "RequestDownloadFailures", "None", "Asynchronous: 1 for each input that could not be had."),
    Metric(SAGEMAKER, "ResponseUploadFailures", "None", "Asynchronous: 1 for each answer that could not be written."),
    Metric(SAGEMAKER, "NotificationFailures", "None", "Asynchronous: 1 for each notice whose topic is not there."),
    Metric(SAGEMAKER, "ExpiredRequests", "None", "Asynchronous: 1 for each request that was too old to be worked on."),
    Metric(SAGEMAKER, "RequestDownloadLatency", "Microseconds", "Asynchronous: fetching an input from S3."),
    Metric(SAGEMAKER, "ResponseUploadLatency", "Microseconds", "Asynchronous: writing a result or a failure to S3."),
    Metric(SAGEMAKER, "TimeInBacklog", "Milliseconds", "Asynchronous: accepted until first taken out of the queue."),
    Metric(SAGEMAKER, "TotalProcessingTime", "Milliseconds", "Asynchronous: accepted until ended, waiting included."),
    Metric(INSTANCES, "CPUUtilization", "Percent", "0 to 100 x cores, of a replica's processes; a sample per replica."),
    Metric(
        INSTANCES,
        "MemoryUtilization",
        "Percent",
        "0 to 100 of the instance type's memory (of the machine's when shapes are not enforced).",
    ),
    Metric(INSTANCES, "DiskUtilization", "Percent", "0 to 100 of the file system that the data directory is on."),
    Metric(INSTANCES, "GPUUtilization", "Percent", "0 to 100 x GPUs, by NVML; absent without GPUs."),
    Metric(INSTANCES, "GPUMemoryUtilization", "Percent", "0 to 100 x GPUs, by NVML; absent without GPUs."),
    Metric(
        INSTANCES,
        "LoadedModelCount",
        "None",
        "Multi-model: models that a replica has loaded; a sample per replica and minute, so that Sum is all replicas' "
        "and Average a replica's over a period of 60 s, as on AWS.",
    ),
    Metric(
        TRIMTAB,
        "Latency",
        "Microseconds",
        "Received until answered, of answers without error.",
        (PER_VARIANT, PER_VERSION),
    ),
    Metric(
        TRIMTAB,
        "Errors",
        "Count",
        "0 or 1 for each request; Average is the error rate.",
        (PER_VARIANT, PER_VERSION, (ENDPOINT, VARIANT, REASON)),
    ),
    Metric(TRIMTAB, "Concurrency", "Count", "In progress and queued, of the whole variant; Min, Max."),
    Metric(TRIMTAB, "QueueDepth", "Count", "Requests that wait in gateways for a replica; Min, Max."),
    Metric(TRIMTAB, "QueueTime", "Microseconds", "Received until sent to a replica."),
    Metric(TRIMTAB, "ComputeTime", "Microseconds", "In the model's handlers."),
    Metric(
        TRIMTAB,
        "TimeInWork",
        "Microseconds",
        "Asynchronous: for so long a request had one of the places for requests in work "
        "(MaxConcurrentInvocationsPerInstance): taking it out of the queue, input, model, output.",
    ),
    Metric(
        TRIMTAB,
        "BatchSize",
        "Count",
        "Requests in a batch; SampleCount is the number of batches, Sum that of batched requests.",
    ),
    Metric(
        TRIMTAB,
        "RequestBytes",
        "Bytes",
        "Bodies of requests (asynchronous: inputs) that were answered without error: for each the mean of its second, "
        "so that Sum and Average are exact, and the rest is of those means.",
    ),
    Metric(
        TRIMTAB, "ResponseBytes", "Bytes", "The same of answers without error, streamed or whole, in seconds' means."
    ),
    Metric(
        TRIMTAB,
        "BilledDuration",
        "Milliseconds",
        "Serverless: begun milliseconds of each request in an environment's hands, failed ones included; Sum is "
        "what is billed.",
    ),
    Metric(
        TRIMTAB,
        "BilledGBSeconds",
        "None",
        "Serverless: BilledDuration x MemorySizeInMB / 1024, in seconds; only Sum means anything.",
    ),
    Metric(TRIMTAB, "Throttles", "Count", "Requests refused for a full queue or (serverless) at MaxConcurrency."),
    Metric(TRIMTAB, "Retries", "Count", "Requests handed back untouched by a replica and sent to another."),
    Metric(TRIMTAB, "ClientsGone", "Count", "Callers who left before their answer."),
    Metric(TRIMTAB, "Utilization", "Percent", "0 to 100: part of the time in which a replica's model works."),
    Metric(TRIMTAB, "MemoryBytes", "Bytes", "Proportional set size of a replica's processes; a sample per replica."),
    Metric(TRIMTAB, "ReplicasReady", "Count", "Replicas that take requests."),
    Metric(TRIMTAB, "ReplicasDesired", "Count", "Replicas that there should be."),
    Metric(
        TRIMTAB,
        "ModelLoadTime",
        "Milliseconds",
        "From the decision to start a replica until it is ready.",
        (PER_VARIANT, (ENDPOINT, VARIANT, CAUSE)),
    ),
    Metric(
        TRIMTAB,
        "ReplicasLost",
        "Count",
        "Replicas that ended, or failed to start, while they were wanted. Reason is that of docs/guides/watching.md.",
        (PER_VARIANT, (ENDPOINT, VARIANT, REASON)),
    ),
    Metric(
        TRIMTAB,
        "ReplicasOutOfMemory",
        "Count",
        "Of these, those that the kernel killed for memory, that took more than their instance type has, or whose "
        "model raised MemoryError while it was loaded. One that does so in a request fails that request: Errors with "
        "Reason OutOfMemory.",
    ),
    Metric(
        TRIMTAB,
        "Cost",
        "None",
        "US dollars, charged some seconds after the time that they are for; Sum is what was spent. Nothing is "
        "published where no price is known. docs/guides/costs.md says what the parts are.",
        (PER_VARIANT, PER_VERSION, (ENDPOINT, VARIANT, PART)),
    ),
    Metric(
        TRIMTAB,
        "ConcurrencyPerReplica1s",
        "Count",
        "In progress and queued, per replica that is wanted: a second's mean. Published while a policy tracks it.",
    ),
    Metric(TRIMTAB, "ConcurrencyPerReplica10s", "Count", "The same; target tracking looks at it every 10 s."),
    Metric(TRIMTAB, "ConcurrencyPerReplicaEvent", "Count", "The same; target tracking acts on every change of it."),
    Metric(
        TRIMTAB,
        "ScalingDecisions",
        "Count",
        "1 for each change of the number of replicas that autoscaling has ordered.",
        (PER_VARIANT, (ENDPOINT, VARIANT, DIRECTION)),
    ),
    Metric(
        TRIMTAB,
        "ModelsLoaded",
        "Count",
        "Multi-model: models that a replica has loaded; a sample per replica when it changes, and every 10 s.",
    ),
    Metric(
        TRIMTAB,
        "ModelMemoryBytes",
        "Bytes",
        "Multi-model: measured memory of a replica's models; as ModelsLoaded.",
    ),
    Metric(
        TRIMTAB,
        "FirstModelLatency",
        "Microseconds",
        "Multi-model: ModelLatency of the first request that a model has answered after a load for it.",
    ),
    Metric(
        TRIMTAB,
        "ModelLoads",
        "Count",
        "Multi-model: 1 for each model loaded. Cause: Asked, Hot, Pinned, Copies, NewVersion, ...",
        (PER_VARIANT, (ENDPOINT, VARIANT, CAUSE)),
    ),
    Metric(
        TRIMTAB,
        "ModelUnloads",
        "Count",
        "Multi-model: 1 for each model unloaded. Cause: Evicted, Expired, NotCached, NewVersion, Deleted, ...",
        (PER_VARIANT, (ENDPOINT, VARIANT, CAUSE)),
    ),
    Metric(
        TRIMTAB,
        "ModelLoadFailures",
        "Count",
        "Multi-model: 1 for each model that could not be fetched or loaded.",
        (PER_VARIANT, (ENDPOINT, VARIANT, REASON)),
    ),
    Metric(TRIMTAB, "ModelCrashes", "Count", "Multi-model: 1 for each loaded model whose process died unasked."),
)
