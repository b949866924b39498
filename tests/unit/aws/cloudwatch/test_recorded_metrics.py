"""What `trimtab record` reads of an endpoint's metrics, of CloudWatch itself."""

from __future__ import annotations

from typing import Any

import pytest
from cloudwatch_world import CloudWatch

from trimtab.cli.recorded.metrics import Metrics

DIMENSIONS = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]
STATS = ("Minimum", "p10", "p50", "p90", "Maximum", "Average", "SampleCount")


class Client:
    """trimtab's own client, in front of boto3's."""

    def __init__(self, cloudwatch: CloudWatch) -> None:
        self._cloudwatch = cloudwatch

    def call(self, service: str, operation: str, **params: Any) -> Any:
        assert service == "cloudwatch"
        return getattr(self._cloudwatch.client, operation)(**params)


def metrics_of(cloudwatch: CloudWatch, start_s: float, end_s: float) -> Metrics:
    client: Any = Client(cloudwatch)
    return Metrics(client, "e", "v", start_s, end_s, cloudwatch.clock.now_s())


def latency(cloudwatch: CloudWatch, at_s: float, *values: float, resolution_s: int = 1) -> None:
    datum = {"MetricName": "ModelLatency", "Dimensions": DIMENSIONS, "Values": list(values), "Unit": "Microseconds",
             "Timestamp": at_s, "StorageResolution": resolution_s}  # fmt: skip
    cloudwatch.client.put_metric_data(Namespace="own", MetricData=[datum])


@pytest.mark.parametrize(("begins_s", "lasts_s"), [(0, 600), (300, 600), (1740, 3600), (0, 60), (7 * 3600, 3 * 3600)])
def test_of_a_whole_time_nothing_before_or_after_it_counts(cloudwatch: CloudWatch, begins_s: int, lasts_s: int) -> None:
    start_s = int(cloudwatch.clock.now_s()) // 86_400 * 86_400 - 86_400 + begins_s
    end_s = start_s + lasts_s
    for at_s, value in ((start_s - 30, 1.0), (start_s, 100.0), (end_s - 1, 200.0), (end_s + 30, 9000.0)):
        latency(cloudwatch, at_s, value, resolution_s=60)
    found = metrics_of(cloudwatch, start_s, end_s).whole([("own", "ModelLatency", stat) for stat in STATS])
    least, p10, _, p90, most, mean, count = found
    assert (least, most, mean, count) == (100.0, 200.0, 150.0, 2.0)
    assert 99 < p10 < p90 < 202


def test_of_a_time_in_which_nothing_came_nothing_is_known(cloudwatch: CloudWatch) -> None:
    now_s = cloudwatch.clock.now_s()
    latency(cloudwatch, now_s - 30, 5.0)
    metrics = metrics_of(cloudwatch, now_s - 3600, now_s - 1800)
    assert metrics.whole([("own", "ModelLatency", stat) for stat in STATS]) == [None] * len(STATS)


def test_more_quantiles_are_asked_for_than_fit_in_a_call(cloudwatch: CloudWatch) -> None:
    now_s = cloudwatch.clock.now_s()
    latency(cloudwatch, now_s - 90, *(float(value) for value in range(1, 101)))
    metrics = metrics_of(cloudwatch, now_s - 600, now_s)
    found = metrics.whole([("own", "ModelLatency", f"p{part}") for part in range(1, 100)])
    assert found == pytest.approx([float(part) for part in range(1, 100)], rel=0.03, abs=1.5)


def test_of_each_second_what_came_in_it_is_known_and_of_others_nothing(cloudwatch: CloudWatch) -> None:
    now_s = cloudwatch.clock.now_s()
    for ago_s, value in ((3, 7.0), (1, 9.0)):
        latency(cloudwatch, now_s - ago_s, value)
    metrics = metrics_of(cloudwatch, now_s - 4, now_s)
    assert metrics.series("own", "ModelLatency", "Sum") == [None, 7.0, None, 9.0]
