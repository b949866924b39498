"""Target tracking and step scaling policies, as boto3 sees them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from policy_shapes import (
    CONCURRENCY,
    CPU,
    INVOCATIONS,
    MEAN,
    OWN,
    STEPPING,
    STEPS,
    described,
    kept,
    put,
    settings,
    signal,
    stepping,
    tracking,
)
from scaling_world import DIMENSION, PLACE, World, refusal

from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import StepAdjustment, StepScaling, TargetTracking
from trimtab.testing.alarms import an_alarm


def test_a_tracking_policy_is_described_as_it_was_declared(client, world: World, target) -> None:
    config = {"TargetValue": 70.0, "PredefinedMetricSpecification": INVOCATIONS, "ScaleInCooldown": 60}
    answer = put(client, config)
    arn = (
        "arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:6d8972f3:"
        "resource/sagemaker/endpoint/fraud/variant/blue:policyName/p"
    )
    assert answer["PolicyARN"] == arn
    assert [alarm["AlarmName"] for alarm in answer["Alarms"]] == ["TargetTracking-AlarmHigh", "TargetTracking-AlarmLow"]
    [found] = described(client)
    assert found.pop("CreationTime").timestamp() == world.clock.now_s()
    assert found == {
        **PLACE,
        "PolicyARN": arn,
        "PolicyName": "p",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": config,
        "Alarms": answer["Alarms"],
    }
    assert kept(world).tracking == TargetTracking(
        target_value=70.0,
        predefined="SageMakerVariantInvocationsPerInstance",
        scale_in_cooldown_s=60.0,
        scale_out_cooldown_s=300.0,
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"TargetValue": 3, "PredefinedMetricSpecification": CONCURRENCY, "DisableScaleIn": True, "ScaleOutCooldown": 0},
            TargetTracking(
                target_value=3.0, predefined="SageMakerVariantConcurrentRequestsPerModelHighResolution",
                disable_scale_in=True, scale_out_cooldown_s=0.0,
            ),
        ),
        (
            {"TargetValue": 50.0, "CustomizedMetricSpecification": {**CPU, "Unit": "Percent"}},
            TargetTracking(
                target_value=50.0,
                stat=MetricStat("/aws/sagemaker/Endpoints", "CPUUtilization",
                                (("EndpointName", "fraud"), ("VariantName", "blue")), 60, "Average", "Percent"),
            ),
        ),
        (
            {"TargetValue": 5.0, "CustomizedMetricSpecification": MEAN},
            TargetTracking(
                target_value=5.0,
                queries=(
                    MetricQuery("n", MetricStat("N", "m", (), 60, "Sum"), return_data=False),
                    MetricQuery("r", MetricStat("N", "r", (), 60, "Average", "Count"), return_data=False),
                    MetricQuery("mean", expression="n / r", label="per replica"),
                ),
            ),
        ),
    ],
    ids=["high resolution", "customized", "math"],
)  # fmt: skip
def test_each_kind_of_tracked_metric_reaches_control(client, world: World, target, config, expected) -> None:
    put(client, config)
    assert kept(world).tracking == expected
    [found] = described(client)
    assert found["TargetTrackingScalingPolicyConfiguration"] == config


@pytest.mark.parametrize(
    ("name", "period_s"),
    [("ConcurrencyPerReplica1s", 1), ("ConcurrencyPerReplica10s", 10), ("ConcurrencyPerReplicaEvent", 0)],
)
def test_trimtabs_signals_are_named_as_customized_metrics(client, world: World, target, name, period_s) -> None:
    put(client, signal(name))
    stat = kept(world).tracking.stat
    assert (stat.namespace, stat.name, stat.period_s, stat.stat) == ("trimtab/Endpoints", name, period_s, "Average")
    assert kept(world).tracking.is_event == (period_s == 0)


def test_an_event_policy_has_windows_of_its_own(client, world: World, target) -> None:
    config = signal(Dimensions=settings(StableWindowSeconds="30", PanicWindowSeconds="2.5"))
    put(client, config)
    assert dict(kept(world).tracking.stat.dimensions) == {
        "EndpointName": "fraud",
        "VariantName": "blue",
        "StableWindowSeconds": "30",
        "PanicWindowSeconds": "2.5",
    }
    assert described(client)[0]["TargetTrackingScalingPolicyConfiguration"] == config


PREDEFINED = "PredefinedMetricSpecification"


def math_of(*metrics: dict[str, Any]) -> dict[str, Any]:
    return {"TargetValue": 1.0, "CustomizedMetricSpecification": {"Metrics": list(metrics)}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"TargetValue": 0.0, PREDEFINED: INVOCATIONS}, "TargetValue must be a number above 0"),
        ({"TargetValue": -1.0, PREDEFINED: INVOCATIONS}, "TargetValue must be a number above 0"),
        ({"TargetValue": 1e300, PREDEFINED: INVOCATIONS}, "at most 2^360"),
        ({"TargetValue": 1.0}, "Exactly one of"),
        ({"TargetValue": 1.0, PREDEFINED: INVOCATIONS, "CustomizedMetricSpecification": CPU}, "Exactly one of"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {}}, "needs MetricName, or Metrics"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {**CPU, "Namespace": ""}}, "needs Namespace"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {**CPU, "Dimensions": [OWN[0]] * 2}}, "same dimension"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {**CPU, **MEAN}}, "both Metrics and MetricName"),
        ({"TargetValue": 1.0, PREDEFINED: {**INVOCATIONS, "ResourceLabel": "app/lb"}}, "resource label"),
        (
            {"TargetValue": 1.0, PREDEFINED: {"PredefinedMetricType": "ALBRequestCountPerTarget"}},
            f"Scalable dimension {DIMENSION} only supports the following predefined metric types: "
            "SageMakerVariantInvocationsPerInstance, SageMakerVariantConcurrentRequestsPerModelHighResolution",
        ),
        (
            {"TargetValue": 1.0, PREDEFINED: {"PredefinedMetricType": "SageMakerInferenceComponentInvocationsPerCopy"}},
            "not supported yet",
        ),
        ({"TargetValue": 1.0, PREDEFINED: {"PredefinedMetricType": "Unheard"}}, "Member must satisfy enum value set"),
        ({"TargetValue": 1.0, PREDEFINED: INVOCATIONS, "ScaleInCooldown": -1}, "ScaleInCooldown must be 0"),
        ({"TargetValue": 1.0, PREDEFINED: INVOCATIONS, "ScaleOutCooldown": -1}, "ScaleOutCooldown must be 0"),
        (math_of(), "Exactly one element"),
        (math_of({"Id": "A", "Expression": "1"}), "not matching the expected pattern"),
        (math_of(*MEAN["Metrics"][:2]), "Exactly one element"),
        (math_of(*MEAN["Metrics"][:2], {"Id": "x", "Expression": "n / ("}), "x"),
        (math_of(*MEAN["Metrics"][:2], {"Id": "x", "Expression": "SEARCH('n', 'Sum', 60)"}), "SEARCH is not supported"),
        (math_of(*MEAN["Metrics"][:2], {"Id": "x", "Expression": "SELECT SUM(n)"}), "SELECT"),
        (
            math_of({"Id": "m", "MetricStat": {"Stat": "Average", "Metric": {
                "Namespace": "trimtab/Endpoints", "MetricName": "ConcurrencyPerReplica1s"}}}),
            "cannot be part of metric math",
        ),
        (signal("ConcurrencyPerReplica2s"), "it has ConcurrencyPerReplica1s, ConcurrencyPerReplica10s"),
        (signal(Statistic="Maximum"), "The Statistic of ConcurrencyPerReplicaEvent is Average"),
        (signal(Unit="Count"), "leave it out"),
        (signal(Dimensions=None), "EndpointName=fraud and VariantName=blue"),
        (signal(Dimensions=[OWN[0], {"Name": "VariantName", "Value": "green"}]), "scaled by its own load"),
        (signal(Dimensions=[*OWN, OWN[0]]), "same dimension"),
        (signal(Dimensions=settings(Window="1")), "it has no Window"),
        (signal("ConcurrencyPerReplica1s", Dimensions=settings(StableWindowSeconds="6")), "it has no StableWindowSeconds"),
        (signal(Dimensions=settings(StableWindowSeconds="soon")), "StableWindowSeconds must be a number"),
        (signal(Dimensions=settings(PanicWindowSeconds="nan")), "PanicWindowSeconds must be a number"),
        (signal(Dimensions=settings(PanicWindowSeconds="0")), "PanicWindowSeconds must be a number"),
        (signal(Dimensions=settings(StableWindowSeconds="1e9")), "StableWindowSeconds must be a number"),
        (signal(Dimensions=settings(StableWindowSeconds="9", PanicWindowSeconds="10")), "from 0.5 to 9"),
    ],
)  # fmt: skip
def test_what_cannot_be_tracked_is_refused_in_words(client, world: World, target, config, message) -> None:
    code, said = refusal(client.put_scaling_policy, **tracking(config))
    assert code == "ValidationException"
    assert message in said
    assert world.scaling.policies() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_target_that_is_no_number_is_refused(world: World, target, value) -> None:
    config = {"TargetValue": value, "PredefinedMetricSpecification": INVOCATIONS}
    code, _ = refusal(world.client(checks=False).put_scaling_policy, **tracking(config))
    assert code == "SerializationException", "clients send a text, which is no number"
    assert world.scaling.policies() == []


def test_one_metric_is_tracked_by_one_policy(client, target) -> None:
    config = {"TargetValue": 70.0, "PredefinedMetricSpecification": INVOCATIONS}
    put(client, config, "first")
    code, said = refusal(client.put_scaling_policy, **tracking({**config, "TargetValue": 1.0}, "second"))
    assert code == "ValidationException"
    assert "Only one TargetTrackingScaling policy for a given metric specification is allowed." in said
    put(client, {**config, "TargetValue": 1.0}, "first")
    put(client, {"TargetValue": 1.0, "PredefinedMetricSpecification": CONCURRENCY}, "second")
    put(client, signal(), "event")
    windows = signal(Dimensions=settings(StableWindowSeconds="30"))
    assert "Only one" in refusal(client.put_scaling_policy, **tracking(windows, "again"))[1]


def test_a_step_policy_reaches_control_and_is_described(client, world: World, target) -> None:
    answer = client.put_scaling_policy(**stepping(STEPPING))
    assert answer["Alarms"] == []
    steps = (StepAdjustment(None, 0.0, -1), StepAdjustment(0.0, 10.0, 1), StepAdjustment(10.0, None, 3))
    assert kept(world).step == StepScaling(adjustment_type="ChangeInCapacity", steps=steps)
    assert described(client)[0]["StepScalingPolicyConfiguration"] == STEPPING
    created = described(client)[0]["CreationTime"]
    world.clock.advance(5)
    client.put_scaling_policy(**stepping({"Cooldown": 60, "MetricAggregationType": "Maximum"}))
    assert kept(world).step == StepScaling(
        adjustment_type="ChangeInCapacity", steps=steps, cooldown_s=60.0, aggregation="Maximum"
    ), "what an update does not give stays"
    assert described(client)[0]["CreationTime"] == created


def test_a_step_policy_is_described_with_the_alarms_that_name_it(client, world: World, target) -> None:
    arn = client.put_scaling_policy(**stepping(STEPPING))["PolicyARN"]
    put(client, {"TargetValue": 1.0, "PredefinedMetricSpecification": INVOCATIONS}, "tracking")
    world.alarms = [an_alarm("mine", alarm_actions=(arn,)), an_alarm("other", alarm_actions=("arn:aws:sns:x:y:z",))]
    mine = [{"AlarmName": "mine", "AlarmARN": "arn:aws:cloudwatch:us-east-1:111122223333:alarm:mine"}]
    found = {policy["PolicyName"]: policy["Alarms"] for policy in described(client)}
    assert found["p"] == mine
    assert [alarm["AlarmName"] for alarm in found["tracking"]] == [
        "TargetTracking-AlarmHigh",
        "TargetTracking-AlarmLow",
    ]
    assert client.put_scaling_policy(**stepping(STEPPING))["Alarms"] == mine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"StepAdjustments": None}, "needs StepAdjustments"),
        ({"StepAdjustments": []}, "needs StepAdjustments"),
        ({"AdjustmentType": None}, "needs AdjustmentType"),
        ({"AdjustmentType": "Double"}, "Member must satisfy enum value set"),
        ({"StepAdjustments": [STEPS[0], STEPS[2]]}, "gap"),
        ({"StepAdjustments": [*STEPS, STEPS[2]]}, "MetricIntervalUpperBound"),
        ({"StepAdjustments": [{"ScalingAdjustment": 1}]}, "MetricIntervalLowerBound"),
        ({"Cooldown": -1}, "Cooldown must be 0"),
        ({"MinAdjustmentMagnitude": 2}, "PercentChangeInCapacity"),
        ({"AdjustmentType": "ExactCapacity"}, "ExactCapacity"),
    ],
)
def test_steps_that_make_no_sense_are_refused(world: World, target, change, message) -> None:
    config = {key: value for key, value in {**STEPPING, **change}.items() if value is not None}
    code, said = refusal(world.client(checks=False).put_scaling_policy, **stepping(config))
    assert code == "ValidationException"
    assert message in said
    assert world.scaling.policies() == []


def test_type_and_configuration_go_together(client, target) -> None:
    call = client.put_scaling_policy
    assert (
        "PolicyType is required" in refusal(call, **PLACE, PolicyName="p", StepScalingPolicyConfiguration=STEPPING)[1]
    )
    both = {**stepping(STEPPING), "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 1.0}}
    assert "cannot be given for a policy of the type StepScaling" in refusal(call, **both)[1]
    for kind in ("StepScaling", "TargetTrackingScaling", "PredictiveScaling"):
        said = refusal(call, **PLACE, PolicyName="p", PolicyType=kind)[1]
        assert f"You must specify {kind}PolicyConfiguration" in said
    call(**stepping(STEPPING))
    call(**PLACE, PolicyName="p", StepScalingPolicyConfiguration={"Cooldown": 5})
    call(**PLACE, PolicyName="p")
    assert described(client)[0]["StepScalingPolicyConfiguration"] == {**STEPPING, "Cooldown": 5}
    put(client, {"TargetValue": 1.0, "PredefinedMetricSpecification": INVOCATIONS})
    assert described(client)[0]["PolicyType"] == "TargetTrackingScaling", "a policy may become another kind"
    assert "You must specify" in refusal(call, **PLACE, PolicyName="p", PolicyType="StepScaling")[1]


@pytest.mark.parametrize("name", ["a" * 256, "a/b:c d", "~!@#$%^&*()"])
def test_names_with_odd_characters_are_kept(client, target, name) -> None:
    client.put_scaling_policy(**stepping(STEPPING, name))
    assert described(client, PolicyNames=[name])[0]["PolicyName"] == name
    client.delete_scaling_policy(**PLACE, PolicyName=name)
    assert described(client) == []


@pytest.mark.parametrize("name", ["", "a" * 257, "a\nb", "né"])
def test_names_that_aws_does_not_have_are_refused(world: World, target, name) -> None:
    call = world.client(checks=False).put_scaling_policy
    assert refusal(call, **stepping(STEPPING, name))[0] == "ValidationException"


def test_policies_need_a_target(client, target) -> None:
    elsewhere = {**PLACE, "ResourceId": "endpoint/fraud/variant/green"}
    code, said = refusal(client.put_scaling_policy, **{**stepping(STEPPING), **elsewhere})
    assert code == "ObjectNotFoundException"
    assert said == (
        "No scalable target registered for service namespace: sagemaker, resource ID: endpoint/fraud/variant/green, "
        f"scalable dimension: {DIMENSION}"
    )
    code, said = refusal(client.delete_scaling_policy, **PLACE, PolicyName="p")
    assert code == "ObjectNotFoundException"
    assert said.startswith("No scaling policy found for service namespace: sagemaker,")
    assert said.endswith(f"scalable dimension: {DIMENSION}, policy name: p")


def test_names_of_places_are_those_of_the_target(client, world: World, target) -> None:
    shouting = {**PLACE, "ResourceId": "endpoint/FRAUD/variant/Blue"}
    client.put_scaling_policy(**{**stepping(STEPPING), **shouting})
    assert (kept(world).endpoint, kept(world).variant) == ("fraud", "blue")
    assert len(described(client, ResourceId="endpoint/Fraud/variant/BLUE")) == 1


def test_too_many_policies_are_named_as_aws_names_them(client, world: World, target) -> None:
    world.scaling.most_policies = 0
    assert refusal(client.put_scaling_policy, **stepping(STEPPING))[0] == "LimitExceededException"


def test_policies_are_filtered_and_paged(client, target) -> None:
    client.register_scalable_target(
        **{**PLACE, "ResourceId": "endpoint/other/variant/blue"}, MinCapacity=1, MaxCapacity=2
    )
    for n in range(12):
        client.put_scaling_policy(**stepping(STEPPING, f"p{n:02}"))
    client.put_scaling_policy(**{**stepping(STEPPING, "p00"), "ResourceId": "endpoint/other/variant/blue"})
    first = client.describe_scaling_policies(ServiceNamespace="sagemaker")
    assert [policy["PolicyName"] for policy in first["ScalingPolicies"]] == [f"p{n:02}" for n in range(10)]
    rest = described(client, NextToken=first["NextToken"])
    assert [policy["PolicyName"] for policy in rest] == ["p10", "p11", "p00"]
    assert len(described(client, PolicyNames=["p00", "p11", "nobody"])) == 3
    mine = described(client, PolicyNames=["p00"], ResourceId=PLACE["ResourceId"], ScalableDimension=DIMENSION)
    assert [policy["ResourceId"] for policy in mine] == [PLACE["ResourceId"]]
    code, _ = refusal(client.describe_scaling_policies, ServiceNamespace="sagemaker", NextToken="x")
    assert code == "InvalidNextTokenException"
