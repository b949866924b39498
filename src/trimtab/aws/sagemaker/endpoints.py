"""The six endpoint operations: create, describe, list, update, change weights and capacities, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.arns import sagemaker_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sagemaker.documents import kept
from trimtab.aws.sagemaker.listing import listed
from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.aws.sagemaker.scaled import forget
from trimtab.aws.sagemaker.serverless import updated
from trimtab.aws.sagemaker.summaries import describe
from trimtab.aws.sagemaker.tags import tags_of
from trimtab.control.api import ControlApi
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid
from trimtab.resources.endpoint import EndpointView

_DEPLOYMENTS = (
    "Deployments are blue/green, all at once. WaitIntervalInSeconds, TerminationWaitInSeconds and "
    "MaximumExecutionTimeoutInSeconds are kept and described but have no effect. Refused: CANARY, LINEAR, "
    "rolling updates, alarms that roll back"
)


class Endpoints:
    """The endpoint operations, on a ControlApi."""

    def __init__(self, control: ControlApi, pager: Pager, scaling: ScalingApi | None) -> None:
        self._control = control
        self._pager = pager
        self._scaling = scaling

    @operation("sagemaker", "CreateEndpoint", missing=_DEPLOYMENTS)
    async def create_endpoint(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Record the wish for an endpoint; it is Creating when this answers."""
        name = params["EndpointName"]
        document = _deployment_document(params)
        self._control.create_endpoint(name, params["EndpointConfigName"], tags_of(params), document)
        return {"EndpointArn": _arn(call, name)}

    @operation(
        "sagemaker",
        "DescribeEndpoint",
        missing="VariantStatus knows Creating, Updating and Deleting; there are no bakes",
    )
    async def describe_endpoint(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Status, sizes, weights and, while an update runs, what is on its way."""
        view = self._control.get_endpoint(params["EndpointName"])
        return describe(view, _arn(call, view.endpoint.name), self._control)

    @operation("sagemaker", "ListEndpoints")
    async def list_endpoints(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of summaries."""
        page, token = listed(
            self._pager,
            call.operation,
            self._control.list_endpoints(),
            params,
            modified_s=lambda endpoint: endpoint.modified_s,
            status=lambda endpoint: endpoint.status.value,
        )
        summaries = [
            {
                "EndpointName": endpoint.name,
                "EndpointArn": _arn(call, endpoint.name),
                "CreationTime": endpoint.created_s,
                "LastModifiedTime": endpoint.modified_s,
                "EndpointStatus": endpoint.status.value,
            }
            for endpoint in page
        ]
        return {"Endpoints": summaries, **token}

    @operation("sagemaker", "UpdateEndpoint", missing=_DEPLOYMENTS)
    async def update_endpoint(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Replace what serves behind the name, without dropping a request."""
        name = params["EndpointName"]
        retain = params.get("RetainAllVariantProperties", False)
        excluded = {item["VariantPropertyType"] for item in params.get("ExcludeRetainedVariantProperties") or ()}
        document = _deployment_document(params)
        if params.get("RetainDeploymentConfig", False) and "DeploymentConfig" not in document:
            document = kept(self._control.get_endpoint(name).endpoint.document)
        self._control.update_endpoint(
            name,
            params["EndpointConfigName"],
            retain_counts=retain and "DesiredInstanceCount" not in excluded,
            retain_weights=retain and "DesiredWeight" not in excluded,
            document=document,
        )
        return {"EndpointArn": _arn(call, name)}

    @operation("sagemaker", "UpdateEndpointWeightsAndCapacities")
    async def update_weights_and_capacities(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Change weights and counts of running variants; what is not named stays."""
        name = params["EndpointName"]
        weights, counts, changes = _desired(params["DesiredWeightsAndCapacities"])
        view = self._control.get_endpoint(name)
        _require_variants(call, view, [*weights, *counts, *changes])
        serverless = {variant: updated(view.endpoint, variant, change) for variant, change in changes.items()}
        self._control.update_weights_and_counts(name, weights, counts, serverless)
        return {"EndpointArn": _arn(call, name)}

    @operation("sagemaker", "DeleteEndpoint")
    async def delete_endpoint(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Take the endpoint down; its configuration and models stay, its scalable targets do not."""
        self._control.delete_endpoint(params["EndpointName"])
        if self._scaling is not None:
            forget(self._scaling, params["EndpointName"])
        return {}


def _arn(call: Call, name: str) -> str:
    return sagemaker_arn(call.region, call.account, "endpoint", name)


def _deployment_document(params: Mapping[str, Any]) -> dict[str, Any]:
    """`{"DeploymentConfig": ...}` or `{}`. Refuses every strategy but blue/green all at once."""
    config = kept(params.get("DeploymentConfig") or {})
    if config.get("RollingUpdatePolicy"):
        raise not_supported_yet("DeploymentConfig.RollingUpdatePolicy", "Use BlueGreenUpdatePolicy with ALL_AT_ONCE.")
    if config.get("AutoRollbackConfiguration"):
        raise not_supported_yet("DeploymentConfig.AutoRollbackConfiguration")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    if (strategy := routing.get("Type", "ALL_AT_ONCE")) != "ALL_AT_ONCE":
        raise not_supported_yet(f"TrafficRoutingConfiguration.Type {strategy}", "Use ALL_AT_ONCE.")
    return {"DeploymentConfig": config} if config else {}


def _desired(
    changes: list[Mapping[str, Any]],
) -> tuple[dict[str, float], dict[str, int], dict[str, Mapping[str, Any]]]:
    """Weights, counts and changes of serverless settings, by variant."""
    serverless: dict[str, Mapping[str, Any]] = {}
    weights: dict[str, float] = {}
    counts: dict[str, int] = {}
    seen: set[str] = set()
    for change in changes:
        variant = change["VariantName"]
        if variant in seen:
            raise Invalid(f'The variant name "{variant}" was non-unique within the request.')
        seen.add(variant)
        if change.get("ServerlessUpdateConfig"):
            serverless[variant] = change["ServerlessUpdateConfig"]
        elif "DesiredWeight" not in change and "DesiredInstanceCount" not in change:
            raise Invalid(
                f'The variant "{variant}" needs DesiredWeight, DesiredInstanceCount or ServerlessUpdateConfig.'
            )
        if "DesiredWeight" in change:
            weights[variant] = float(change["DesiredWeight"])
        if "DesiredInstanceCount" in change:
            counts[variant] = change["DesiredInstanceCount"]
    return weights, counts, serverless


def _require_variants(call: Call, view: EndpointView, names: list[str]) -> None:
    known = {variant.name for variant in view.endpoint.variants}
    if missing := sorted(set(names) - known):
        config = sagemaker_arn(call.region, call.account, "endpoint-config", view.endpoint.config_name)
        listing = ", ".join(f'"{name}"' for name in missing)
        raise Invalid(f'The variant name(s) {listing} is/are not present within endpoint configuration "{config}".')
