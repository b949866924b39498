"""PutMetricData, GetMetricStatistics and ListMetrics, as boto3 and as older clients see them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ParamValidationError
from cloudwatch_world import KEY, NAMESPACE, URL, CloudWatch, refusal

from trimtab.errors import Unavailable
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample


def statistics(
    cloudwatch: CloudWatch, name: str = "m", *, back: float = 300, period: int = 60, **more: Any
) -> list[dict]:
    now = cloudwatch.clock.now_s()
    answer = cloudwatch.client.get_metric_statistics(
        **{"Namespace": "test", "MetricName": name, "StartTime": now - back, "EndTime": now + 60, "Period": period}
        | ({"Statistics": ["Sum"]} if "ExtendedStatistics" not in more else {})
        | more
    )
    assert answer["Label"] == name
    return sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])


def test_values_come_back_in_every_protocol(cloudwatch: CloudWatch, put) -> None:
    put("m", 1.0, 2.0, 3.0, 4.0, Unit="Milliseconds")
    every = ["SampleCount", "Sum", "Average", "Minimum", "Maximum"]
    [point] = statistics(cloudwatch, Statistics=every)
    minute = cloudwatch.clock.now_s() // 60 * 60
    assert point.pop("Timestamp") == datetime.fromtimestamp(minute, UTC)
    assert point == {
        "Unit": "Milliseconds", "SampleCount": 4.0, "Sum": 10.0, "Average": 2.5, "Minimum": 1.0, "Maximum": 4.0,
    }  # fmt: skip
    assert (
        cloudwatch.sent[0].headers.get("content-type").partition(";")[0]
        == {
            "json": "application/x-amz-json-1.0",
            "query": "application/x-www-form-urlencoded",
            "smithy-rpc-v2-cbor": "application/cbor",
        }[cloudwatch.protocol]
    )


def test_older_clients_speak_query_and_xml(cloudwatch: CloudWatch) -> None:
    at = datetime.fromtimestamp(cloudwatch.clock.now_s(), UTC).isoformat()
    status, _ = cloudwatch.query(
        "PutMetricData",
        Namespace="test",
        **{
            "MetricData.member.1.MetricName": "m",
            "MetricData.member.1.Value": "7.5",
            "MetricData.member.1.Timestamp": at,
            "MetricData.member.1.Dimensions.member.1.Name": "Endpoint",
            "MetricData.member.1.Dimensions.member.1.Value": 'a "quoted"\nname',
        },
    )
    assert status == 200
    status, tree = cloudwatch.query("ListMetrics", Namespace="test")
    [metric] = tree.findall(f".//{NAMESPACE}Metrics/{NAMESPACE}member")
    assert metric.findtext(f".//{NAMESPACE}Value") == 'a "quoted"\nname'
    status, tree = cloudwatch.query("DescribeAlarms", MaxRecords="1000")
    assert status == 400
    assert tree.findtext(f".//{NAMESPACE}Code") == "ValidationError"
    status, tree = cloudwatch.query("SetAlarmState", AlarmName="nobody", StateValue="OK", StateReason="r")
    assert (status, tree.findtext(f".//{NAMESPACE}Code")) == (404, "ResourceNotFound")


def test_values_with_counts_and_statistic_sets(cloudwatch: CloudWatch, client) -> None:
    put = lambda name, **datum: client.put_metric_data(Namespace="test", MetricData=[{"MetricName": name, **datum}])  # noqa: E731
    put("v", Values=[1.0, 10.0], Counts=[3.0, 1.0])
    [point] = statistics(cloudwatch, "v", Statistics=["SampleCount", "Sum"])
    assert (point["SampleCount"], point["Sum"]) == (4.0, 13.0)
    put("s", StatisticValues={"SampleCount": 10.0, "Sum": 100.0, "Minimum": 1.0, "Maximum": 30.0})
    [point] = statistics(cloudwatch, "s", Statistics=["Average", "Maximum"])
    assert (point["Average"], point["Maximum"]) == (10.0, 30.0)
    assert statistics(cloudwatch, "s", ExtendedStatistics=["p90"]) == [], "a statistic set has no percentiles"
    put("one", StatisticValues={"SampleCount": 5.0, "Sum": 20.0, "Minimum": 4.0, "Maximum": 4.0})
    [point] = statistics(cloudwatch, "one", ExtendedStatistics=["p90"])
    assert point["ExtendedStatistics"] == {"p90": 4.0}


def test_large_calls_come_gzipped(cloudwatch: CloudWatch, client) -> None:
    data = [{"MetricName": "m", "Values": [float(n) for n in range(100)]} for _ in range(50)]
    client.put_metric_data(Namespace="test", MetricData=data)
    assert cloudwatch.sent[-1].headers.get("content-encoding") == "gzip"
    [point] = statistics(cloudwatch, Statistics=["SampleCount"])
    assert point["SampleCount"] == 5000.0


@pytest.mark.parametrize("body", [b"not gzip", b"", bytes.fromhex("1f8b08000000000000ff")])
def test_a_body_that_is_not_the_gzip_it_says_it_is_is_refused(cloudwatch: CloudWatch, body: bytes) -> None:
    request = AWSRequest("POST", URL, data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "Content-Encoding": "gzip",
        "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData"})  # fmt: skip
    SigV4Auth(Credentials(KEY.id, KEY.secret), "monitoring", "us-east-1").add_auth(request)
    response = cloudwatch.send("POST", URL, dict(request.headers.items()), body)
    assert response.status == 400
    assert "gzip" in json.loads(bytes(response.body))["message"]  # type: ignore[arg-type]


def test_what_was_acknowledged_was_durable(cloudwatch: CloudWatch, put, monkeypatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(cloudwatch.metrics, "record", lambda samples, *, durable=False: asked.append(durable))
    put("m", 1.0)
    assert asked == [True]

    def full(samples: Any, *, durable: bool = False) -> None:
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(cloudwatch.metrics, "record", full)
    with pytest.raises(ClientError, match="disk is full") as caught:
        put("m", 1.0)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_resolutions_and_periods_of_1_10_and_60_seconds(cloudwatch: CloudWatch, put) -> None:
    cloudwatch.clock.set_wall(1_700_000_040.0)
    for ago in range(1, 21):
        put("m", float(ago), ago=ago, resolution=1)
    assert [point["Sum"] for point in statistics(cloudwatch, back=20, period=1)] == [float(n) for n in range(20, 0, -1)]
    assert [point["Sum"] for point in statistics(cloudwatch, back=20, period=10)] == [155.0, 55.0]
    assert [point["Sum"] for point in statistics(cloudwatch, back=60, period=60)] == [210.0]


@pytest.mark.parametrize(
    ("datum", "code", "says"),
    [
        ({}, "MissingParameter", "MetricData.member.1.Value"),
        ({"Value": 1.0, "Values": [1.0]}, "InvalidParameterCombination", "mutually exclusive"),
        ({"Value": 1.0, "StatisticValues": {"SampleCount": 1.0, "Sum": 1.0, "Minimum": 1.0, "Maximum": 1.0}},
         "InvalidParameterCombination", "mutually exclusive"),
        ({"Value": 1.0, "Counts": [1.0]}, "InvalidParameterCombination", "Counts"),
        ({"Values": [1.0], "Counts": [1.0, 2.0]}, "InvalidParameterCombination", "same size"),
        ({"Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue", "greater than 0"),
        ({"Values": [1.0] * 151}, "InvalidParameterValue", "greater than 150"),
        ({"Value": float("nan")}, "InvalidParameterValue", "Value.* (finite|valid)"),
        ({"Value": float("-inf")}, "InvalidParameterValue", "Value.* (finite|valid)"),
        ({"Value": 2.0**361}, "InvalidParameterValue", "2\\^360"),
        ({"Value": 1.0, "StorageResolution": 30}, "InvalidParameterValue", "1 or 60"),
        ({"Value": 1.0, "Unit": "Parsecs"}, "ValidationError", "unit"),
        ({"Value": 1.0, "Timestamp": 1_700_000_000.0 - 15 * 86_400}, "InvalidParameterValue", "two weeks in the past"),
        ({"Value": 1.0, "Timestamp": 1_700_000_000.0 + 3 * 3600}, "InvalidParameterValue", "two hours in the future"),
        ({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]},
         "InvalidParameterValue", "same dimension name twice"),
        ({"StatisticValues": {"SampleCount": 0.0, "Sum": 1.0, "Minimum": 1.0, "Maximum": 1.0}},
         "InvalidParameterValue", "SampleCount"),
        ({"StatisticValues": {"SampleCount": 2.0, "Sum": 1.0, "Minimum": 2.0, "Maximum": 1.0}},
         "InvalidParameterValue", "Maximum"),
        ({"Value": 1.0, "MetricName": "m" * 256}, "ValidationError", "255"),
    ],
)  # fmt: skip
def test_a_datum_that_is_wrong_is_named(client, datum: dict[str, Any], code: str, says: str) -> None:
    found, message = refusal(client.put_metric_data, Namespace="test", MetricData=[{"MetricName": "m"} | datum])
    assert found == code, message
    assert re.search(says, message), message


def test_one_wrong_datum_keeps_the_whole_call_out(cloudwatch: CloudWatch, client) -> None:
    data = [{"MetricName": "m", "Value": 1.0}, {"MetricName": "m"}]
    assert "member.2" in refusal(client.put_metric_data, Namespace="test", MetricData=data)[1]
    assert cloudwatch.metrics.samples == []


def test_namespaces_of_aws_and_too_many_metrics_are_refused(client) -> None:
    datum = {"MetricName": "m", "Value": 1.0}
    code, message = refusal(client.put_metric_data, Namespace="AWS/SageMaker", MetricData=[datum])
    assert (code, "AWS/" in message) == ("InvalidParameterValue", True)
    code, message = refusal(client.put_metric_data, Namespace="test", MetricData=[datum] * 1001)
    assert (code, "1000" in message) == ("InvalidParameterValue", True)
    assert refusal(client.put_metric_data, Namespace="test")[0] == "MissingParameter"
    assert refusal(client.put_metric_data, Namespace=":test", MetricData=[datum])[0] == "ValidationError"


def test_dimensions_must_match_exactly_whatever_is_in_them(cloudwatch: CloudWatch, put) -> None:
    strange = [{"Name": 'na"me', "Value": "line\nbreak \\ and 'quotes' é"}, {"Name": "b", "Value": "2"}]
    put("m", 1.0, Dimensions=strange)
    assert len(statistics(cloudwatch, Dimensions=strange[::-1])) == 1
    assert statistics(cloudwatch, Dimensions=strange[:1]) == []
    assert statistics(cloudwatch) == []
    [metric] = cloudwatch.client.list_metrics(Namespace="test")["Metrics"]
    assert metric["Dimensions"] == sorted(strange, key=lambda one: one["Name"])


def test_units_are_kept_apart_and_can_be_asked_for(cloudwatch: CloudWatch, put) -> None:
    put("m", 1.0, Unit="Seconds")
    put("m", 10.0, Unit="Bytes")
    assert {point["Unit"]: point["Sum"] for point in statistics(cloudwatch)} == {"Seconds": 1.0, "Bytes": 10.0}
    assert [point["Sum"] for point in statistics(cloudwatch, Unit="Bytes")] == [10.0]
    assert statistics(cloudwatch, Unit="Count") == []


def test_periods_count_from_the_start_which_is_rounded_down_to_a_minute(cloudwatch: CloudWatch, put) -> None:
    cloudwatch.clock.set_wall(1_700_000_400.0)  # 22:20:00
    for ago in (600, 540, 480, 420, 360, 300):  # 22:10 to 22:15
        put("m", 1.0, ago=ago)
    found = statistics(cloudwatch, back=590, period=300)  # from 22:10:10
    assert [(point["Timestamp"].strftime("%H:%M:%S"), point["Sum"]) for point in found] == [
        ("22:10:00", 5.0),
        ("22:15:00", 1.0),
    ]
    found = statistics(cloudwatch, back=530, period=300)  # from 22:11:10
    assert [(point["Timestamp"].strftime("%H:%M:%S"), point["Sum"]) for point in found] == [("22:11:00", 5.0)]
    old = 20 * 86_400.0  # more than 15 days: to 5 minutes
    cloudwatch.metrics.record([Sample(MetricKey("test", "old"), 1_700_000_400 - int(old), Sketch.of([1.0]))])
    [point] = statistics(cloudwatch, "old", back=old - 100, period=86_400, EndTime=1_700_000_400.0 - old + 400)
    assert point["Timestamp"].second == 0
    assert point["Timestamp"].minute % 5 == 0


@pytest.mark.parametrize(
    ("params", "code", "says"),
    [
        ({"Statistics": []}, "ParamValidation", ""),
        ({"ExtendedStatistics": ["p99"], "Statistics": ["Sum"]}, "InvalidParameterCombination", "Only one of"),
        ({"ExtendedStatistics": ["Median"]}, "InvalidParameterValue", "Median"),
        ({"ExtendedStatistics": ["Sum"]}, "InvalidParameterValue", "Statistics"),
        ({"Statistics": ["p99"]}, "ValidationError", "SampleCount"),
        ({"Period": 7}, "InvalidParameterValue", "multiple of 60"),
        ({"Period": 90}, "InvalidParameterValue", "multiple of 60"),
        ({"EndTime": 1_600_000_000.0}, "InvalidParameterValue", "must be less than"),
        ({"StartTime": 1_700_000_000.0 - 86_400, "Period": 1}, "InvalidParameterCombination", "86,460 datapoints"),
        ({"StartTime": 0.0}, "InvalidParameterCombination", "exceeds the limit of 1,440"),
        ({"EndTime": datetime(9999, 12, 31, tzinfo=UTC)}, "InvalidParameterCombination", "exceeds the limit"),
        ({"Unit": "Parsecs"}, "ValidationError", "unit"),
    ],
)
def test_a_reading_that_is_wrong_is_named(cloudwatch: CloudWatch, params: dict, code: str, says: str) -> None:
    try:
        statistics(cloudwatch, **params)
    except ClientError as error:
        found = error.response["Error"]
        assert (found["Code"], says in found["Message"]) == (code, True), found
    except ParamValidationError:
        assert code == "ParamValidation"
    else:
        pytest.fail("it was not refused")


def test_what_is_not_there_or_not_yet_is_empty(cloudwatch: CloudWatch) -> None:
    assert statistics(cloudwatch, "nobody") == []
    assert statistics(cloudwatch, StartTime=1_800_000_000.0, EndTime=1_800_003_600.0) == []
    ends = datetime(9999, 12, 31, tzinfo=UTC)
    assert statistics(cloudwatch, StartTime=1.0, EndTime=ends, Period=86_400 * 365 * 10) == []


def test_metrics_are_listed_in_pages_and_filtered(cloudwatch: CloudWatch, client) -> None:
    samples = [
        Sample(MetricKey("test", "m", (("Endpoint", f"e{n:04}"), ("Variant", "blue"))), 1_699_999_990, Sketch.of([1.0]))
        for n in range(1100)
    ]
    cloudwatch.metrics.record(samples)
    pages = list(client.get_paginator("list_metrics").paginate(Namespace="test"))
    assert [len(page["Metrics"]) for page in pages] == [500, 500, 100]
    assert len({json.dumps(metric) for page in pages for metric in page["Metrics"]}) == 1100
    named = client.list_metrics(Dimensions=[{"Name": "Endpoint", "Value": "e0007"}, {"Name": "Variant"}])["Metrics"]
    assert [metric["Dimensions"][0]["Value"] for metric in named] == ["e0007"]
    assert client.list_metrics(Dimensions=[{"Name": "Nobody"}])["Metrics"] == []
    assert client.list_metrics(MetricName="other")["Metrics"] == []
    token = pages[0]["NextToken"]
    assert refusal(client.list_metrics, Namespace="other", NextToken=token)[0] == "InvalidNextToken"
    assert refusal(client.list_metrics, NextToken="made up")[0] == "InvalidNextToken"


def test_metrics_without_data_for_long_are_not_listed(cloudwatch: CloudWatch, client, put) -> None:
    put("m", 1.0)
    assert len(client.list_metrics(RecentlyActive="PT3H")["Metrics"]) == 1
    cloudwatch.clock.advance(4 * 3600)
    assert client.list_metrics(RecentlyActive="PT3H")["Metrics"] == []
    assert len(client.list_metrics()["Metrics"]) == 1
    cloudwatch.clock.advance(15 * 86_400)
    assert client.list_metrics()["Metrics"] == []


def test_what_is_not_supported_says_so(client) -> None:
    code, message = refusal(client.put_dashboard, DashboardName="d", DashboardBody="{}")
    assert code == "UnsupportedOperation"
    assert "PutDashboard" in message
    assert refusal(client.describe_anomaly_detectors)[0] == "UnsupportedOperation"
