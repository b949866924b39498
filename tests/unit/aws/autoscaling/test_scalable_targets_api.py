"""Scalable targets and their tags, as boto3 sees them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace
from scaling_world import DIMENSION, LIMITED, PLACE, World, refusal

from trimtab.aws.operations import declarations
from trimtab.aws.services import load
from trimtab.testing.scaling import a_policy

ARN = "arn:aws:application-autoscaling:us-east-1:111122223333:scalable-target/0a0"
ROLE = (
    "arn:aws:iam::111122223333:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)


def described(client: Any, **more: Any) -> list[dict[str, Any]]:
    return client.describe_scalable_targets(ServiceNamespace="sagemaker", **more)["ScalableTargets"]


def test_a_target_is_described_as_aws_describes_it(client, world: World) -> None:
    answer = client.register_scalable_target(**PLACE, MinCapacity=0, MaxCapacity=4, RoleARN="arn:aws:iam::1:role/mine")
    assert answer["ScalableTargetARN"] == ARN
    [found] = described(client)
    assert found.pop("CreationTime").timestamp() == world.clock.now_s()
    assert found == {
        **PLACE,
        "MinCapacity": 0,
        "MaxCapacity": 4,
        "RoleARN": ROLE,
        "SuspendedState": {
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        },
        "ScalableTargetARN": ARN,
    }


def test_registering_again_changes_what_is_given_and_nothing_else(client, target) -> None:
    client.register_scalable_target(**PLACE, SuspendedState={"DynamicScalingInSuspended": True})
    client.register_scalable_target(**PLACE, MaxCapacity=9)
    client.register_scalable_target(**PLACE, SuspendedState={"ScheduledScalingSuspended": True})
    [found] = described(client)
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 9)
    assert found["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": True,
    }
    client.register_scalable_target(**PLACE, SuspendedState={"DynamicScalingInSuspended": False})
    assert described(client)[0]["SuspendedState"]["DynamicScalingInSuspended"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MinCapacity": 5}, "Maximum capacity cannot be less than minimum capacity"),
        ({"MinCapacity": -1}, "MinCapacity must be 0 or more"),
        ({"MaxCapacity": -1}, "MaxCapacity must be 0 or more"),
        ({"MaxCapacity": None}, "minimum and a maximum capacity"),
        ({"ServiceNamespace": "ecs"}, "trimtab scales the service namespace sagemaker"),
        ({"ServiceNamespace": "kinesis"}, "Member must satisfy enum value set"),
        ({"ScalableDimension": "ecs:service:DesiredCount"}, f"Those of sagemaker are {DIMENSION} and"),
        (
            {"ScalableDimension": "sagemaker:inference-component:DesiredCopyCount", "ResourceId": "inference-component/c"},
            "not supported yet",
        ),
        ({"ResourceId": "endpoint/fraud"}, "endpoint/ENDPOINT/variant/VARIANT"),
        ({"ResourceId": "endpoint/fraud/variant/blue/"}, "endpoint/ENDPOINT/variant/VARIANT"),
        ({"ResourceId": "endpoint//variant/blue"}, "endpoint/ENDPOINT/variant/VARIANT"),
        ({"ResourceId": "endpoint/né é/variant/blue"}, "doesn't exist: endpoint/né é/variant/blue"),
        ({"ResourceId": "endpoint/nobody/variant/blue"}, "doesn't exist: endpoint/nobody/variant/blue"),
        ({"ResourceId": "endpoint/fraud/variant/red"}, "doesn't exist: endpoint/fraud/variant/red"),
        ({"Tags": {"aws:x": "1"}}, "begins with aws:"),
        ({"Tags": {str(n): "" for n in range(51)}}, "50 tags"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_in_words(client, change, message) -> None:
    params = {**PLACE, "MinCapacity": 1, "MaxCapacity": 4, **change}
    params = {key: value for key, value in params.items() if value is not None}
    code, said = refusal(client.register_scalable_target, **params)
    assert code == "ValidationException"
    assert message in said
    assert described(client) == []


def test_bounds_are_checked_with_those_that_stay(client, target) -> None:
    code, said = refusal(client.register_scalable_target, **PLACE, MinCapacity=5)
    assert (code, said) == ("ValidationException", "Maximum capacity cannot be less than minimum capacity.")


def test_a_target_that_is_not_there_cannot_be_deregistered(client, target) -> None:
    client.deregister_scalable_target(**{**PLACE, "ResourceId": "endpoint/FRAUD/variant/Blue"})
    code, said = refusal(client.deregister_scalable_target, **PLACE)
    assert code == "ObjectNotFoundException"
    assert said == (
        "No scalable target found for service namespace: sagemaker, resource ID: endpoint/fraud/variant/blue, "
        f"scalable dimension: {DIMENSION}"
    )


def register_all(client: Any) -> list[str]:
    ids = [f"endpoint/{name}" for name in ("fraud/variant/blue", "fraud/variant/green", "other/variant/blue")]
    for id in reversed(ids):
        client.register_scalable_target(**{**PLACE, "ResourceId": id}, MinCapacity=1, MaxCapacity=2)
    return ids


def test_targets_are_filtered_and_paged(client) -> None:
    ids = register_all(client)
    pages = client.get_paginator("describe_scalable_targets").paginate(
        ServiceNamespace="sagemaker", PaginationConfig={"PageSize": 1}
    )
    assert [[target["ResourceId"] for target in page["ScalableTargets"]] for page in pages] == [[id] for id in ids]
    some = ["endpoint/FRAUD/variant/green", "endpoint/other/variant/blue", "endpoint/nobody/variant/blue"]
    assert [target["ResourceId"] for target in described(client, ResourceIds=some)] == ids[1:]
    assert len(described(client, ResourceIds=ids, ScalableDimension=DIMENSION)) == 3
    other = "sagemaker:inference-component:DesiredCopyCount"
    assert described(client, ResourceIds=ids, ScalableDimension=other) == []
    assert described(client, ResourceIds=["inference-component/c"]) == []


def test_a_page_that_cannot_be_asked_for_is_refused(client) -> None:
    register_all(client)
    token = client.describe_scalable_targets(ServiceNamespace="sagemaker", MaxResults=1)["NextToken"]
    ask = client.describe_scalable_targets
    for wrong in ("made up", token[:-2], token):
        more = {"ResourceIds": ["endpoint/fraud/variant/blue"]} if wrong == token else {}
        code, _ = refusal(ask, ServiceNamespace="sagemaker", NextToken=wrong, **more)
        assert code == "InvalidNextTokenException"
    for most in (0, 51):
        code, said = refusal(ask, ServiceNamespace="sagemaker", MaxResults=most)
        assert code == "ValidationException"
        assert f"Value '{most}' at 'maxResults'" in said
    assert refusal(ask, ServiceNamespace="sagemaker", ScalableDimension=DIMENSION)[0] == "ValidationException"
    assert refusal(ask, ServiceNamespace="sagemaker", ResourceIds=["x"])[0] == "ValidationException"
    assert "trimtab scales the service namespace sagemaker" in refusal(ask, ServiceNamespace="dynamodb")[1]


def test_targets_of_managed_instance_scaling_are_not_callers_targets(client, world: World, target) -> None:
    world.scaling.put_policy(a_policy())
    assert len(client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]) == 1
    [(key, held)] = world.scaling.known.items()
    world.scaling.known[key] = replace(held, managed=True)
    assert described(client) == []
    assert client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"] == []
    assert refusal(client.list_tags_for_resource, ResourceARN=ARN)[0] == "ResourceNotFoundException"


def test_tags_are_added_replaced_removed_and_listed(client) -> None:
    client.register_scalable_target(**PLACE, MinCapacity=1, MaxCapacity=4, Tags={"a": "1"})
    client.tag_resource(ResourceARN=ARN, Tags={"a": "2", "b": ""})
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == {"a": "2", "b": ""}
    client.untag_resource(ResourceARN=ARN, TagKeys=["a", "never"])
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == {"b": ""}
    code, said = refusal(client.register_scalable_target, **PLACE, Tags={"c": "1"})
    assert code == "ValidationException"
    assert "use the TagResource API" in said


def test_tags_that_cannot_be_are_refused(client, target) -> None:
    with pytest.raises(ClientError) as caught:
        client.tag_resource(ResourceARN=ARN, Tags={str(n): "" for n in range(51)})
    assert caught.value.response["Error"]["Code"] == "TooManyTagsException"
    assert caught.value.response["ResourceName"] == ARN
    assert refusal(client.tag_resource, ResourceARN=ARN, Tags={"AWS:x": ""})[0] == "ValidationException"
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == {}
    other = ARN.replace("0a0", "0a1")
    for call, more in (
        (client.tag_resource, {"Tags": {"a": ""}}),
        (client.untag_resource, {"TagKeys": ["a"]}),
        (client.list_tags_for_resource, {}),
    ):
        assert refusal(call, ResourceARN=other, **more)[0] == "ResourceNotFoundException"
    assert refusal(client.list_tags_for_resource, ResourceARN="arn:aws:iam::1:role/r")[0] == "ValidationException"


def test_a_limited_key_reaches_its_own_endpoints_alone(world: World, target) -> None:
    limited = world.client(LIMITED)
    limited.register_scalable_target(**PLACE, MaxCapacity=5)
    assert len(described(limited, ResourceIds=[PLACE["ResourceId"]])) == 1
    theirs = {**PLACE, "ResourceId": "endpoint/other/variant/blue"}
    metric = {
        "MetricName": "Invocations", "Namespace": "AWS/SageMaker", "Statistic": "Sum",
        "Dimensions": [{"Name": "EndpointName", "Value": "other"}],
    }  # fmt: skip
    watching = {"TargetValue": 1.0, "CustomizedMetricSpecification": metric}
    for call, params in (
        (limited.register_scalable_target, {**theirs, "MinCapacity": 1, "MaxCapacity": 2}),
        (limited.deregister_scalable_target, theirs),
        (limited.describe_scalable_targets, {"ServiceNamespace": "sagemaker"}),
        (
            limited.describe_scalable_targets,
            {"ServiceNamespace": "sagemaker", "ResourceIds": [PLACE["ResourceId"], theirs["ResourceId"]]},
        ),
        (limited.describe_scaling_activities, {"ServiceNamespace": "sagemaker"}),
        (limited.list_tags_for_resource, {"ResourceARN": ARN}),
        (
            limited.put_scaling_policy,
            {
                **PLACE,
                "PolicyName": "p",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": watching,
            },
        ),
    ):
        assert refusal(call, **params)[0] == "AccessDeniedException"


def test_every_operation_of_the_service_is_served_but_the_forecast() -> None:
    served = {d.operation for d in declarations() if d.service == "application-autoscaling"}
    assert set(load("application-autoscaling").names) - served == {"GetPredictiveScalingForecast"}
