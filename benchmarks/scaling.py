"""Live variants scaled by target tracking, as an AWS client asks for it: what several benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.resources.scaling import SIGNAL_EVENT, SIGNAL_NAMESPACE


def place(endpoint: str, variant: str = "blue") -> dict[str, str]:
    """How Application Auto Scaling calls a variant."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def tracking(
    endpoint: str,
    target: float,
    *,
    variant: str = "blue",
    signal: str = SIGNAL_EVENT,
    windows: Mapping[str, str] | None = None,
    out_s: int | None = None,
    in_s: int = 0,
) -> dict[str, Any]:
    """TargetTrackingScalingPolicyConfiguration: `target` requests in hand a replica, as a signal of trimtab's tells.

    `windows`: of an event policy, beside those that are usual (StableWindowSeconds, ...). `out_s`, `in_s`: cooldowns;
    None: the usual one.
    """
    dimensions = {"EndpointName": endpoint, "VariantName": variant} | dict(windows or {})
    return {
        "TargetValue": target,
        **({} if out_s is None else {"ScaleOutCooldown": out_s}),
        "ScaleInCooldown": in_s,
        "CustomizedMetricSpecification": {
            "Namespace": SIGNAL_NAMESPACE,
            "MetricName": signal,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            "Statistic": "Average",
        },
    }


def scale(
    scaling: Any,
    endpoint: str,
    least: int,
    most: int,
    policy: Mapping[str, Any],
    *,
    variant: str = "blue",
    name: str = "track",
) -> None:
    """Register a variant for so many replicas, and put its policy. `scaling`: the client."""
    where = place(endpoint, variant)
    scaling.register_scalable_target(**where, MinCapacity=least, MaxCapacity=most)
    scaling.put_scaling_policy(
        **where,
        PolicyName=name,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=dict(policy),
    )
