"""AsyncInferenceConfig of an endpoint configuration: what it says, and how endpoints describe it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trimtab.control.api import ControlApi
from trimtab.errors import Invalid, NotFound
from trimtab.objects.names import bucket_and_key
from trimtab.resources.asynchronous import AsyncSettings

_TOPIC = re.compile(r"arn:aws[a-z\-]*:sns:[a-z0-9\-]*:[0-9]{12}:[a-zA-Z0-9_.-]+")  # AWS: SnsTopicArn
_INCLUDED = ("SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC")
_MOST_CONCURRENT = 1000  # AWS: MaxConcurrentInvocationsPerInstance


def async_settings(params: Mapping[str, Any], control: ControlApi) -> AsyncSettings | None:
    """What a CreateEndpointConfig says of asynchronous inference; None when it says nothing.

    Raises Invalid for a path or topic that is none, for a number out of range, and for what asynchronous inference
    goes with on AWS neither: multi-model containers, serverless variants.
    """
    declared = params.get("AsyncInferenceConfig")
    if not declared:
        return None
    _check_variants(params, control)
    output = declared["OutputConfig"]
    notices = output.get("NotificationConfig", {})
    included = notices.get("IncludeInferenceResponseIn", ())
    for topic in included:
        if topic not in _INCLUDED:
            raise Invalid(f"IncludeInferenceResponseIn holds {topic!r}: it may hold {' and '.join(_INCLUDED)}.")
    return AsyncSettings(
        output_path=_path("S3OutputPath", output),
        failure_path=_path("S3FailurePath", output),
        success_topic=_topic("SuccessTopic", notices),
        error_topic=_topic("ErrorTopic", notices),
        include_success=_INCLUDED[0] in included,
        include_error=_INCLUDED[1] in included,
        max_concurrency=_concurrency(declared.get("ClientConfig", {})),
    )


def described_async(control: ControlApi, config_name: str, modified_s: float) -> dict[str, Any]:
    """DescribeEndpoint's AsyncInferenceConfig, where the configuration is still the one that was deployed."""
    try:
        config = control.get_endpoint_config(config_name)
    except NotFound:
        return {}  # legal: a configuration may be deleted while an endpoint runs it
    declared = config.document.get("AsyncInferenceConfig")
    return {"AsyncInferenceConfig": declared} if declared and config.created_s <= modified_s else {}


def _check_variants(params: Mapping[str, Any], control: ControlApi) -> None:
    for variant in params["ProductionVariants"]:
        name = variant["VariantName"]
        if variant.get("ServerlessConfig"):
            raise Invalid(f'The variant "{name}" is serverless: AsyncInferenceConfig goes with instances only.')
        if "ModelName" in variant and any(c.multi_model for c in control.get_model(variant["ModelName"]).containers):
            raise Invalid(
                f'The variant "{name}" has a multi-model container: requests of asynchronous endpoints name no target '
                "model. Use a model of one artifact."
            )


def _path(member: str, output: Mapping[str, Any]) -> str:
    """`s3://bucket/prefix` without a slash at its end; "" when there is none."""
    declared = output.get(member, "")
    if not declared:
        return ""
    try:
        bucket, prefix = bucket_and_key(declared)
    except Invalid as error:
        raise Invalid(f"{member}: {error}") from None
    return f"s3://{bucket}/{prefix}".rstrip("/")


def _topic(member: str, notices: Mapping[str, Any]) -> str:
    arn: str = notices.get(member, "")
    if arn and _TOPIC.fullmatch(arn) is None:
        raise Invalid(f"{member} is {arn!r}: give the ARN of an SNS topic, arn:aws:sns:REGION:ACCOUNT:NAME.")
    return arn


def _concurrency(client: Mapping[str, Any]) -> int:
    most: int = client.get("MaxConcurrentInvocationsPerInstance", 0)
    if "MaxConcurrentInvocationsPerInstance" in client and not 1 <= most <= _MOST_CONCURRENT:
        raise Invalid(f"MaxConcurrentInvocationsPerInstance is {most}: it must be 1 to {_MOST_CONCURRENT}.")
    return most
