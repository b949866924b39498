"""What is told of a task's end: AWS's notices (SNS messages), and the words of failures. Pure.

Source of the JSON: SageMaker Developer Guide, "Asynchronous inference: check prediction results".
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec

from trimtab.errors import ModelFailed
from trimtab.policies.asynchronous import Reason
from trimtab.resources.asynchronous import INCLUDED_RESPONSE_BYTES, AsyncTask, TaskResult

_KEPT_CHARS = 16_384  # of what a model said


def topic_of(task: AsyncTask, result: TaskResult) -> str:
    """The ARN of the topic that hears of this end; "" = nobody does."""
    return task.settings.success_topic if result.ok else task.settings.error_topic


def notice(task: AsyncTask, result: TaskResult, *, region: str, now_s: float) -> bytes:
    """The message of a task's end."""
    request: dict[str, Any] = {"endpointName": task.endpoint}
    if task.content_type:
        request["contentType"] = task.content_type
    if task.input_location:
        request["inputLocation"] = task.input_location
    document: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _iso(now_s),
        "receivedTime": _iso(task.accepted_s),
        "invocationStatus": "Completed" if result.ok else "Failed",
        "requestParameters": request,
    }
    if result.ok:
        response = {"contentType": result.content_type} if result.content_type else {}
        if task.output_location:
            response["outputLocation"] = task.output_location
        document["responseParameters"] = response
    else:
        document["failureReason"] = result.failure
        if task.failure_location:
            document["failureLocation"] = task.failure_location  # trimtab's: AWS's notices are not known to have it
    included = task.settings.include_success if result.ok else task.settings.include_error
    if included and result.inline is not None and len(result.inline) <= INCLUDED_RESPONSE_BYTES:
        document["responseBody"] = {"content": base64.b64encode(result.inline).decode(), "encoding": "BASE64"}
    if result.version and result.version != task.version:
        document["movedToEndpointConfig"] = result.version  # trimtab's: it was accepted under another one
    document |= {
        "inferenceId": task.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    return msgspec.json.encode(document)


def model_failure(error: ModelFailed, container: str, version: str) -> TaskResult:
    """The end of a task whose model answered an error, or nothing in time."""
    if error.status == 0:
        said = f"Your invocation timed out while waiting for a response from container {container}."
        return failure(
            Reason.TIMED_OUT,
            f"ClientError: Received server error (0) from {container}. {said}",
            detail=said.encode(),
            version=version,
        )
    kind = "client" if 400 <= error.status < 500 else "server"
    heard = f"Received {kind} error ({error.status}) from {container}"
    said = error.body.decode("utf-8", "replace") if error.body else str(error)
    if len(said) > _KEPT_CHARS:
        said = f"{said[:_KEPT_CHARS]}... ({len(said) - _KEPT_CHARS} more characters)"
    return failure(
        Reason.MODEL_FAILED,
        f"ClientError: {heard}. See the SageMaker Endpoint logs in your account for more information.",  # AWS's words
        detail=f'{heard} with message "{said}"'.encode(),
        version=version,
    )


def failure(reason: Reason, text: str, *, detail: bytes = b"", version: str = "") -> TaskResult:
    """A failed end: `text` is told, `detail` (else the text) stands in the failure object."""
    return TaskResult(
        ok=False,
        reason=reason.value,
        failure=text,
        inline=detail or text.encode(),
        content_type="text/plain",
        version=version,
    )


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
