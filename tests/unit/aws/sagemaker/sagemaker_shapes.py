"""Declarations that several tests send."""

from typing import Any


def variant(model_name: str, name: str = "AllTraffic", **more: Any) -> dict[str, Any]:
    """A production variant with what AWS requires."""
    return {
        "VariantName": name,
        "ModelName": model_name,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        **more,
    }
