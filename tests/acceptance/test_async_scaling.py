"""Asynchronous endpoints scale by what waits in their queue: to none, from none, and out; plain boto3, real replicas."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from async_server import AsyncEndpoint

from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

VARIANT = "blue"
PLACE = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


@pytest.fixture
def endpoint(trimtab: Trimtab, name: str) -> Iterator[AsyncEndpoint]:
    endpoint = AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=1)
    yield endpoint
    trimtab.settled(name)
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def register(endpoint: AsyncEndpoint, least: int, most: int) -> None:
    scaling = endpoint.trimtab.client("application-autoscaling")
    where = PLACE | {"ResourceId": f"endpoint/{endpoint.name}/variant/{VARIANT}"}
    scaling.register_scalable_target(**where, MinCapacity=least, MaxCapacity=most)


def track(endpoint: AsyncEndpoint, namespace: str, metric: str, *, target: float, **dimensions: str) -> None:
    scaling = endpoint.trimtab.client("application-autoscaling")
    where = PLACE | {"ResourceId": f"endpoint/{endpoint.name}/variant/{VARIANT}"}
    scaling.put_scaling_policy(
        **where,
        PolicyName="track",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": target,
            "CustomizedMetricSpecification": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "Statistic": "Average",
            },
            "ScaleOutCooldown": 0,
            "ScaleInCooldown": 1,
        },
    )


def by_events(endpoint: AsyncEndpoint) -> None:
    """trimtab's signal, with a short window."""
    places = {"EndpointName": endpoint.name, "VariantName": VARIANT}
    windows = {"StableWindowSeconds": "2", "PanicWindowSeconds": "0.5"}
    track(endpoint, "trimtab/Endpoints", "ConcurrencyPerReplicaEvent", target=2.0, **places, **windows)


def counts(endpoint: AsyncEndpoint) -> tuple[int, int]:
    """Instances that there are, and that there are to be."""
    found = endpoint.trimtab.sagemaker.describe_endpoint(EndpointName=endpoint.name)["ProductionVariants"][0]
    return found["CurrentInstanceCount"], found["DesiredInstanceCount"]


def values(endpoint: AsyncEndpoint, metric: str, statistic: str, **more: str) -> list[float]:
    """What CloudWatch has of the last minutes."""
    now = dt.datetime.now(dt.UTC)
    dimensions = {"EndpointName": endpoint.name} | more
    found = endpoint.trimtab.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - dt.timedelta(minutes=5),
        EndTime=now + dt.timedelta(minutes=1),
        Period=1 if not more else 60,
        Statistics=[statistic],
    )
    return [point[statistic] for point in found["Datapoints"]]


def test_an_endpoint_at_zero_is_woken_by_its_first_task_grows_with_its_backlog_and_goes_back_to_zero(
    endpoint: AsyncEndpoint,
) -> None:
    register(endpoint, 0, 3)
    by_events(endpoint)
    wait_until(lambda: counts(endpoint) == (0, 0))
    asked_s = time.monotonic()
    first = endpoint.ask(Body=b"x")
    endpoint.result(first)
    assert time.monotonic() - asked_s < 15  # AWS's alarm would take two minutes to see it
    answers = [endpoint.ask(Body=b"slow:0.2") for _ in range(60)]
    wait_until(lambda: counts(endpoint)[0] == 3)
    for answer in answers:
        endpoint.result(answer)
    wait_until(lambda: counts(endpoint) == (0, 0))


def test_the_backlog_is_published_as_aws_does(endpoint: AsyncEndpoint, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    for _ in range(4):
        endpoint.ask(Body=f"until:{gate}".encode())
    wait_until(lambda: 4.0 in values(endpoint, "ApproximateBacklogSize", "Maximum"))
    wait_until(lambda: 4.0 in values(endpoint, "ApproximateBacklogSizePerInstance", "Maximum"))
    wait_until(lambda: max(values(endpoint, "ApproximateAgeOfOldestRequest", "Maximum")) > 1)
    assert set(values(endpoint, "HasBacklogWithoutCapacity", "Maximum")) == {0.0}
    gate.touch()
    last = endpoint.ask(Body=b"poison")
    endpoint.failure(last)

    def whole(metric: str, statistic: str = "Sum") -> float:
        return sum(values(endpoint, metric, statistic, VariantName=VARIANT))

    wait_until(lambda: whole("InvocationsProcessed") == 5)
    assert whole("InvocationFailures") == 1
    assert whole("TimeInBacklog", "SampleCount") == 5
    assert whole("TotalProcessingTime", "Sum") > 1000  # milliseconds
    assert whole("ResponseUploadLatency", "SampleCount") == 5
    assert not values(endpoint, "Invocations", "Sum", VariantName=VARIANT)
    assert not values(endpoint, "OverheadLatency", "Sum", VariantName=VARIANT)
    assert whole("ModelLatency", "SampleCount") == 4


def test_aws_policies_of_asynchronous_endpoints_are_taken_and_a_backlog_without_capacity_is_published(
    endpoint: AsyncEndpoint,
) -> None:
    register(endpoint, 0, 2)
    track(endpoint, "AWS/SageMaker", "ApproximateBacklogSizePerInstance", target=5.0, EndpointName=endpoint.name)
    scaling: Any = endpoint.trimtab.client("application-autoscaling")
    where = PLACE | {"ResourceId": f"endpoint/{endpoint.name}/variant/{VARIANT}"}
    made = scaling.put_scaling_policy(
        **where,
        PolicyName="wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    endpoint.trimtab.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{endpoint.name}-wake",
        MetricName="HasBacklogWithoutCapacity",
        Namespace="AWS/SageMaker",
        Statistic="Average",
        EvaluationPeriods=2,
        DatapointsToAlarm=2,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint.name}],
        Period=60,
        AlarmActions=[made["PolicyARN"]],
    )
    weights = [{"VariantName": VARIANT, "DesiredInstanceCount": 0}]
    endpoint.trimtab.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name, DesiredWeightsAndCapacities=weights
    )
    wait_until(lambda: counts(endpoint) == (0, 0))
    answer = endpoint.ask(Body=b"x")
    endpoint.result(answer)  # without waiting for two minutes of that alarm
    activities = scaling.describe_scaling_activities(**where)["ScalingActivities"]
    assert activities[0]["Description"] == "Setting desired instance count to 1."
