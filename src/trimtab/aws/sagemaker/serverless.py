"""ServerlessConfig of a production variant: read, refused where AWS refuses it, described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.resources.endpoint import Endpoint, VariantState
from trimtab.resources.serverless import Serverless

# Of instances, which a serverless variant has none of.
_OF_INSTANCES = (
    "InstanceType", "InitialInstanceCount", "AcceleratorType", "InstancePools", "VolumeSizeInGB",
    "ManagedInstanceScaling", "RoutingConfig", "InferenceAmiVersion", "CapacityReservationConfig", "CoreDumpConfig",
    "EnableSSMAccess",
)  # fmt: skip
# Docs "Deploy models with Amazon SageMaker Serverless Inference", feature exclusions.
_OF_THE_CONFIG = ("DataCaptureConfig", "AsyncInferenceConfig", "ShadowProductionVariants", "VpcConfig",
                  "EnableNetworkIsolation")  # fmt: skip


def serverless_of(declared: Mapping[str, Any]) -> Serverless | None:
    """The variant's ServerlessConfig; None where it has instances. Raises Invalid when both are given."""
    config = declared.get("ServerlessConfig")
    if not config:
        return None
    name = declared["VariantName"]
    for member in _OF_INSTANCES:
        if declared.get(member):
            raise Invalid(f'The variant "{name}" has ServerlessConfig and {member}, which exclude one another.')
    return Serverless(
        memory_mib=config["MemorySizeInMB"],
        max_concurrency=config["MaxConcurrency"],
        provisioned=config.get("ProvisionedConcurrency", 0),
    )


def refuse_beside_serverless(params: Mapping[str, Any]) -> None:
    """Raise Invalid for what a serverless endpoint cannot have, in CreateEndpointConfig's parameters."""
    if not any(variant.get("ServerlessConfig") for variant in params.get("ProductionVariants", ())):
        return
    for member in _OF_THE_CONFIG:
        value = params.get(member)
        if member == "DataCaptureConfig" and value and not value.get("EnableCapture", True):
            continue
        if value:
            raise Invalid(f"A serverless endpoint does not support {member}. Leave it out.")


def updated(endpoint: Endpoint, variant: str, change: Mapping[str, Any]) -> Serverless:
    """What a ServerlessUpdateConfig makes of a variant's settings; members that it leaves out stay.

    Raises Invalid when the variant has instances.
    """
    rules = next((state.serverless for state in endpoint.variants if state.name == variant), None)
    if rules is None:
        raise Invalid(f'The variant "{variant}" has instances: ServerlessUpdateConfig is not for it.')
    return replace(
        rules,
        max_concurrency=change.get("MaxConcurrency", rules.max_concurrency),
        provisioned=change.get("ProvisionedConcurrency", rules.provisioned),
    )


def described(state: VariantState) -> dict[str, Any]:
    """The members of a serverless variant's summary."""
    members = (("CurrentServerlessConfig", state.current_serverless), ("DesiredServerlessConfig", state.serverless))
    return {member: _document(rules) for member, rules in members if rules is not None}


def _document(rules: Serverless) -> dict[str, int]:
    provisioned = {"ProvisionedConcurrency": rules.provisioned} if rules.provisioned else {}
    return {"MemorySizeInMB": rules.memory_mib, "MaxConcurrency": rules.max_concurrency, **provisioned}
