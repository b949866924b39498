"""Composite alarms, as boto3 sees them."""

from __future__ import annotations

from typing import Any

import pytest
from cloudwatch_world import CloudWatch, refusal

TOPIC = "arn:aws:sns:us-east-1:111122223333:alerts"
POLICY = "arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:6d8972f3:resource/sagemaker/e:policyName/p"


@pytest.fixture(autouse=True)
def two_alarms(client: Any) -> None:
    for name in ("a", "b"):
        client.put_metric_alarm(
            AlarmName=name, Namespace="test", MetricName=name, Statistic="Sum", Period=60, EvaluationPeriods=1,
            Threshold=1.0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
        )  # fmt: skip


def composites(client: Any, **more: Any) -> dict[str, str]:
    found = client.describe_alarms(AlarmTypes=["CompositeAlarm"], **more)["CompositeAlarms"]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}


def test_it_follows_its_children(cloudwatch: CloudWatch, client: Any) -> None:
    client.put_composite_alarm(AlarmName="both", AlarmRule='ALARM(a) AND ALARM("b")', AlarmActions=[TOPIC])
    assert composites(client) == {"both": "INSUFFICIENT_DATA"}
    cloudwatch.tick()
    assert composites(client) == {"both": "OK"}
    client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="r")
    cloudwatch.tick()
    assert composites(client) == {"both": "OK"}
    client.set_alarm_state(AlarmName="b", StateValue="ALARM", StateReason="r")
    cloudwatch.tick()
    [found] = client.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert found["StateValue"] == "ALARM"
    assert "transitioned to ALARM at Tuesday 14 November, 2023" in found["StateReason"]
    assert (found["AlarmRule"], found["OKActions"]) == ('ALARM(a) AND ALARM("b")', [])
    assert cloudwatch.acted == [("both", "ALARM", TOPIC)]
    items = client.describe_alarm_history(AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]
    assert {item["AlarmType"] for item in items} == {"CompositeAlarm"}
    assert client.describe_alarms()["CompositeAlarms"] == [], "AWS: only when they are asked for"


def test_composites_of_composites_settle_and_circles_are_not_evaluated(cloudwatch: CloudWatch, client: Any) -> None:
    client.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(a)")
    client.put_composite_alarm(AlarmName="two", AlarmRule="NOT ALARM(one)")
    client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="r")
    cloudwatch.tick()
    assert composites(client) == {"one": "ALARM", "two": "OK"}
    client.put_composite_alarm(AlarmName="self", AlarmRule="NOT ALARM(self)")
    client.put_composite_alarm(AlarmName="looks", AlarmRule="OK(self)")
    client.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="r")
    cloudwatch.tick()
    assert composites(client) == {
        "looks": "INSUFFICIENT_DATA", "one": "OK", "self": "INSUFFICIENT_DATA", "two": "ALARM",
    }  # fmt: skip


def test_relatives_are_found(client: Any) -> None:
    client.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(a) OR ALARM(b)")
    client.put_composite_alarm(AlarmName="two", AlarmRule="ALARM(one)")
    answer = client.describe_alarms(ChildrenOfAlarmName="one")
    assert [set(alarm) for alarm in answer["MetricAlarms"]] == [
        {"AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp"}
    ] * 2
    parents = client.describe_alarms(ParentsOfAlarmName="one")["CompositeAlarms"]
    assert [alarm["AlarmName"] for alarm in parents] == ["two"]
    assert refusal(client.describe_alarms, ParentsOfAlarmName="a", StateValue="OK")[0] == "ValidationError"


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"AlarmRule": "ALARM(nobody)"}, "ValidationError", "alarms [nobody] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM("}, "ValidationError", "invalid syntax"),
        ({"AlarmActions": [POLICY]}, "ValidationError", "scaling policies"),
        ({"AlarmName": "a"}, "ValidationError", "MetricAlarm named 'a'"),
        ({"ActionsSuppressor": "a"}, "UnsupportedOperation", "ActionsSuppressor"),
    ],
)
def test_what_is_wrong_is_named(client: Any, more: dict[str, Any], code: str, says: str) -> None:
    found, message = refusal(client.put_composite_alarm, **{"AlarmName": "c", "AlarmRule": "ALARM(a)"} | more)
    assert (found, says in message) == (code, True), message
