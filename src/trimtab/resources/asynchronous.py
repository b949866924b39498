"""Asynchronous inference: what an endpoint's users set, and one task from its acceptance to its visible result."""

from __future__ import annotations

from msgspec import Struct

QUEUE_PREFIX = "async/"  # queue of an endpoint: async/NAME
TASK_TTL_S = 6 * 3600.0  # AWS: RequestTTLSeconds' default, 6 hours
TASK_TIMEOUT_S = 900.0  # AWS: InvocationTimeoutSeconds' default, 15 minutes
MAX_TASK_TIMEOUT_S = 3600.0  # AWS: InvocationTimeoutSeconds
MAX_INPUT_BYTES = 1 << 30  # AWS: 1 GB
MAX_INLINE_BYTES = 128_000  # AWS: Body of InvokeEndpointAsync
INCLUDED_RESPONSE_BYTES = 128 * 1024  # AWS: responses up to this are put into the notice when asked for
BACKLOG_BYTES = 8 << 30  # of the bodies of all of them
BACKLOG_ITEMS = 100_000  # accepted and not ended; AWS's queue is bounded by SQS's 120,000 in flight
DEFAULT_CONCURRENCY = 4  # per container that does not say how many requests it works on, where nobody else says so


def queue_of(endpoint: str) -> str:
    """The name of an endpoint's queue."""
    return QUEUE_PREFIX + endpoint


class QueueMark(Struct, frozen=True, kw_only=True):
    """What control has written on an endpoint's queue (QueueSettings.attributes, JSON): whose it is.

    Tasks of another life than `uid`, or of a queue whose endpoint is `deleted`, end as EndpointDeleted. `generation` is
    the deployment of which the topics have been told.
    """

    uid: str = ""
    generation: int = 0
    deleted: bool = False


class AsyncSettings(Struct, frozen=True, kw_only=True):
    """AWS's AsyncInferenceConfig. Paths are `s3://bucket/prefix`; topics are SNS ARNs; "" = none."""

    output_path: str = ""
    failure_path: str = ""
    success_topic: str = ""
    error_topic: str = ""
    include_success: bool = False  # IncludeInferenceResponseIn
    include_error: bool = False
    max_concurrency: int = 0  # per replica; 0: as many as it works on at once (AWS: "an optimal value")


DECIDED = "decided"

TEST_NOTICE = b'{"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"TestNotification"}'
"""What the topics are told when an endpoint is made or updated (AWS)."""


class AsyncTask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accepted request: the body of its message. Exactly one of `input_location` and `inline` counts.

    `output_location` and `failure_location` were promised when it was accepted: nothing else is ever written there.
    `version` is the endpoint config it was accepted under; an update may serve it with a later one, and then says so.
    """

    id: str
    inference_id: str
    endpoint: str
    endpoint_uid: str  # of the endpoint's life: a new endpoint of the same name is another one
    version: str
    settings: AsyncSettings
    output_location: str
    failure_location: str = ""
    input_location: str = ""
    inline: bytes | None = None
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    target_model: str = ""
    accepted_s: float = 0.0
    timeout_s: float = TASK_TIMEOUT_S
    stage: str = ""  # "" = to be worked on; DECIDED: `result` is the outcome, to be published
    result: TaskResult | None = None


class TaskResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one outcome of a task, recorded under its lease before anything of it is visible.

    `inline` is the answer where it is small; otherwise `upload_id` names a multipart upload to its location that is
    complete but for its completion.
    """

    ok: bool
    content_type: str = ""
    inline: bytes | None = None
    upload_id: str = ""
    parts: tuple[str, ...] = ()  # ETags
    size_bytes: int = 0
    failure: str = ""  # AWS's failureReason
    reason: str = ""  # one of Reason's words
    version: str = ""  # that answered
