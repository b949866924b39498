"""GetMetricData, as boto3 sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cloudwatch_world import CloudWatch, refusal

from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample

NOW = 1_700_000_040  # a whole minute


def stat(id: str, name: str = "m", statistic: str = "Sum", period: int = 60, **more: Any) -> dict[str, Any]:
    metric = {"Namespace": "test", "MetricName": name} | more.pop("Metric", {})
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}} | more


def expression(id: str, text: str, **more: Any) -> dict[str, Any]:
    return {"Id": id, "Expression": text} | more


def ask(cloudwatch: CloudWatch, *queries: dict[str, Any], back: int = 600, **more: Any) -> list[dict[str, Any]]:
    answer = cloudwatch.client.get_metric_data(
        **{"MetricDataQueries": list(queries), "StartTime": NOW - back, "EndTime": NOW} | more
    )
    assert answer["Messages"] == []
    for result in answer["MetricDataResults"]:
        assert len(result["Timestamps"]) == len(result["Values"])
    return answer["MetricDataResults"]


@pytest.fixture(autouse=True)
def ten_minutes(cloudwatch: CloudWatch) -> None:
    """`m` has 1, 2, ... 10 in the last ten minutes, `odd` every other of them."""
    cloudwatch.clock.set_wall(float(NOW))
    for name, step in (("m", 1), ("odd", 2)):
        cloudwatch.metrics.record(
            [Sample(MetricKey("test", name), NOW - 600 + n * 60, Sketch.of([n + 1.0])) for n in range(0, 10, step)]
        )


def test_newest_first_unless_asked_otherwise(cloudwatch: CloudWatch) -> None:
    [result] = ask(cloudwatch, stat("a"))
    assert result["Values"] == [float(n) for n in range(10, 0, -1)]
    assert result["Timestamps"][0] == datetime.fromtimestamp(NOW - 60, UTC)
    assert (result["Id"], result["Label"], result["StatusCode"]) == ("a", "m", "Complete")
    [result] = ask(cloudwatch, stat("a"), ScanBy="TimestampAscending")
    assert result["Values"] == [float(n) for n in range(1, 11)]


def test_only_what_returns_data_is_answered_in_the_order_of_the_queries(cloudwatch: CloudWatch) -> None:
    results = ask(
        cloudwatch,
        expression("rate", "odd / m * 100"),
        stat("m", ReturnData=False),
        stat("odd", "odd", ReturnData=False),
        stat("p", statistic="p50"),
        expression("hidden", "m + 1", ReturnData=False),
    )
    assert [result["Id"] for result in results] == ["rate", "p"]
    assert results[0]["Values"] == [0.0, 100.0] * 5


def test_each_series_of_an_array_is_a_result(cloudwatch: CloudWatch) -> None:
    results = ask(cloudwatch, expression("e", "METRICS() * 2", Label="double"), stat("a"), stat("b", "odd"))
    assert [(result["Id"], result["Label"]) for result in results] == [
        ("e", "double m"), ("e", "double odd"), ("a", "m"), ("b", "odd"),
    ]  # fmt: skip


def test_a_metric_without_data_is_an_empty_result(cloudwatch: CloudWatch) -> None:
    nobody, still = ask(cloudwatch, stat("a", "nobody"), expression("e", "FILL(a, 0)"))
    assert (nobody["Values"], nobody["StatusCode"]) == ([], "Complete")
    assert still["Values"] == [0.0] * 10
    future = ask(cloudwatch, stat("a"), StartTime=NOW + 10**6, EndTime=NOW + 10**7)
    assert future[0]["Values"] == []


def test_an_enormous_range_costs_what_is_in_it(cloudwatch: CloudWatch) -> None:
    ends = datetime(9999, 12, 31, tzinfo=UTC)
    [result] = ask(cloudwatch, stat("a"), StartTime=0.0, EndTime=ends)
    assert len(result["Values"]) == 10
    code, message = refusal(
        cloudwatch.client.get_metric_data,
        MetricDataQueries=[stat("a"), expression("e", "FILL(a, 0)")],
        StartTime=0.0,
        EndTime=ends,
    )
    assert (code, "longer period" in message) == ("ValidationError", True)


def test_pages_hold_max_datapoints_and_join_to_the_whole(cloudwatch: CloudWatch) -> None:
    queries = [stat("a"), stat("none", "nobody"), stat("b", "odd")]
    for limit in (1, 3, 7, 10, 14, 15, 100):
        pages = list(
            cloudwatch.client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries, StartTime=NOW - 600, EndTime=NOW, PaginationConfig={"PageSize": limit}
            )
        )
        joined: dict[str, list[float]] = {}
        status: dict[str, str] = {}
        for page in pages:
            assert sum(len(result["Values"]) for result in page["MetricDataResults"]) <= limit
            for result in page["MetricDataResults"]:
                joined.setdefault(result["Id"], []).extend(result["Values"])
                status[result["Id"]] = result["StatusCode"]
        assert joined == {
            "a": [float(n) for n in range(10, 0, -1)], "none": [], "b": [9.0, 7.0, 5.0, 3.0, 1.0],
        }  # fmt: skip
        assert set(status.values()) == {"Complete"}, limit
        assert len(pages) == -(-15 // limit)


def test_a_series_that_goes_on_is_partial(cloudwatch: CloudWatch) -> None:
    answer = cloudwatch.client.get_metric_data(
        MetricDataQueries=[stat("a"), stat("b", "odd")], StartTime=NOW - 600, EndTime=NOW, MaxDatapoints=4
    )
    assert [result["StatusCode"] for result in answer["MetricDataResults"]] == ["PartialData", "PartialData"]
    assert [len(result["Values"]) for result in answer["MetricDataResults"]] == [4, 0]
    again = {"StartTime": NOW - 660, "EndTime": NOW, "MetricDataQueries": [stat("a")]}
    assert refusal(cloudwatch.client.get_metric_data, NextToken=answer["NextToken"], **again)[0] == "InvalidNextToken"


def test_labels_have_live_parts(cloudwatch: CloudWatch) -> None:
    label = (
        "${LABEL}: ${MIN} to ${MAX}, avg ${AVG}, ${DATAPOINT_COUNT} points, last ${LAST} at ${LAST_TIME}, "
        "${MAX_TIME_RELATIVE} ago, span ${FIRST_LAST_TIME_RANGE}, ${PROP('MetricName')} ${PROP('Period')} "
        "${PROP('Dim.X')} ${PROP('Region')} ${NOSUCH}"
    )
    [result] = ask(cloudwatch, stat("a", Label=label), LabelOptions={"Timezone": "+0130"})
    assert result["Label"] == (
        "m: 1 to 10, avg 5.5, 10 points, last 10 at 2023-11-14 23:43:00 UTC+01:30, 1m ago, span 9m, m 60 "
        "${PROP('Dim.X')} us-east-1 ${NOSUCH}"
    )
    [result] = ask(cloudwatch, stat("a", "nobody", Label="max ${MAX} of ${DATAPOINT_COUNT}"))
    assert result["Label"] == "max -- of 0"
    code, _ = refusal(
        cloudwatch.client.get_metric_data, MetricDataQueries=[stat("a")], StartTime=NOW - 60, EndTime=NOW,
        LabelOptions={"Timezone": "Europe/Berlin"},
    )  # fmt: skip
    assert code == "ValidationError"


def test_search_finds_what_a_dashboard_shows(cloudwatch: CloudWatch) -> None:
    for variant in ("blue", "green"):
        key = MetricKey("AWS/SageMaker", "Invocations", (("EndpointName", "fraud"), ("VariantName", variant)))
        cloudwatch.metrics.record([Sample(key, NOW - 60, Sketch.of([5.0]))])
    text = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocations\" fraud', 'Sum', 60)"
    results = ask(
        cloudwatch, expression("s", text, Label="${PROP('Dim.VariantName')}"), expression("t", f"SUM({text})")
    )
    assert [(result["Id"], result["Label"], result["Values"]) for result in results] == [
        ("s", "blue", [5.0]), ("s", "green", [5.0]), ("t", "t", [10.0]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        ([stat("a"), stat("a")], "not unique"),
        ([stat("A")], "lowercase letter"),
        ([stat("a-b")], "lowercase letter"),
        ([{"Id": "a"}], "Exactly one of MetricStat and Expression"),
        ([stat("a") | {"Expression": "1"}], "Exactly one of MetricStat and Expression"),
        ([stat("a", statistic="Median")], "MetricDataQueries.member.1.MetricStat.Stat is not a valid statistic"),
        ([stat("a", period=7)], "multiple of 60"),
        ([stat("a"), expression("e", "a +")], "Error in expression 'e'"),
        ([stat("a"), expression("e", "b")], "No query has the id b"),
        ([expression("e", "f"), expression("f", "e")], "circle"),
        ([stat("a", ReturnData=False)], "must return data"),
        ([stat("a", Metric={"MetricName": "m"}) | {"AccountId": "999988887777"}], "no account"),
    ],
)
def test_a_query_that_is_wrong_is_named(cloudwatch: CloudWatch, queries: list[dict], says: str) -> None:
    code, message = refusal(
        cloudwatch.client.get_metric_data, MetricDataQueries=queries, StartTime=NOW - 600, EndTime=NOW
    )
    assert (code, says in message) == ("ValidationError", True), message


def test_a_request_that_is_wrong_is_named(cloudwatch: CloudWatch) -> None:
    get = cloudwatch.client.get_metric_data
    times = {"StartTime": NOW - 600, "EndTime": NOW}
    many = [stat(f"m{n}") for n in range(501)]
    assert "1 to 500" in refusal(get, MetricDataQueries=many, **times)[1]
    assert "1 to 500" in refusal(get, MetricDataQueries=[], **times)[1]
    for limit in (0, -5, 100_801):
        assert "MaxDatapoints" in refusal(get, MetricDataQueries=[stat("a")], MaxDatapoints=limit, **times)[1]
    assert "less than" in refusal(get, MetricDataQueries=[stat("a")], StartTime=NOW, EndTime=NOW)[1]
    with pytest.raises(ClientError, match="ANOMALY_DETECTION_BAND") as caught:
        ask(cloudwatch, stat("a"), expression("e", "ANOMALY_DETECTION_BAND(a)"))
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
