"""How busy a loaded endpoint was: of the test's own seconds, once they have been published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from trimtab.aws.loaded_endpoint import LoadedEndpoint, LoadedVariant, Use, billed_gb_s, utilization

ENDPOINT = LoadedEndpoint("e", "InService", (LoadedVariant("v", "ml.m5.large", 2),))
NAMESPACES = {
    "CPUUtilization": "/aws/sagemaker/Endpoints",
    "Utilization": "trimtab/Endpoints",
    "BilledGBSeconds": "trimtab/Endpoints",
}


class CloudWatch:
    """Two metrics of the same values by second, published `late_s` after it began; coarser periods are means."""

    def __init__(self, values: dict[int, float], *, late_s: float = 1.0, finest_s: int = 1) -> None:
        self.values = values
        self.late_s = late_s
        self.finest_s = finest_s
        self.now_s = 0.0
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept += 1

    def call(self, service: str, operation: str, **of: Any) -> dict[str, Any]:
        assert (service, operation) == ("cloudwatch", "get_metric_statistics")
        if NAMESPACES.get(of["MetricName"]) != of["Namespace"] or of["Period"] < self.finest_s:
            return {"Datapoints": []}
        period, start, end = of["Period"], of["StartTime"].timestamp(), of["EndTime"].timestamp()
        points: dict[int, list[float]] = {}
        for second, value in self.values.items():
            if start <= second < end and second + self.late_s <= self.now_s:
                points.setdefault(second // period * period, []).append(value)
        return {"Datapoints": [point(at, found) for at, found in points.items()]}

    def used(self, start_s: float, end_s: float) -> tuple[list[Use], str]:
        self.now_s = end_s
        client: Any = self
        return utilization(client, ENDPOINT, start_s, end_s, now=lambda: self.now_s, sleep=self.sleep)


def point(at_s: int, values: list[float]) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {
        "Timestamp": datetime.fromtimestamp(at_s, UTC),
        "Average": mean,
        "Maximum": max(values),
        "SampleCount": float(len(values)),
    }


def test_seconds_before_and_after_the_test_do_not_count() -> None:
    cloudwatch = CloudWatch({999: 3.0, 1000: 5.0, 1001: 80.0, 1002: 90.0, 1003: 7.0})
    found, why = cloudwatch.used(1000.4, 1003.2)
    assert found == [Use("v", "Utilization", 85.0, 90.0), Use("v", "CPUUtilization", 85.0, 90.0)]
    assert why == ""


def test_the_last_second_of_a_short_test_is_waited_for() -> None:
    cloudwatch = CloudWatch({1000: 50.0, 1001: 70.0}, late_s=2.5)
    found, _ = cloudwatch.used(1000.0, 1002.0)
    assert found[0] == Use("v", "Utilization", 60.0, 70.0)
    assert cloudwatch.slept > 0


def test_what_never_comes_is_not_waited_for_long() -> None:
    cloudwatch = CloudWatch({})
    assert cloudwatch.used(1000.0, 1002.0) == ([], "CloudWatch has no values of that time")
    assert cloudwatch.now_s == pytest.approx(1004.5)


def test_a_long_test_is_not_kept_waiting() -> None:
    cloudwatch = CloudWatch(dict.fromkeys(range(1000, 1100), 50.0), late_s=5.0)
    found, _ = cloudwatch.used(1000.0, 1100.0)
    assert found[0].average == 50.0
    assert cloudwatch.slept == 0


def test_where_there_are_only_minutes_a_long_test_is_read_by_these_and_a_short_one_is_not_known() -> None:
    cloudwatch = CloudWatch(dict.fromkeys(range(1000, 1300), 50.0), finest_s=60)
    assert cloudwatch.used(1020.0, 1200.0)[0][0].average == 50.0
    assert cloudwatch.used(1020.0, 1050.0)[0] == []


def test_a_test_within_one_second_has_that_second() -> None:
    cloudwatch = CloudWatch({1000: 40.0})
    assert cloudwatch.used(1000.2, 1000.7)[0][0] == Use("v", "Utilization", 40.0, 40.0)


def test_serverless_variants_tell_what_a_request_was_billed() -> None:
    cloudwatch: Any = CloudWatch({999: 9.0, 1000: 0.2, 1001: 0.4})
    cloudwatch.now_s = 1010.0
    serverless = LoadedEndpoint("e", "InService", (LoadedVariant("v", "", 0, 2048),))
    assert billed_gb_s(cloudwatch, serverless, 1000.0, 1002.0) == pytest.approx(0.3)
    assert billed_gb_s(cloudwatch, serverless, 2000.0, 2002.0) is None
    assert billed_gb_s(cloudwatch, ENDPOINT, 1000.0, 1002.0) is None
