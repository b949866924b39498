"""Policies that several tests declare, and how they look at them."""

from __future__ import annotations

from typing import Any

from scaling_world import PLACE, World

INVOCATIONS = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
CONCURRENCY = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
OWN = [{"Name": "EndpointName", "Value": "fraud"}, {"Name": "VariantName", "Value": "blue"}]
CPU = {
    "MetricName": "CPUUtilization",
    "Namespace": "/aws/sagemaker/Endpoints",
    "Statistic": "Average",
    "Dimensions": OWN,
}
MEAN = {
    "Metrics": [
        {"Id": "n", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m"}, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "r", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "r"}, "Stat": "Average", "Unit": "Count"},
         "ReturnData": False},
        {"Id": "mean", "Expression": "n / r", "Label": "per replica"},
    ]
}  # fmt: skip
STEPS = [
    {"MetricIntervalUpperBound": 0.0, "ScalingAdjustment": -1},
    {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 1},
    {"MetricIntervalLowerBound": 10.0, "ScalingAdjustment": 3},
]
STEPPING = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": STEPS}
PREDICTING = {"MetricSpecifications": [{"TargetValue": 40.0, "PredefinedMetricPairSpecification": INVOCATIONS}]}


def signal(name: str = "ConcurrencyPerReplicaEvent", **more: Any) -> dict[str, Any]:
    """A customized metric that is one of trimtab's own."""
    metric = {"MetricName": name, "Namespace": "trimtab/Endpoints", "Statistic": "Average", "Dimensions": OWN, **more}
    return {"TargetValue": 2.0, "CustomizedMetricSpecification": {k: v for k, v in metric.items() if v is not None}}


def settings(**values: str) -> list[dict[str, str]]:
    return [*OWN, *({"Name": name, "Value": value} for name, value in values.items())]


def put(client: Any, config: dict[str, Any], name: str = "p", **more: Any) -> dict[str, Any]:
    return client.put_scaling_policy(**tracking(config, name), **more)


def tracking(config: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {
        **PLACE,
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": config,
    }


def stepping(config: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {**PLACE, "PolicyName": name, "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": config}


def predicting(config: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {
        **PLACE,
        "PolicyName": name,
        "PolicyType": "PredictiveScaling",
        "PredictiveScalingPolicyConfiguration": config,
    }


def kept(world: World) -> Any:
    [policy] = world.scaling.policies()
    return policy


def described(client: Any, **more: Any) -> list[dict[str, Any]]:
    return client.describe_scaling_policies(ServiceNamespace="sagemaker", **more)["ScalingPolicies"]
