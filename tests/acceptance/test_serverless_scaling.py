"""Provisioned concurrency scaled by Application Auto Scaling with boto3: targets, policies of each kind, schedules."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from test_serverless import GATED, code_of, environments, on_demand

from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

DIMENSION = "sagemaker:variant:DesiredProvisionedConcurrency"
TRACKING = {
    "TargetValue": 0.5,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantProvisionedConcurrencyUtilization"},
    "ScaleOutCooldown": 0,
    "ScaleInCooldown": 0,
}


@pytest.fixture
def scaling(trimtab: Trimtab) -> Any:
    """Application Auto Scaling."""
    return trimtab.client("application-autoscaling")


def place_of(name: str) -> dict[str, str]:
    """The members that say where."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/blue",
        "ScalableDimension": DIMENSION,
    }


def provisioned(trimtab: Trimtab, name: str) -> int:
    """What is provisioned now."""
    (variant,) = trimtab.sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
    return int(variant["CurrentServerlessConfig"].get("ProvisionedConcurrency", 0))


def fire(trimtab: Trimtab, alarm: str) -> None:
    """Bring it into ALARM, as its metric would in some minutes."""
    trimtab.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="test")


def utilization(trimtab: Trimtab, name: str) -> float:
    """The greatest ServerlessProvisionedConcurrencyUtilization of the last minutes."""
    now = datetime.datetime.now(datetime.UTC)
    found = trimtab.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="ServerlessProvisionedConcurrencyUtilization",
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "blue"}],
        StartTime=now - datetime.timedelta(minutes=5),
        EndTime=now + datetime.timedelta(minutes=1),
        Period=600,
        Statistics=["Maximum"],
    )
    return max((point["Maximum"] for point in found["Datapoints"]), default=0.0)


def test_provisioned_concurrency_follows_its_utilization_a_schedule_and_steps(
    trimtab: Trimtab, scaling: Any, name: str, tmp_path: Path
) -> None:
    on_demand(trimtab, name, script(GATED), most=6, provisioned=2, TRIMTAB_KEEP_WARM="off")
    place = place_of(name)
    scaling.register_scalable_target(**place, MinCapacity=1, MaxCapacity=10)
    (target,) = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[place["ResourceId"]], ScalableDimension=DIMENSION
    )["ScalableTargets"]
    assert (target["ScalableDimension"], target["MinCapacity"], target["MaxCapacity"]) == (DIMENSION, 1, 10)

    policy = scaling.put_scaling_policy(
        **place,
        PolicyName="half",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=TRACKING,
    )
    alarms = trimtab.client("cloudwatch").describe_alarms(AlarmNames=[alarm["AlarmName"] for alarm in policy["Alarms"]])
    assert {
        (alarm["MetricName"], alarm["Period"], alarm["Statistic"], alarm["EvaluationPeriods"], alarm["Threshold"])
        for alarm in alarms["MetricAlarms"]
    } == {
        ("ServerlessProvisionedConcurrencyUtilization", 60, "Maximum", 3, 0.5),
        ("ServerlessProvisionedConcurrencyUtilization", 60, "Maximum", 15, 0.45),
    }
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(trimtab.invoke, name, bytes(gate), "text/plain") for _ in range(2)]
        try:
            wait_until(lambda: utilization(trimtab, name) == 1.0, "not measured")
            fire(trimtab, next(a["AlarmName"] for a in policy["Alarms"] if "-AlarmHigh-" in a["AlarmName"]))
            wait_until(lambda: provisioned(trimtab, name) == 4, "not scaled out")
        finally:
            gate.touch()
        assert [future.result() for future in taken] == [b"through"] * 2
    assert environments(trimtab, name) == 4
    newest = scaling.describe_scaling_activities(ServiceNamespace="sagemaker", ResourceId=place["ResourceId"])
    activity = newest["ScalingActivities"][0]
    assert activity["ScalableDimension"] == DIMENSION
    assert activity["Description"] == "Setting desired provisioned concurrency to 4."
    assert activity["StatusCode"] == "Successful"
    assert "triggered policy half" in activity["Cause"]

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    scaling.put_scheduled_action(
        **place,
        ScheduledActionName="rush",
        Schedule=f"at({soon:%Y-%m-%dT%H:%M:%S})",
        ScalableTargetAction={"MinCapacity": 9},
    )
    wait_until(lambda: provisioned(trimtab, name) == 6, "not as many as MaxConcurrency allows")
    scaling.register_scalable_target(**place, MinCapacity=1)
    scaling.delete_scaling_policy(**place, PolicyName="half")
    steps = scaling.put_scaling_policy(
        **place,
        PolicyName="three",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ExactCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 3}],
            "Cooldown": 0,
        },
    )
    trimtab.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-quiet",
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "blue"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[steps["PolicyARN"]],
    )
    fire(trimtab, f"{name}-quiet")
    wait_until(lambda: provisioned(trimtab, name) == 3, "not scaled in")
    scaling.deregister_scalable_target(**place)
    assert provisioned(trimtab, name) == 3
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_what_provisioned_concurrency_cannot_be_scaled_by(trimtab: Trimtab, scaling: Any, name: str) -> None:
    on_demand(trimtab, name, script(GATED), most=2, provisioned=1)
    place = place_of(name)
    code, _, message = code_of(scaling.register_scalable_target, **place, MinCapacity=0, MaxCapacity=2)
    assert (code, "must be 1 or more" in message) == ("ValidationException", True)
    scaling.register_scalable_target(**place, MinCapacity=1, MaxCapacity=2)
    per_instance = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    code, _, message = code_of(
        scaling.put_scaling_policy,
        **place,
        PolicyName="wrong",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 1.0, "PredefinedMetricSpecification": per_instance},
    )
    assert code == "ValidationException"
    assert f"{DIMENSION} only supports" in message
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
