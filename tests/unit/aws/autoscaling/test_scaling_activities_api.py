"""Scaling activities, as boto3 sees them."""

from __future__ import annotations

from typing import Any

from scaling_world import DIMENSION, PLACE, World, refusal

from trimtab.resources.scaling import ActivityStatus, NotScaled
from trimtab.testing.scaling import an_activity

DAY_S = 86_400


def ids(client: Any, **more: Any) -> list[str]:
    found = client.describe_scaling_activities(ServiceNamespace="sagemaker", **more)["ScalingActivities"]
    return [activity["ActivityId"] for activity in found]


def test_an_activity_is_described_as_aws_describes_it(client, world: World) -> None:
    now_s = world.clock.now_s()
    going = an_activity("going", start_s=now_s - 5)
    done = an_activity(
        "done",
        start_s=now_s - 10,
        end_s=now_s - 6,
        status=ActivityStatus.SUCCESSFUL,
        status_message="Successfully set desired instance count to 4. Change successfully fulfilled by sagemaker.",
        details='{"a":1}',
    )
    world.scaling.held_activities = [going, done]
    first, second = client.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert first.pop("StartTime").timestamp() == now_s - 5
    assert first == {
        **PLACE,
        "ActivityId": "going",
        "Description": "Setting desired instance count to 4.",
        "Cause": "why",
        "StatusCode": "InProgress",
    }
    assert second["EndTime"].timestamp() == now_s - 6
    assert (second["StatusMessage"], second["Details"]) == (done.status_message, '{"a":1}')
    assert second["StatusCode"] == "Successful"


def test_what_was_not_scaled_is_told_when_asked_for(client, world: World) -> None:
    reason = NotScaled(code="AlreadyAtMaxCapacity", max_capacity=4, current_capacity=4)
    at_s = world.clock.now_s()
    world.scaling.held_activities = [
        an_activity("not", start_s=at_s, status=ActivityStatus.FAILED, not_scaled=(reason,)),
        an_activity("made", start_s=at_s),
    ]
    assert ids(client) == ["made"]
    assert ids(client, IncludeNotScaledActivities=True) == ["not", "made"]
    answer = client.describe_scaling_activities(ServiceNamespace="sagemaker", IncludeNotScaledActivities=True)
    assert answer["ScalingActivities"][0]["NotScaledReasons"] == [
        {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 4, "CurrentCapacity": 4}
    ]


def test_activities_are_filtered_and_paged_newest_first(client, world: World) -> None:
    at_s = world.clock.now_s()
    world.scaling.held_activities = [
        an_activity(str(n), "fraud" if n % 2 else "other", start_s=at_s - n) for n in range(500)
    ]
    pages = client.get_paginator("describe_scaling_activities").paginate(
        ServiceNamespace="sagemaker", ResourceId=PLACE["ResourceId"], ScalableDimension=DIMENSION
    )
    found = [activity["ActivityId"] for page in pages for activity in page["ScalingActivities"]]
    assert found == [str(n) for n in range(1, 500, 2)]
    assert ids(client, MaxResults=3) == ["0", "1", "2"]
    assert ids(client, ResourceId="endpoint/OTHER/variant/Blue", MaxResults=1) == ["0"]
    assert ids(client, ResourceId="inference-component/c") == []
    other = "sagemaker:inference-component:DesiredCopyCount"
    assert ids(client, ResourceId=PLACE["ResourceId"], ScalableDimension=other) == []


def test_pages_stay_true_while_activities_are_added(client, world: World) -> None:
    at_s = world.clock.now_s()
    world.scaling.held_activities = [an_activity(str(n), start_s=at_s) for n in range(4)]
    first = client.describe_scaling_activities(ServiceNamespace="sagemaker", MaxResults=2)
    world.scaling.held_activities.insert(0, an_activity("new", start_s=at_s))
    assert ids(client, NextToken=first["NextToken"]) == ["2", "3"]


def test_activities_older_than_six_weeks_are_not_told(client, world: World) -> None:
    at_s = world.clock.now_s()
    world.scaling.held_activities = [
        an_activity("young", start_s=at_s - 42 * DAY_S),
        an_activity("old", start_s=at_s - 42 * DAY_S - 1),
    ]
    assert ids(client) == ["young"]


def test_what_cannot_be_asked_for_is_refused_though_there_is_nothing(client) -> None:
    ask = client.describe_scaling_activities
    assert refusal(ask, ServiceNamespace="ecs")[0] == "ValidationException"
    assert refusal(ask, ServiceNamespace="sagemaker", ScalableDimension=DIMENSION)[0] == "ValidationException"
    assert refusal(ask, ServiceNamespace="sagemaker", ResourceId="endpoint/x")[0] == "ValidationException"
    assert refusal(ask, ServiceNamespace="sagemaker", MaxResults=0)[0] == "ValidationException"
    assert refusal(ask, ServiceNamespace="sagemaker", NextToken="x")[0] == "InvalidNextTokenException"
