"""Scheduled actions, as boto3 sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from scaling_world import DIMENSION, PLACE, World, refusal

from trimtab.resources.scaling import ScheduledAction

BOUNDS = {"MinCapacity": 2, "MaxCapacity": 6}
ACTION = {**PLACE, "ScheduledActionName": "monday", "Schedule": "cron(0 6 ? * MON *)", "ScalableTargetAction": BOUNDS}
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def described(client: Any, **more: Any) -> list[dict[str, Any]]:
    return client.describe_scheduled_actions(ServiceNamespace="sagemaker", **more)["ScheduledActions"]


def test_an_action_is_described_as_it_was_declared(client, world: World, target) -> None:
    client.put_scheduled_action(**ACTION, Timezone="Europe/Berlin", StartTime=START, EndTime=END)
    [found] = described(client)
    assert found.pop("CreationTime").timestamp() == world.clock.now_s()
    assert found == {
        **ACTION,
        "ScheduledActionARN": "arn:aws:autoscaling:us-east-1:111122223333:scheduledAction:6d8972f3:"
        "resource/sagemaker/endpoint/fraud/variant/blue:scheduledActionName/monday",
        "Timezone": "Europe/Berlin",
        "StartTime": START,
        "EndTime": END,
    }
    [kept] = world.scaling.actions()
    assert (kept.start_s, kept.end_s) == (START.timestamp(), END.timestamp())


def test_an_update_changes_what_is_given_and_forgets_start_and_end(client, world: World, target) -> None:
    client.put_scheduled_action(**ACTION, Timezone="Europe/Berlin", StartTime=START, EndTime=END)
    client.put_scheduled_action(**PLACE, ScheduledActionName="monday", Schedule="rate(1 day)")
    [kept] = world.scaling.actions()
    expected = ScheduledAction(
        name="monday", arn=kept.arn, endpoint="fraud", variant="blue", schedule="rate(1 day)",
        created_s=kept.created_s, timezone="Europe/Berlin", min_capacity=2, max_capacity=6,
    )  # fmt: skip
    assert kept == expected
    client.put_scheduled_action(**PLACE, ScheduledActionName="monday", ScalableTargetAction={"MaxCapacity": 9})
    [kept] = world.scaling.actions()
    assert (kept.schedule, kept.min_capacity, kept.max_capacity) == ("rate(1 day)", None, 9)
    assert described(client)[0]["ScalableTargetAction"] == {"MaxCapacity": 9}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Schedule": None}, "Schedule is required"),
        ({"ScalableTargetAction": None}, "MinCapacity, MaxCapacity or both"),
        ({"ScalableTargetAction": {}}, "MinCapacity, MaxCapacity or both"),
        ({"ScalableTargetAction": {"MinCapacity": 7, "MaxCapacity": 6}}, "less than minimum capacity"),
        ({"ScalableTargetAction": {"MinCapacity": -1}}, "MinCapacity must be 0 or more"),
        ({"StartTime": END, "EndTime": START}, "EndTime must be later"),
        ({"ScheduledActionName": "a:b"}, "scheduledActionName"),
        ({"ScheduledActionName": " a"}, "scheduledActionName"),
        ({"ServiceNamespace": "rds"}, "trimtab scales the service namespace sagemaker"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_in_words(client, world: World, target, change, message) -> None:
    params = {key: value for key, value in {**ACTION, **change}.items() if value is not None}
    code, said = refusal(client.put_scheduled_action, **params)
    assert code == "ValidationException"
    assert message in said
    assert world.scaling.actions() == []


def test_actions_need_a_target(client) -> None:
    code, said = refusal(client.put_scheduled_action, **ACTION)
    assert code == "ObjectNotFoundException"
    assert said.startswith("No scalable target registered for service namespace: sagemaker")
    code, said = refusal(client.delete_scheduled_action, **PLACE, ScheduledActionName="monday")
    assert code == "ObjectNotFoundException"
    assert said.startswith("No scheduled action found for service namespace: sagemaker")
    assert said.endswith("scheduled action name: monday")


def test_actions_are_filtered_paged_and_deleted(client, target) -> None:
    for name in ("a", "b", "c"):
        client.put_scheduled_action(**{**ACTION, "ScheduledActionName": name})
    pages = client.get_paginator("describe_scheduled_actions").paginate(
        ServiceNamespace="sagemaker", PaginationConfig={"PageSize": 2}
    )
    names = [[action["ScheduledActionName"] for action in page["ScheduledActions"]] for page in pages]
    assert names == [["a", "b"], ["c"]]
    assert len(described(client, ScheduledActionNames=["a", "c", "nobody"])) == 2
    assert described(client, ResourceId="endpoint/other/variant/blue") == []
    client.delete_scheduled_action(**PLACE, ScheduledActionName="a")
    mine = described(client, ResourceId=PLACE["ResourceId"], ScalableDimension=DIMENSION)
    assert [action["ScheduledActionName"] for action in mine] == ["b", "c"]
