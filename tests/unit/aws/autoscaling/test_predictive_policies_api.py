"""Predictive scaling policies, as boto3 sees them."""

from __future__ import annotations

from typing import Any

import pytest
from policy_shapes import INVOCATIONS, MEAN, OWN, PREDICTING, described, kept, predicting
from scaling_world import PLACE, World, refusal

from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import Predictive


def test_a_predictive_policy_reaches_control_and_is_described(client, world: World, target) -> None:
    client.put_scaling_policy(**predicting(PREDICTING))
    assert kept(world).predictive == Predictive(target_value=40.0, predefined="SageMakerVariantInvocationsPerInstance")
    assert described(client)[0]["PredictiveScalingPolicyConfiguration"] == PREDICTING
    metric = {
        "Id": "m",
        "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": OWN}, "Stat": "Sum"},
    }
    config = {
        "MetricSpecifications": [
            {"TargetValue": 2.0, "CustomizedScalingMetricSpecification": {"MetricDataQueries": [metric]}}
        ],
        "Mode": "ForecastAndScale",
        "SchedulingBufferTime": 60,
        "MaxCapacityBreachBehavior": "IncreaseMaxCapacity",
        "MaxCapacityBuffer": 10,
    }
    client.put_scaling_policy(**predicting(config))
    assert kept(world).predictive == Predictive(
        target_value=2.0,
        stat=MetricStat("N", "m", (("EndpointName", "fraud"), ("VariantName", "blue")), 60, "Sum"),
        mode="ForecastAndScale",
        buffer_s=60.0,
        max_capacity_breach="IncreaseMaxCapacity",
        max_capacity_buffer=10,
    )


def history_of(name: str, dimensions: list[dict[str, str]]) -> dict[str, Any]:
    """A predictive policy on one of trimtab's own metrics."""
    metric = {"Namespace": "trimtab/Endpoints", "MetricName": name, "Dimensions": dimensions}
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Stat": "Average"}}
    return {
        "MetricSpecifications": [
            {"TargetValue": 2.0, "CustomizedScalingMetricSpecification": {"MetricDataQueries": [query]}}
        ]
    }


def test_load_is_forecast_from_trimtabs_own_metrics_too(client, world: World, target) -> None:
    client.put_scaling_policy(**predicting(history_of("ConcurrencyPerReplica1s", OWN)))
    stat = kept(world).predictive.stat
    assert (stat.namespace, stat.name, stat.period_s) == ("trimtab/Endpoints", "ConcurrencyPerReplica1s", 1)


SPEC = PREDICTING["MetricSpecifications"][0]
LOAD = {"MetricDataQueries": [{"Id": "a", "Expression": "1"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MetricSpecifications": []}, "one element"),
        ({"MetricSpecifications": [SPEC, SPEC]}, "one element"),
        ({"MetricSpecifications": [{**SPEC, "TargetValue": 0.0}]}, "TargetValue must be a number above 0"),
        ({"MetricSpecifications": [{"TargetValue": 1.0}]}, "Exactly one of"),
        ({"MetricSpecifications": [{**SPEC, "PredefinedScalingMetricSpecification": INVOCATIONS}]}, "Exactly one of"),
        ({"MetricSpecifications": [{**SPEC, "CustomizedLoadMetricSpecification": LOAD}]}, "not supported yet"),
        ({"MetricSpecifications": [{**SPEC, "CustomizedCapacityMetricSpecification": LOAD}]}, "not supported yet"),
        (
            {"MetricSpecifications": [
                {"TargetValue": 1.0, "PredefinedMetricPairSpecification": {"PredefinedMetricType": "ECSServiceCPU"}}]},
            "only supports the following predefined metric types",
        ),
        (
            {"MetricSpecifications": [{"TargetValue": 1.0, "CustomizedScalingMetricSpecification": {
                "MetricDataQueries": MEAN["Metrics"]}}]},
            "Metric math in a predictive policy is not supported yet",
        ),
        (history_of("ConcurrencyPerReplicaEvent", OWN), "has no history to forecast from"),
        (history_of("ConcurrencyPerReplica1s", []), "scaled by its own load"),
        ({"MaxCapacityBreachBehavior": "IncreaseMaxCapacity"}, "MaxCapacityBuffer must be given"),
        ({"MaxCapacityBuffer": 5}, "MaxCapacityBuffer must be given"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused_in_words(client, world: World, target, change, message) -> None:
    code, said = refusal(client.put_scaling_policy, **predicting({**PREDICTING, **change}))
    assert code == "ValidationException"
    assert message in said
    assert world.scaling.policies() == []


def test_a_forecast_is_refused_by_name(client, target) -> None:
    span = {"StartTime": 0, "EndTime": 3600}
    code, said = refusal(client.get_predictive_scaling_forecast, **PLACE, PolicyName="p", **span)
    assert code == "UnsupportedOperationException"
    assert "GetPredictiveScalingForecast" in said
