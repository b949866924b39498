"""InvokeEndpointAsync: a request becomes a task in the endpoint's queue, and 202 is answered once it is on the disk."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from trimtab.aws.registry import AwsError
from trimtab.aws.runtime.requests import CUSTOM_ATTRIBUTES, INFERENCE_ID, STREAM_ACCEPT, Target, constraint, text
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.rendering import header_value
from trimtab.errors import Invalid, QueueFull, TooLarge, Unavailable
from trimtab.objects.names import bucket_and_key
from trimtab.queues.model import Done, Full, Put
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import (
    MAX_INLINE_BYTES,
    TASK_TIMEOUT_S,
    TASK_TTL_S,
    AsyncSettings,
    AsyncTask,
    queue_of,
)
from trimtab.resources.routing import EndpointRoute

if TYPE_CHECKING:
    from trimtab.aws.runtime.edge import RuntimeEdge

_CONTENT_TYPE: Final = b"x-amzn-sagemaker-content-type"
_INPUT_LOCATION: Final = b"x-amzn-sagemaker-inputlocation"
_EXTENSION: Final = b"x-amzn-sagemaker-s3outputpathextension"
_FILENAME: Final = b"x-amzn-sagemaker-filename"
_TTL: Final = b"x-amzn-sagemaker-requestttlseconds"
_TIMEOUT: Final = b"x-amzn-sagemaker-invocationtimeoutseconds"

# As botocore's `sagemaker-runtime` model has them.
_EXTENSION_PATTERN: Final = r"^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$"
_FILENAME_PATTERN: Final = r"^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$"

_encode = msgspec.msgpack.Encoder().encode


class Acceptor:
    """Takes asynchronous invocations in for one gateway."""

    def __init__(self, queues: Queues | None, *, now_s: Callable[[], float] = time.time) -> None:
        self._queues = queues
        self._now_s = now_s
        self._works: set[asyncio.Task[None]] = set()

    def take(self, edge: RuntimeEdge, exchange: Exchange, target: Target, route: EndpointRoute, request: bytes) -> None:
        """Answer when the task is durable, or refused. Raises what is wrong with the request itself."""
        if self._queues is None:
            raise Unavailable("This gateway has no queues.")
        assert route.asynchronous is not None
        fields = exchange.fields
        task = _task(fields, b"".join(exchange.chunks), route, route.asynchronous, self._now_s())
        ttl_s = _seconds(fields, _TTL, "requestTTLSeconds", 60, 21_600) or TASK_TTL_S
        put = Put(queue=queue_of(route.name), id=task.id, body=_encode(task), expires_s=task.accepted_s + ttl_s)
        work = asyncio.get_running_loop().create_task(
            self._accept(self._queues, edge, exchange, target, task, put, request)
        )
        self._works.add(work)
        work.add_done_callback(self._works.discard)

    async def _accept(
        self,
        queues: Queues,
        edge: RuntimeEdge,
        exchange: Exchange,
        target: Target,
        task: AsyncTask,
        put: Put,
        request: bytes,
    ) -> None:
        try:
            result = await queues.ask(put)
            if isinstance(result, Full):
                raise QueueFull(
                    f"The queue of endpoint {target.endpoint} is full: it holds {result.limit} {result.what}. "
                    "Try again later, or add instances.",
                    retry_after_s=1.0,
                )
            if not isinstance(result, Done):
                raise Unavailable(f"The queue of endpoint {target.endpoint} is not there yet, or no more. Try again.")
        except Exception as error:  # noqa: BLE001 whatever it is, the caller is told, as by the edge itself
            edge.failed(exchange, error, request, target)
            return
        exchange.respond(_accepted(exchange, task, request), msgspec.json.encode({"InferenceId": task.inference_id}))


def not_asynchronous(endpoint: str) -> AwsError:
    """An asynchronous invocation of an endpoint that takes real-time ones."""
    return AwsError(
        "ValidationError",
        f"Endpoint {endpoint} is not an asynchronous endpoint: its config has no AsyncInferenceConfig. "
        "Use InvokeEndpoint, or create the endpoint config with AsyncInferenceConfig.",
    )


def only_asynchronous(endpoint: str) -> AwsError:
    """A real-time invocation of an endpoint that takes asynchronous ones."""
    return AwsError(
        "ValidationError",
        f"Endpoint {endpoint} is an asynchronous endpoint: its config has an AsyncInferenceConfig. "
        "Use InvokeEndpointAsync.",
    )


def _task(
    fields: Mapping[bytes, bytes], body: bytes, route: EndpointRoute, settings: AsyncSettings, now_s: float
) -> AsyncTask:
    get = fields.get
    location = _input(text(get(_INPUT_LOCATION, b""), "inputLocation"), body)
    task_id = str(uuid.uuid4())
    extension = _matching(get(_EXTENSION, b""), "s3OutputPathExtension", _EXTENSION_PATTERN, most=512)
    name = _matching(get(_FILENAME, b""), "filename", _FILENAME_PATTERN, most=32) or f"{task_id}.out"
    output = "/".join(filter(None, (settings.output_path, extension.strip("/"), name)))
    inference_id = get(INFERENCE_ID)
    return AsyncTask(
        id=task_id,
        inference_id=text(inference_id, "inferenceId", most=64) if inference_id else str(uuid.uuid4()),
        endpoint=route.name,
        endpoint_uid=route.uid,
        version=route.variants[0].version if route.variants else "",
        settings=settings,
        output_location=output if settings.output_path else "",
        failure_location=f"{settings.failure_path}/{task_id}-error.out" if settings.failure_path else "",
        input_location=location,
        inline=None if location else body,
        content_type=text(get(_CONTENT_TYPE, b""), "contentType"),
        accept=text(get(STREAM_ACCEPT, b""), "accept"),
        custom_attributes=text(get(CUSTOM_ATTRIBUTES, b""), "customAttributes"),
        accepted_s=now_s,
        timeout_s=_seconds(fields, _TIMEOUT, "invocationTimeoutSeconds", 1, 3600) or TASK_TIMEOUT_S,
    )


def _input(location: str, body: bytes) -> str:
    """The InputLocation; "" when the body is the input. Invalid when it is neither, or both."""
    if location and body:
        raise Invalid("The request has an InputLocation and a body: give one of them.")
    if not location:
        if not body:
            raise Invalid("The request has no input: give InputLocation, or a body of at least one byte.")
        if len(body) > MAX_INLINE_BYTES:
            raise TooLarge(
                f"The body has {len(body)} bytes; InvokeEndpointAsync takes {MAX_INLINE_BYTES}. Put the input into "
                "S3 and name it in InputLocation.",
                limit_bytes=MAX_INLINE_BYTES,
            )
        return ""
    try:
        _, key = bucket_and_key(location)
    except Invalid as error:
        raise Invalid(f"InputLocation: {error}") from None
    if not key:
        raise Invalid(f"InputLocation {location!r} names a bucket and no object in it.")
    return location


def _matching(raw: bytes, member: str, pattern: str, *, most: int) -> str:
    if not raw:
        return ""
    value = text(raw, member, most=most)
    if re.fullmatch(pattern, value) is None:
        raise constraint(value, member, f"Member must satisfy regular expression pattern: {pattern}")
    return value


def _seconds(fields: Mapping[bytes, bytes], header: bytes, member: str, least: int, most: int) -> float:
    """A header's number of seconds; 0 without the header. Invalid when it is none or out of AWS's range."""
    raw = fields.get(header)
    if not raw:
        return 0.0
    value = raw.decode("latin-1")
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise constraint(value, member, "Member must be an integer")
    if int(value) < least:
        raise constraint(value, member, f"Member must have value greater than or equal to {least}")
    if int(value) > most:
        raise constraint(value, member, f"Member must have value less than or equal to {most}")
    return float(value)


def _accepted(exchange: Exchange, task: AsyncTask, request_id: bytes) -> bytes:
    head = b"HTTP/1.1 202 Accepted\r\n%bx-amzn-RequestId: %b\r\nContent-Type: application/json\r\n" % (
        exchange.date,
        request_id,
    )
    if task.output_location:
        head += b"X-Amzn-SageMaker-OutputLocation: %b\r\n" % header_value(task.output_location)
    if task.failure_location:
        head += b"X-Amzn-SageMaker-FailureLocation: %b\r\n" % header_value(task.failure_location)
    return head
