"""Alarms, as boto3 sees them; their loop is stepped by a clock of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cloudwatch_world import CloudWatch, refusal
from msgspec.structs import replace

from trimtab.control.alarm_loop import AlarmLoop
from trimtab.control.alarms import Alarms
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.testing.alarms import an_alarm

POLICY = "arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:6d8972f3:resource/sagemaker/e:policyName/p"
TOPIC = "arn:aws:sns:us-east-1:111122223333:alerts"
ARN = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:high"


def alarm(name: str = "high", **more: Any) -> dict[str, Any]:
    declared = {
        "AlarmName": name, "Namespace": "test", "MetricName": "m", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold",
    } | more  # fmt: skip
    return {key: value for key, value in declared.items() if value is not None}


def described(cloudwatch: CloudWatch, name: str = "high") -> dict[str, Any]:
    [found] = cloudwatch.client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return found


def state(cloudwatch: CloudWatch, name: str = "high") -> str:
    return described(cloudwatch, name)["StateValue"]


def measure(cloudwatch: CloudWatch, value: float, name: str = "m") -> None:
    """In the last second that is looked at with the next step."""
    at_s = int(cloudwatch.clock.now_s()) - 2
    cloudwatch.metrics.record([Sample(MetricKey("test", name), at_s, Sketch.of([value]))])


def history(cloudwatch: CloudWatch, **more: Any) -> list[str]:
    items = cloudwatch.client.describe_alarm_history(**more)["AlarmHistoryItems"]
    return [item["HistorySummary"] for item in items]


@pytest.fixture(autouse=True)
def just_after_a_minute(cloudwatch: CloudWatch) -> None:
    cloudwatch.clock.set_wall(1_700_000_042.0)


def test_what_was_declared_is_described_and_nothing_else(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(AlarmDescription="too many", AlarmActions=[TOPIC], Unit="Count",
                                    Dimensions=[{"Name": "E", "Value": "1"}], TreatMissingData="notBreaching"))  # fmt: skip
    found = described(cloudwatch)
    for time in ("AlarmConfigurationUpdatedTimestamp", "StateUpdatedTimestamp", "StateTransitionedTimestamp"):
        assert found.pop(time).timestamp() == cloudwatch.clock.now_s()
    assert found == alarm(
        AlarmDescription="too many", AlarmActions=[TOPIC], Unit="Count", Dimensions=[{"Name": "E", "Value": "1"}],
        TreatMissingData="notBreaching", AlarmArn=ARN, ActionsEnabled=True, OKActions=[], InsufficientDataActions=[],
        StateValue="INSUFFICIENT_DATA", StateReason="Unchecked: Initial alarm creation",
    )  # fmt: skip
    answer = client.describe_alarms()
    assert answer["CompositeAlarms"] == []


def test_an_alarm_rings_and_stops_as_its_metric_says(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(TreatMissingData="notBreaching"))
    cloudwatch.tick()
    assert state(cloudwatch) == "OK"
    measure(cloudwatch, 11.0)
    cloudwatch.tick()
    assert state(cloudwatch) == "OK", "the minute is not over"
    cloudwatch.tick(60)
    found = described(cloudwatch)
    assert found["StateValue"] == "ALARM"
    assert found["StateReason"] == (
        "Threshold Crossed: 1 datapoint [11.0 (14/11/23 22:14:00)] was greater than the threshold (10.0)."
    )
    assert json.loads(found["StateReasonData"])["recentDatapoints"] == [11.0]
    for _ in range(3):
        cloudwatch.tick(60)
    assert state(cloudwatch) == "OK"
    assert history(cloudwatch, AlarmName="high") == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from INSUFFICIENT_DATA to OK",
        'Alarm "high" created',
    ]


def test_no_data_is_not_zero(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(ComparisonOperator="LessThanThreshold"))
    cloudwatch.tick()
    assert state(cloudwatch) == "INSUFFICIENT_DATA"
    measure(cloudwatch, 0.0)
    cloudwatch.tick(60)
    assert state(cloudwatch) == "ALARM"


@pytest.mark.parametrize(("period", "step"), [(1, 1), (10, 10), (20, 10), (30, 10), (60, 60), (300, 60)])
def test_alarms_are_evaluated_each_step_of_their_period(cloudwatch: CloudWatch, client, period: int, step: int) -> None:
    client.put_metric_alarm(**alarm(Period=period))
    cloudwatch.tick()
    measure(cloudwatch, 11.0)
    for _ in range(step):
        assert state(cloudwatch) == "INSUFFICIENT_DATA"
        cloudwatch.tick(1)
    assert state(cloudwatch) == "ALARM"


def test_an_alarm_on_math(cloudwatch: CloudWatch, client) -> None:
    def metric(id: str) -> dict[str, Any]:
        stat = {"Metric": {"Namespace": "test", "MetricName": id}, "Period": 60, "Stat": "Sum"}
        return {"Id": id, "MetricStat": stat, "ReturnData": False}

    queries = [{"Id": "e", "Expression": "errors / calls * 100", "Label": "rate"}, metric("errors"), metric("calls")]
    single = {"Namespace": None, "MetricName": None, "Statistic": None, "Period": None}
    client.put_metric_alarm(**alarm(Metrics=queries, **single))
    assert "MetricName" not in described(cloudwatch)
    declared = [{"ReturnData": True, **query} for query in queries]
    for query in declared:
        if "MetricStat" in query:
            query["MetricStat"]["Metric"].setdefault("Dimensions", [])
    assert described(cloudwatch)["Metrics"] == declared
    measure(cloudwatch, 20.0, "errors")
    measure(cloudwatch, 100.0, "calls")
    cloudwatch.tick(60)
    assert state(cloudwatch) == "ALARM"
    assert "20.0 (" in described(cloudwatch)["StateReason"]


def test_an_alarm_on_a_percentile_of_few_samples(cloudwatch: CloudWatch, client) -> None:
    few = {"Statistic": None, "ExtendedStatistic": "p90", "EvaluateLowSampleCountPercentile": "ignore"}
    client.put_metric_alarm(**alarm(**few))
    client.put_metric_alarm(**alarm("all", **few | {"EvaluateLowSampleCountPercentile": "evaluate"}))
    measure(cloudwatch, 11.0)
    cloudwatch.tick(60)
    assert state(cloudwatch) == "INSUFFICIENT_DATA"
    assert state(cloudwatch, "all") == "ALARM"
    assert described(cloudwatch)["ExtendedStatistic"] == "p90"


def test_a_state_that_was_set_lasts_until_the_next_evaluation(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(AlarmActions=[TOPIC], TreatMissingData="notBreaching"))
    cloudwatch.tick()
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="a drill", StateReasonData='{"a": 1}')
    found = described(cloudwatch)
    assert (found["StateValue"], found["StateReason"], found["StateReasonData"]) == ("ALARM", "a drill", '{"a": 1}')
    assert cloudwatch.acted == [("high", "ALARM", TOPIC)]
    cloudwatch.tick(10)
    assert state(cloudwatch) == "ALARM"
    cloudwatch.tick(60)
    assert state(cloudwatch) == "OK"
    [item, *_] = client.describe_alarm_history(HistoryItemType="StateUpdate")["AlarmHistoryItems"][1:]
    data = json.loads(item["HistoryData"])
    assert data["oldState"]["stateValue"] == "OK"
    assert data["newState"] == {"stateValue": "ALARM", "stateReason": "a drill", "stateReasonData": {"a": 1}}
    assert (item["AlarmType"], data["version"]) == ("MetricAlarm", "1.0")


def test_actions_run_when_the_state_changes_and_their_fate_is_recorded(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(AlarmActions=[TOPIC], OKActions=[TOPIC + "-ok"], InsufficientDataActions=[POLICY]))
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="still")
    client.set_alarm_state(AlarmName="high", StateValue="OK", StateReason="r")
    assert cloudwatch.acted == [("high", "ALARM", TOPIC), ("high", "OK", TOPIC + "-ok")]
    cloudwatch.refusal = "There is no SNS here."
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    assert history(cloudwatch, HistoryItemType="Action") == [
        f'Failed to execute action {TOPIC}. Received error: "There is no SNS here."',
        f"Successfully executed action {TOPIC}-ok",
        f"Successfully executed action {TOPIC}",
    ]
    [item, *_] = client.describe_alarm_history(HistoryItemType="Action")["AlarmHistoryItems"]
    data = json.loads(item["HistoryData"])
    assert (data["actionState"], data["notificationResource"]) == ("Failed", TOPIC)


def test_actions_can_be_switched_off_and_on(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(AlarmActions=[TOPIC]))
    client.disable_alarm_actions(AlarmNames=["high", "nobody"])
    assert described(cloudwatch)["ActionsEnabled"] is False
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    assert cloudwatch.acted == []
    client.enable_alarm_actions(AlarmNames=["high"])
    client.set_alarm_state(AlarmName="high", StateValue="OK", StateReason="r")
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    assert cloudwatch.acted == [("high", "ALARM", TOPIC)]


def test_scaling_policies_are_told_again_each_minute(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(AlarmActions=[POLICY, TOPIC], TreatMissingData="breaching"))
    cloudwatch.tick()
    assert cloudwatch.acted == [("high", "ALARM", POLICY), ("high", "ALARM", TOPIC)]
    cloudwatch.tick(10)
    assert len(cloudwatch.acted) == 2
    for minute in range(3):
        cloudwatch.tick(60)
        assert cloudwatch.acted[2:] == [("high", "ALARM", POLICY)] * (minute + 1)
    actions = history(cloudwatch, HistoryItemType="Action")
    assert len(actions) == 2, "what repeats itself is told once"
    cloudwatch.refusal = "not now"
    for _ in range(3):
        cloudwatch.tick(60)
    assert len(history(cloudwatch, HistoryItemType="Action")) == 3


def test_an_update_keeps_the_state_and_the_tags(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(Tags=[{"Key": "team", "Value": "risk"}]))
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    client.put_metric_alarm(**alarm(Threshold=20.0, Tags=[{"Key": "team", "Value": "other"}]))
    found = described(cloudwatch)
    assert (found["Threshold"], found["StateValue"], found["StateReason"]) == (20.0, "ALARM", "r")
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == [{"Key": "team", "Value": "risk"}]
    [update, create] = client.describe_alarm_history(HistoryItemType="ConfigurationUpdate")["AlarmHistoryItems"]
    assert (update["HistorySummary"], create["HistorySummary"]) == ('Alarm "high" updated', 'Alarm "high" created')
    data = json.loads(update["HistoryData"])
    assert (data["type"], data["updatedAlarm"]["threshold"]) == ("Update", 20.0)
    assert json.loads(create["HistoryData"])["createdAlarm"]["metricName"] == "m"


def test_tags(client) -> None:
    client.put_metric_alarm(**alarm())
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == []
    client.tag_resource(ResourceARN=ARN, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}])
    client.untag_resource(ResourceARN=ARN, TagKeys=["b", "nobody"])
    assert client.list_tags_for_resource(ResourceARN=ARN)["Tags"] == [{"Key": "a", "Value": "1"}]
    for arn in (ARN + "x", "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:high", "nonsense"):
        assert refusal(client.list_tags_for_resource, ResourceARN=arn)[0] == "ResourceNotFoundException"
    tags = [{"Key": "aws:x", "Value": "1"}]
    assert refusal(client.tag_resource, ResourceARN=ARN, Tags=tags)[0] == "InvalidParameterValue"


def test_alarms_are_listed_in_pages_and_filtered(cloudwatch: CloudWatch, client) -> None:
    for n in range(7):
        client.put_metric_alarm(**alarm(f"{'odd' if n % 2 else 'even'}-{n}", AlarmActions=[TOPIC] if n == 3 else []))
    pages = list(client.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 3}))
    names = [found["AlarmName"] for page in pages for found in page["MetricAlarms"]]
    assert names == ["even-0", "even-2", "even-4", "even-6", "odd-1", "odd-3", "odd-5"]
    assert [len(page["MetricAlarms"]) for page in pages] == [3, 3, 1]

    def listed(**filters: Any) -> list[str]:
        return [found["AlarmName"] for found in client.describe_alarms(**filters)["MetricAlarms"]]

    assert listed(AlarmNamePrefix="odd") == ["odd-1", "odd-3", "odd-5"]
    assert listed(AlarmNames=["odd-1", "nobody"]) == ["odd-1"]
    client.set_alarm_state(AlarmName="odd-5", StateValue="ALARM", StateReason="r")
    assert listed(StateValue="ALARM") == ["odd-5"]
    assert listed(ActionPrefix="arn:aws:sns") == ["odd-3"]
    assert listed(AlarmTypes=["CompositeAlarm"]) == []
    code, _ = refusal(client.describe_alarms, AlarmNames=["a"], AlarmNamePrefix="a")
    assert code == "InvalidParameterCombination"
    assert refusal(client.describe_alarms, NextToken="made up")[0] == "InvalidNextToken"


def test_alarms_for_a_metric(client) -> None:
    client.put_metric_alarm(**alarm("a", Dimensions=[{"Name": "E", "Value": "1"}]))
    client.put_metric_alarm(**alarm("b", Period=120))
    client.put_metric_alarm(**alarm("c", Statistic="Maximum"))

    def found(**more: Any) -> list[str]:
        answer = client.describe_alarms_for_metric(Namespace="test", MetricName="m", **more)
        return [one["AlarmName"] for one in answer["MetricAlarms"]]

    assert found() == ["b", "c"]
    assert found(Period=120) == ["b"]
    assert found(Statistic="Maximum") == ["c"]
    assert found(Dimensions=[{"Name": "E", "Value": "1"}]) == ["a"]


def test_deleting_deletes_all_or_none_and_history_stays(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm())
    code, message = refusal(client.delete_alarms, AlarmNames=["high", "nobody"])
    assert (code, "nobody" in message) == ("ResourceNotFound", True)
    assert state(cloudwatch) == "INSUFFICIENT_DATA"
    client.delete_alarms(AlarmNames=["high", "high"])
    assert client.describe_alarms()["MetricAlarms"] == []
    assert history(cloudwatch, AlarmName="high") == ['Alarm "high" deleted', 'Alarm "high" created']
    cloudwatch.tick(60)
    client.put_metric_alarm(**alarm())
    assert described(cloudwatch)["StateReason"] == "Unchecked: Initial alarm creation"


def test_history_is_paged_filtered_and_kept_for_two_weeks(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm())
    for n in range(5):
        cloudwatch.clock.advance(10)
        client.set_alarm_state(AlarmName="high", StateValue=("ALARM", "OK")[n % 2], StateReason=str(n))
    pages = list(client.get_paginator("describe_alarm_history").paginate(PaginationConfig={"PageSize": 4}))
    summaries = [item["HistorySummary"] for page in pages for item in page["AlarmHistoryItems"]]
    assert len(summaries) == 6
    assert history(cloudwatch, ScanBy="TimestampAscending") == summaries[::-1]
    now = cloudwatch.clock.now_s()
    assert len(history(cloudwatch, StartDate=now - 15)) == 2
    assert len(history(cloudwatch, EndDate=now - 15)) == 4
    assert history(cloudwatch, AlarmTypes=["CompositeAlarm"]) == []
    assert history(cloudwatch, AlarmName="nobody") == []
    cloudwatch.clock.advance(15 * 86_400)
    assert history(cloudwatch) == []


def test_alarms_survive_a_restart(cloudwatch: CloudWatch, client) -> None:
    client.put_metric_alarm(**alarm(Tags=[{"Key": "team", "Value": "risk"}]))
    client.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    again = Alarms(cloudwatch.store.alarms, cloudwatch.clock, cloudwatch._act)
    assert again.list() == cloudwatch.alarms.list()
    assert again.get("high").state == "ALARM"


def test_one_alarm_that_cannot_be_evaluated_stops_no_other(cloudwatch: CloudWatch, client, monkeypatch, caplog) -> None:
    for name in ("a", "broken", "c"):
        client.put_metric_alarm(**alarm(name, MetricName=name))
        measure(cloudwatch, 11.0, name)
    ask = cloudwatch.metrics.query

    def query(key: MetricKey, *arguments: Any, **more: Any) -> Any:
        if key.name == "broken":
            raise RuntimeError("a damaged page")
        return ask(key, *arguments, **more)

    monkeypatch.setattr(cloudwatch.metrics, "query", query)
    for _ in range(3):
        cloudwatch.tick(60)
    assert (state(cloudwatch, "a"), state(cloudwatch, "c")) == ("ALARM", "ALARM")
    assert described(cloudwatch, "broken")["EvaluationState"] == "EVALUATION_ERROR"
    assert state(cloudwatch, "broken") == "INSUFFICIENT_DATA"
    assert len([record for record in caplog.records if "could not be evaluated" in record.message]) == 1
    monkeypatch.undo()
    measure(cloudwatch, 11.0, "broken")
    cloudwatch.tick(60)
    assert state(cloudwatch, "broken") == "ALARM"
    assert "EvaluationState" not in described(cloudwatch, "broken")


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0 * 365, -60.0, 3600.0])
def test_a_clock_that_jumps_stops_no_alarm(cloudwatch: CloudWatch, client, jump: float) -> None:
    client.put_metric_alarm(**alarm(TreatMissingData="notBreaching"))
    cloudwatch.tick(60)
    cloudwatch.clock.set_wall(cloudwatch.clock.now_s() + jump)
    cloudwatch.tick()
    measure(cloudwatch, 11.0)
    cloudwatch.tick(60)
    assert state(cloudwatch) == "ALARM"
    assert cloudwatch.loop._sleep_s() <= 10


async def test_the_loop_wakes_for_a_new_alarm_and_ends_when_cancelled(cloudwatch: CloudWatch) -> None:
    changed = asyncio.Event()
    save = cloudwatch.store.alarms.save

    class Telling:
        def __getattr__(self, name: str) -> Any:
            return getattr(cloudwatch.store.alarms, name)

        def save(self, *arguments: Any) -> None:
            save(*arguments)
            changed.set()

    alarms = Alarms(Telling(), cloudwatch.clock, cloudwatch._act)  # type: ignore[arg-type]
    loop = AlarmLoop(alarms, cloudwatch.metrics, cloudwatch.clock)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    watched = an_alarm().watched
    assert watched is not None
    alarms.put(an_alarm(watched=replace(watched, treat_missing="breaching")))
    while alarms.get("High").state != "ALARM":
        changed.clear()
        await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


METRIC = {"Id": "m", "MetricStat": {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
NONE = {"Namespace": None, "MetricName": None, "Statistic": None, "Period": None}


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"ComparisonOperator": None}, "MissingParameter", "ComparisonOperator"),
        ({"EvaluationPeriods": None}, "MissingParameter", "EvaluationPeriods"),
        ({"Threshold": None}, "MissingParameter", "Threshold"),
        ({"MetricName": None}, "MissingParameter", "MetricName"),
        ({"Namespace": None}, "MissingParameter", "Namespace"),
        ({"Period": None}, "MissingParameter", "Period"),
        ({"Statistic": None}, "InvalidParameterCombination", "Statistic"),
        ({"ExtendedStatistic": "p99"}, "InvalidParameterCombination", "Statistic"),
        ({"Statistic": None, "ExtendedStatistic": "p101"}, "InvalidParameterValue", "p101"),
        ({"Period": 5}, "ValidationError", "1, 10, 20, 30"),
        ({"Period": 90}, "ValidationError", "multiple of 60"),
        ({"EvaluationPeriods": 1441}, "ValidationError", "86400"),
        ({"EvaluationPeriods": 169, "Period": 3600}, "ValidationError", "604800"),
        ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "ValidationError", "DatapointsToAlarm"),
        ({"TreatMissingData": "panic"}, "ValidationError", "TreatMissingData"),
        ({"EvaluateLowSampleCountPercentile": "maybe"}, "ValidationError", "EvaluateLowSampleCountPercentile"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "UnsupportedOperation", "anomaly detection"),
        ({"ThresholdMetricId": "e"}, "UnsupportedOperation", "ThresholdMetricId"),
        ({"EvaluationWindow": {"WallClockWindow": {"Timezone": "+0000"}}}, "UnsupportedOperation", "SlidingWindow"),
        ({"AlarmActions": ["x"] * 6}, "ValidationError", "alarmActions"),
        ({"Metrics": [METRIC]}, "InvalidParameterCombination", "mutually exclusive"),
        ({"Metrics": [METRIC, {"Id": "e", "Expression": "m + 1"}], **NONE}, "ValidationError", "Exactly one element"),
        ({"Metrics": [{"Id": "e", "Expression": "TIME_SERIES(1)"}], **NONE}, "ValidationError", "at least one metric"),
        ({"Metrics": [METRIC | {"ReturnData": False}, {"Id": "e", "Expression": "[m, m]"}], **NONE},
         "ValidationError", "single time series"),
        ({"Metrics": [METRIC | {"ReturnData": False}, {"Id": "e", "Expression": "x"}], **NONE},
         "ValidationError", "No query has the id x"),
        ({"Metrics": [METRIC | {"ReturnData": False}, {"Id": "e", "Expression": "AVG(m)"}], **NONE},
         "ValidationError", "not a scalar"),
        ({"Metrics": [METRIC | {"ReturnData": False}, {"Id": "e", "Expression": "SUM(SEARCH('a', 'Sum')) + m"}], **NONE},
         "ValidationError", "SEARCH"),
        ({"Threshold": float("inf")}, "InvalidParameterValue", "Threshold"),
    ],
)  # fmt: skip
def test_an_alarm_that_is_wrong_is_named(client, more: dict[str, Any], code: str, says: str) -> None:
    found, message = refusal(client.put_metric_alarm, **alarm(**more))
    assert (found, says in message) == (code, True), message
    assert client.describe_alarms()["MetricAlarms"] == []


def test_what_is_said_to_an_alarm_that_is_not_there_is_refused(client) -> None:
    code, message = refusal(client.set_alarm_state, AlarmName="nobody", StateValue="OK", StateReason="r")
    assert (code, "nobody" in message) == ("ResourceNotFound", True)
    client.put_metric_alarm(**alarm())
    bad = {"AlarmName": "high", "StateReason": "r"}
    code, message = refusal(client.set_alarm_state, StateValue="INVALID", **bad)
    assert (code, "Member must satisfy enum value set" in message) == ("ValidationError", True)
    assert refusal(client.set_alarm_state, StateValue="OK", StateReasonData="{", **bad)[0] == "InvalidFormat"
