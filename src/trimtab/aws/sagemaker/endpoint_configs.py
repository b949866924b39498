"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.arns import sagemaker_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sagemaker.asynchronous import async_settings
from trimtab.aws.sagemaker.documents import kept
from trimtab.aws.sagemaker.listing import listed
from trimtab.aws.sagemaker.managed import managed_bounds
from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.aws.sagemaker.tags import tags_of
from trimtab.clock import Clock
from trimtab.control.api import ControlApi
from trimtab.errors import Invalid
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec

_REFUSED = ("ExplainerConfig", "ShadowProductionVariants", "CrossRegionTrafficConfig")
_REFUSED_IN_VARIANT = ("ServerlessConfig", "AcceleratorType", "InstancePools", "AcceleratorPartitionLayouts")
_PUBLISH_EVERY_S = (10, 30, 60, 120, 180, 240, 300)  # AWS: valid values of MetricPublishFrequencyInSeconds
_ROUTING = ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")


class EndpointConfigs:
    """The endpoint configuration operations, on a ControlApi."""

    def __init__(self, control: ControlApi, clock: Clock, pager: Pager) -> None:
        self._control = control
        self._clock = clock
        self._pager = pager

    @operation(
        "sagemaker",
        "CreateEndpointConfig",
        missing="Production variants of real-time and asynchronous endpoints. KmsKeyId, VpcConfig, "
        "EnableNetworkIsolation, ExecutionRoleArn, VolumeSizeInGB, CoreDumpConfig, EnableSSMAccess, "
        "InferenceAmiVersion and "
        "CapacityReservationConfig are kept and described but have no effect; so is MetricsConfig once it is checked: "
        "metrics are there each second in any case; requests always go "
        "to the replica with the fewest outstanding. Refused: ServerlessConfig, shadow "
        "variants, enabled data capture, "
        "explainers, inference components (a variant without ModelName), accelerators, instance pools, prefix and KV "
        "aware routing, cross-region traffic. ManagedInstanceScaling, which AWS has for inference components alone, "
        "scales any variant between its bounds; its ScaleInPolicy is refused",
    )
    async def create_endpoint_config(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Record an immutable list of variants."""
        name = params["EndpointConfigName"]
        _refuse_unsupported(params)
        config = EndpointConfig(
            name=name,
            created_s=self._clock.now_s(),
            variants=_variants(params["ProductionVariants"]),
            asynchronous=async_settings(params, self._control),
            document=kept(params, without=("EndpointConfigName", "Tags")),
        )
        self._control.create_endpoint_config(config, tags_of(params))
        return {"EndpointConfigArn": _arn(call, name)}

    @operation("sagemaker", "DescribeEndpointConfig")
    async def describe_endpoint_config(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """What the caller declared, with name, ARN and time; a variant's weight is 1 unless declared."""
        config = self._control.get_endpoint_config(params["EndpointConfigName"])
        declared = config.document.get("ProductionVariants", [])
        return {
            **config.document,
            "ProductionVariants": [{"InitialVariantWeight": 1.0, **variant} for variant in declared],
            "EndpointConfigName": config.name,
            "EndpointConfigArn": _arn(call, config.name),
            "CreationTime": config.created_s,
        }

    @operation("sagemaker", "ListEndpointConfigs")
    async def list_endpoint_configs(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of summaries."""
        page, token = listed(self._pager, call.operation, self._control.list_endpoint_configs(), params)
        summaries = [
            {
                "EndpointConfigName": config.name,
                "EndpointConfigArn": _arn(call, config.name),
                "CreationTime": config.created_s,
            }
            for config in page
        ]
        return {"EndpointConfigs": summaries, **token}

    @operation("sagemaker", "DeleteEndpointConfig")
    async def delete_endpoint_config(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Forget the configuration; endpoints that were made from it go on."""
        self._control.delete_endpoint_config(params["EndpointConfigName"])
        return {}


def _arn(call: Call, name: str) -> str:
    return sagemaker_arn(call.region, call.account, "endpoint-config", name)


def _refuse_unsupported(params: Mapping[str, Any]) -> None:
    for member in _REFUSED:
        if params.get(member):
            raise not_supported_yet(member)
    every_s = params.get("MetricsConfig", {}).get("MetricPublishFrequencyInSeconds", 60)
    if every_s not in _PUBLISH_EVERY_S:
        valid = ", ".join(map(str, _PUBLISH_EVERY_S))
        raise Invalid(f"MetricPublishFrequencyInSeconds must be one of {valid}, not {every_s}.")
    capture = params.get("DataCaptureConfig")
    if capture and capture.get("EnableCapture", True):  # AWS: "defaults to enabled"
        raise not_supported_yet("DataCaptureConfig", "Leave it out, or set EnableCapture to false.")


def _variants(declared: list[Mapping[str, Any]]) -> tuple[VariantSpec, ...]:
    seen: set[str] = set()
    for variant in declared:
        if variant["VariantName"] in seen:
            raise Invalid(f'The variant name "{variant["VariantName"]}" was non-unique within the request.')
        seen.add(variant["VariantName"])
    return tuple(_variant(variant) for variant in declared)


def _variant(declared: Mapping[str, Any]) -> VariantSpec:
    name = declared["VariantName"]
    _refuse_in_variant(name, declared)
    for member in ("InstanceType", "InitialInstanceCount"):
        if member not in declared:
            raise Invalid(f'The variant "{name}" needs {member}.')
    managed = managed_bounds(declared)
    return VariantSpec(
        name=name,
        model_name=declared["ModelName"],
        instance_type=declared["InstanceType"],
        initial_count=declared["InitialInstanceCount"],
        initial_weight=float(declared.get("InitialVariantWeight", 1.0)),
        startup_timeout_s=float(declared.get("ContainerStartupHealthCheckTimeoutInSeconds", 240)),
        download_timeout_s=float(declared.get("ModelDataDownloadTimeoutInSeconds", 3600)),
        managed_min=managed[0] if managed is not None else None,
        managed_max=managed[1] if managed is not None else None,
    )


def _refuse_in_variant(name: str, declared: Mapping[str, Any]) -> None:
    for member in _REFUSED_IN_VARIANT:
        if declared.get(member):
            raise not_supported_yet(f'{member} (variant "{name}")')
    if "ModelName" not in declared:
        raise not_supported_yet(f'A variant without ModelName ("{name}"), for inference components,', "Give ModelName.")
    strategy = declared.get("RoutingConfig", {}).get("RoutingStrategy", _ROUTING[0])
    if strategy not in _ROUTING:
        raise not_supported_yet(f'RoutingStrategy {strategy} (variant "{name}")', f"Use {_ROUTING[0]}.")
