"""CloudWatch end to end: boto3 against a running trimtab."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

WAIT = {"Delay": 0.1, "MaxAttempts": 600}


@pytest.fixture
def cloudwatch(trimtab: Trimtab) -> Any:
    return trimtab.client("cloudwatch")


def test_what_was_put_is_read_at_1_10_and_60_seconds(cloudwatch: Any, name: str) -> None:
    minute = int(time.time()) // 60 * 60 - 120
    dimensions = [{"Name": "Who", "Value": f'{name} "quoted"\nline'}]
    data = [
        {"MetricName": "m", "Dimensions": dimensions, "Timestamp": minute + second, "Value": float(second),
         "Unit": "Milliseconds", "StorageResolution": 1}
        for second in range(60)
    ]  # fmt: skip
    cloudwatch.put_metric_data(Namespace=name, MetricData=data)

    def read(period: int, **more: Any) -> list[dict[str, Any]]:
        answer = cloudwatch.get_metric_statistics(
            Namespace=name, MetricName="m", Dimensions=dimensions, StartTime=minute, EndTime=minute + 60, Period=period,
            **more or {"Statistics": ["Sum", "Maximum"]},
        )  # fmt: skip
        return sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])

    assert [point["Sum"] for point in read(1)] == [float(n) for n in range(60)]
    assert [point["Maximum"] for point in read(10)] == [9.0, 19.0, 29.0, 39.0, 49.0, 59.0]
    [point] = read(60)
    assert (point["Sum"], point["Unit"]) == (1770.0, "Milliseconds")
    assert point["Timestamp"] == datetime.fromtimestamp(minute, UTC)
    [point] = read(60, ExtendedStatistics=["p90", "tm90"])
    assert point["ExtendedStatistics"]["p90"] == pytest.approx(53.0, rel=0.01)
    assert point["ExtendedStatistics"]["tm90"] == pytest.approx(26.5, rel=0.02)
    assert [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace=name)["Metrics"]] == ["m"]


ECHO = """
def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return prediction, "application/json"
"""


def test_an_endpoints_own_metrics_are_read_at_1_10_and_60_seconds(trimtab: Trimtab, cloudwatch: Any, name: str) -> None:
    trimtab.deploy(name, archive(code__inference_py=ECHO))
    begins = int(time.time()) // 60 * 60
    for _ in range(20):
        trimtab.invoke(name, b"1")
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "blue"}]

    def total(metric: str, period: int, statistic: str = "Sum") -> float:
        answer = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=metric, Dimensions=dimensions, StartTime=begins,
            EndTime=time.time() + 60, Period=period, Statistics=[statistic],
        )  # fmt: skip
        return float(sum(point[statistic] for point in answer["Datapoints"]))

    for period in (1, 10, 60):
        wait_until(lambda period=period: total("Invocations", period) == 20.0)
    assert total("ModelLatency", 60, "SampleCount") == 20.0
    names = {metric["MetricName"] for metric in cloudwatch.list_metrics(Dimensions=dimensions)["Metrics"]}
    assert {"Invocations", "ModelLatency", "OverheadLatency"} <= names
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_math_over_metrics_in_pages(cloudwatch: Any, name: str) -> None:
    minute = int(time.time()) // 60 * 60 - 600
    for metric, values in (("errors", [1.0, 0.0, 3.0]), ("calls", [10.0, 10.0, 10.0])):
        data = [{"MetricName": metric, "Timestamp": minute + 60 * n, "Value": v} for n, v in enumerate(values)]
        cloudwatch.put_metric_data(Namespace=name, MetricData=data)

    def metric(id: str) -> dict[str, Any]:
        stat = {"Metric": {"Namespace": name, "MetricName": id}, "Period": 60, "Stat": "Sum"}
        return {"Id": id, "MetricStat": stat, "ReturnData": False}

    queries = [
        {"Id": "rate", "Expression": "100 * errors / calls", "Label": "rate [max ${MAX}]"},
        {"Id": "found", "Expression": f"SEARCH('{{{name}}} MetricName=\"errors\"', 'Sum', 60)"},
        metric("errors"),
        metric("calls"),
    ]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=minute, EndTime=minute + 180, ScanBy="TimestampAscending",
        PaginationConfig={"PageSize": 2},
    )  # fmt: skip
    joined: dict[str, list[float]] = {}
    labels = set()
    for page in pages:
        for result in page["MetricDataResults"]:
            joined.setdefault(result["Id"], []).extend(result["Values"])
            labels.add(result["Label"])
    assert joined == {"rate": [10.0, 0.0, 30.0], "found": [1.0, 0.0, 3.0]}
    assert "rate [max 30]" in labels


def test_an_alarm_rings_by_its_metric_and_stops(cloudwatch: Any, name: str) -> None:
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace=name, MetricName="m", Statistic="Maximum", Period=1, EvaluationPeriods=1,
        Threshold=10.0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
        AlarmActions=["arn:aws:sns:us-east-1:000000000000:alerts"],
    )  # fmt: skip
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=[name], WaiterConfig=WAIT)

    def state() -> str:
        [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return str(alarm["StateValue"])

    wait_until(lambda: state() == "OK", state)
    # For the seconds that have not been looked at yet, so that one of them is certainly seen.
    now = int(time.time())
    data = [{"MetricName": "m", "Value": 11.0, "Timestamp": now + n, "StorageResolution": 1} for n in range(5)]
    cloudwatch.put_metric_data(Namespace=name, MetricData=data)
    wait_until(lambda: state() == "ALARM", state)
    wait_until(lambda: state() == "OK", state)
    history = cloudwatch.get_paginator("describe_alarm_history").paginate(AlarmName=name, ScanBy="TimestampAscending")
    summaries = [item["HistorySummary"] for page in history for item in page["AlarmHistoryItems"]]
    assert summaries[:4] == [
        f'Alarm "{name}" created',
        "Alarm updated from INSUFFICIENT_DATA to OK",
        "Alarm updated from OK to ALARM",
        "Failed to execute action arn:aws:sns:us-east-1:000000000000:alerts. Received error: \"trimtab cannot carry out"
        " arn:aws:sns:us-east-1:000000000000:alerts: there is nothing here that it could reach.\"",
    ]  # fmt: skip
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_a_state_is_set_and_set_back(cloudwatch: Any, name: str) -> None:
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace=name, MetricName="m", Statistic="Maximum", Period=1, EvaluationPeriods=1,
        Threshold=10.0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
    )  # fmt: skip

    def changes() -> list[str]:
        items = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
        return [item["HistorySummary"] for item in items]

    wait_until(lambda: changes() == ["Alarm updated from INSUFFICIENT_DATA to OK"], changes)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    wanted = [
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from INSUFFICIENT_DATA to OK",
    ]
    wait_until(lambda: changes() == wanted, changes)
    pages = list(cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=name))
    assert [alarm["StateValue"] for page in pages for alarm in page["MetricAlarms"]] == ["OK"]
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_alarms_and_acknowledged_values_survive_a_killed_control(serve: Any, name: str) -> None:
    server = serve()
    cloudwatch = server.client("cloudwatch", retries={"total_max_attempts": 10})
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace=name, MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=10.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    cloudwatch.put_metric_data(Namespace=name, MetricData=[{"MetricName": "m", "Value": 1.0}] * 10)
    [control] = server.processes("trimtab: control")
    control.kill()
    now = time.time()
    answer = cloudwatch.get_metric_statistics(
        Namespace=name, MetricName="m", StartTime=now - 300, EndTime=now + 60, Period=300, Statistics=["Sum"]
    )
    assert sum(point["Sum"] for point in answer["Datapoints"]) == 10.0
    items = cloudwatch.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]
    assert "Alarm updated from INSUFFICIENT_DATA to ALARM" in [item["HistorySummary"] for item in items]
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]


def test_errors_have_the_codes_that_programs_catch(cloudwatch: Any) -> None:
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        cloudwatch.delete_alarms(AlarmNames=["nobody"])
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException):
        cloudwatch.put_metric_data(Namespace="AWS/X", MetricData=[{"MetricName": "m", "Value": 1.0}])
    with pytest.raises(cloudwatch.exceptions.InvalidParameterCombinationException):
        cloudwatch.get_metric_statistics(
            Namespace="n", MetricName="m", StartTime=0, EndTime=10**9, Period=60, Statistics=["Sum"]
        )
    with pytest.raises(ClientError, match="NaN") as caught:
        cloudwatch.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": float("nan")}])
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_a_composite_alarm_follows_its_children(cloudwatch: Any, name: str) -> None:
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace=name, MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
    )  # fmt: skip
    cloudwatch.put_composite_alarm(AlarmName=f"{name}-all", AlarmRule=f'ALARM("{name}")')
    every = {"AlarmNames": [f"{name}-all"], "AlarmTypes": ["CompositeAlarm"]}
    cloudwatch.get_waiter("composite_alarm_exists").wait(**every, WaiterConfig=WAIT)

    def state() -> str:
        [alarm] = cloudwatch.describe_alarms(**every)["CompositeAlarms"]
        return str(alarm["StateValue"])

    wait_until(lambda: state() == "OK", state)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    wait_until(lambda: state() == "ALARM", state)
    cloudwatch.delete_alarms(AlarmNames=[name, f"{name}-all"])
