"""ManagedInstanceScaling of a production variant: bounds that the variant is scaled between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.errors import Invalid
from trimtab.resources.endpoint_config import EndpointConfig


def managed_bounds(declared: Mapping[str, Any]) -> tuple[int, int] | None:
    """MinInstanceCount and MaxInstanceCount of a variant that is scaled so; None when it is not.

    `declared` has its InitialInstanceCount. What is left out is 1, and InitialInstanceCount (AWS's defaults are not
    published). Raises Invalid when the three contradict each other.
    """
    scaling = declared.get("ManagedInstanceScaling")
    if not scaling or scaling.get("Status") == "DISABLED":
        return None
    name, initial = declared["VariantName"], declared["InitialInstanceCount"]
    if scaling.get("ScaleInPolicy"):
        raise not_supported_yet(f'ManagedInstanceScaling.ScaleInPolicy (variant "{name}")')
    least = scaling.get("MinInstanceCount", 1)
    most = scaling.get("MaxInstanceCount", initial)
    if least > most:
        raise Invalid(f'MinInstanceCount {least} of the variant "{name}" is more than its MaxInstanceCount {most}.')
    if not least <= initial <= most:
        raise Invalid(
            f'InitialInstanceCount {initial} of the variant "{name}" is not within its ManagedInstanceScaling: '
            f"{least} to {most}."
        )
    return least, most


def described_managed(config: EndpointConfig) -> dict[str, dict[str, Any]]:
    """By variant: the member of its summary, as it was declared; none of a variant that has none."""
    declared = config.document.get("ProductionVariants", [])
    return {
        variant["VariantName"]: {"ManagedInstanceScaling": variant["ManagedInstanceScaling"]}
        for variant in declared
        if "ManagedInstanceScaling" in variant
    }
