"""DescribeEndpoint's answer: an EndpointView in AWS's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.sagemaker.asynchronous import described_async
from trimtab.aws.sagemaker.managed import described_managed
from trimtab.control.api import ControlApi
from trimtab.errors import NotFound
from trimtab.resources.endpoint import Endpoint, EndpointStatus, EndpointView, VariantState
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec

_MAX_FAILURE_REASON = 1024  # AWS: FailureReason has at most 1024 characters


def describe(view: EndpointView, arn: str, control: ControlApi) -> dict[str, Any]:
    """The members that are set, and no others. Until an update is over EndpointConfigName is what serves (AWS 3.3)."""
    endpoint = view.endpoint
    answer: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": endpoint.config_name,
        "EndpointStatus": endpoint.status.value,
        "CreationTime": endpoint.created_s,
        "LastModifiedTime": endpoint.modified_s,
    }
    images = _images(control, endpoint, endpoint.config_name)
    managed = _managed(control, endpoint, endpoint.config_name)
    if endpoint.variants:
        answer["ProductionVariants"] = [
            {**_serving(endpoint, variant, images), **managed.get(variant.name, {})} for variant in endpoint.variants
        ]
    if endpoint.failure_reason:
        answer["FailureReason"] = shortened(endpoint.failure_reason)
    if deployment := endpoint.document.get("DeploymentConfig"):
        answer["LastDeploymentConfig"] = deployment
    if endpoint.pending_config_name:
        answer["PendingDeploymentSummary"] = _pending(endpoint, control)
    return answer | described_async(control, endpoint.config_name, endpoint.modified_s)


def shortened(reason: str) -> str:
    """`reason` in the 1024 characters that AWS gives it: what happened first, and the end of a traceback."""
    if len(reason) <= _MAX_FAILURE_REASON:
        return reason
    head = _MAX_FAILURE_REASON // 2
    return f"{reason[:head]} ... {reason[-(_MAX_FAILURE_REASON - head - 5) :]}"


def _serving(endpoint: Endpoint, variant: VariantState, images: Mapping[str, str]) -> dict[str, Any]:
    return {**_sizes(variant, images), **_status(*_serving_status(endpoint, variant))}


def _pending(endpoint: Endpoint, control: ControlApi) -> dict[str, Any]:
    name = endpoint.pending_config_name
    images = _images(control, endpoint, name)
    managed = _managed(control, endpoint, name)
    types = {variant.name: variant.instance_type for variant in _variants(control, endpoint, name)}
    variants = [
        {
            **_sizes(variant, images),
            **({"InstanceType": types[variant.name]} if variant.name in types else {}),
            **managed.get(variant.name, {}),
            **_status("Creating", f"Launching {variant.desired_count} instance(s).", endpoint.pending_since_s),
        }
        for variant in endpoint.pending_variants
    ]
    return {
        "EndpointConfigName": name,
        "StartTime": endpoint.pending_since_s,
        **({"ProductionVariants": variants} if variants else {}),
    }


def _sizes(variant: VariantState, images: Mapping[str, str]) -> dict[str, Any]:
    image = images.get(variant.name)
    return {
        "VariantName": variant.name,
        **({"DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image}]} if image else {}),
        "CurrentWeight": variant.current_weight,
        "DesiredWeight": variant.desired_weight,
        "CurrentInstanceCount": variant.current_count,
        "DesiredInstanceCount": variant.desired_count,
    }


def _serving_status(endpoint: Endpoint, variant: VariantState) -> tuple[str, str, float]:
    """VariantStatus while the endpoint is on its way somewhere; ("", ...) when it stands still."""
    since_s = endpoint.modified_s
    if endpoint.status is EndpointStatus.CREATING:
        return "Creating", f"Launching {variant.desired_count} instance(s).", endpoint.created_s
    if endpoint.status is EndpointStatus.DELETING:
        return "Deleting", f"Terminating {variant.current_count} instance(s).", since_s
    if endpoint.status is EndpointStatus.UPDATING and not endpoint.pending_config_name:
        if variant.desired_count > variant.current_count:
            return "Updating", f"Scaling out desired instance count to {variant.desired_count}.", since_s
        if variant.desired_count < variant.current_count:
            return "Updating", f"Terminating {variant.current_count - variant.desired_count} instance(s).", since_s
    return "", "", 0.0


def _status(status: str, message: str, since_s: float) -> dict[str, Any]:
    if not status:
        return {}
    return {"VariantStatus": [{"Status": status, "StatusMessage": message, "StartTime": since_s}]}


def _config(control: ControlApi, endpoint: Endpoint, name: str) -> EndpointConfig | None:
    """Configuration `name`, or None when it was deleted, or made anew after this deployment."""
    try:
        config = control.get_endpoint_config(name)
    except NotFound:
        return None  # legal: a configuration may be deleted while an endpoint runs it
    return None if config.created_s > endpoint.modified_s else config


def _variants(control: ControlApi, endpoint: Endpoint, name: str) -> tuple[VariantSpec, ...]:
    config = _config(control, endpoint, name)
    return config.variants if config is not None else ()


def _managed(control: ControlApi, endpoint: Endpoint, name: str) -> dict[str, dict[str, Any]]:
    config = _config(control, endpoint, name)
    return described_managed(config) if config is not None else {}


def _images(control: ControlApi, endpoint: Endpoint, name: str) -> dict[str, str]:
    """Variant name to image, where configuration and model are still those that were deployed."""
    images: dict[str, str] = {}
    for variant in _variants(control, endpoint, name):
        try:
            model = control.get_model(variant.model_name)
        except NotFound:
            continue  # legal: a model may be deleted while an endpoint runs it
        if model.created_s <= endpoint.modified_s:
            images[variant.name] = model.containers[0].image
    return images
