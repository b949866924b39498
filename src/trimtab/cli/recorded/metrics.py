"""Metrics of one variant, as CloudWatch's GetMetricData answers them."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trimtab.metrics.names import ENDPOINT, SAGEMAKER, TRIMTAB, VARIANT

if TYPE_CHECKING:
    from trimtab.aws.client import Client

FINE_KEPT_S: Final = 3 * 3600.0 - 60  # AWS, and trimtab: points of less than a minute are kept so long
_OF_ENDPOINT: Final = frozenset({"ApproximateBacklogSize"})
_DAY_S: Final = 86_400
_QUICK_US: Final = 2000.0
_AT_ONCE: Final = 100  # queries in a call
_SAMPLE: Final = 1000  # values for a distribution

Asked = tuple[str, str, str]
"""Namespace, name, statistic."""


class Metrics:
    """Of one variant, from `start_s` to `end_s` (which are moved to whole periods)."""

    def __init__(self, client: Client, endpoint: str, variant: str, start_s: float, end_s: float, now_s: float) -> None:
        self._client = client
        self._endpoint, self._variant = endpoint, variant
        self.period_s = 1 if now_s - start_s < FINE_KEPT_S else 60
        self.start_s = math.floor(start_s / self.period_s) * self.period_s
        self.end_s = math.ceil(end_s / self.period_s) * self.period_s

    def series(self, namespace: str, name: str, stat: str) -> list[float | None]:
        """One value for each period; None where there is none."""
        (points,) = self._ask([(namespace, name, stat)], self.period_s, self.start_s, self.end_s)
        return [points.get(at_s) for at_s in range(self.start_s, self.end_s, self.period_s)]

    def whole(self, asked: Sequence[Asked]) -> list[float | None]:
        """Of all the time together (of its last day, where it is longer), one value each."""
        first_s = max(math.floor(self.start_s / 60) * 60, math.ceil(self.end_s / 60) * 60 - _DAY_S)
        period_s = math.ceil((self.end_s - first_s) / 60) * 60
        # A period of CloudWatch begins at a multiple of its length: one is looked for that has all of the time in it.
        found: list[float | None] = []
        for begin in range(0, len(asked), _AT_ONCE):
            part = asked[begin : begin + _AT_ONCE]
            found += [next(iter(points.values()), None) for points in self._spanning(part, first_s, period_s)]
        return found

    def _spanning(self, asked: Sequence[Asked], first_s: int, period_s: int) -> list[dict[int, float]]:
        """The point of a period that has all of the time in it."""
        length_s = period_s
        while length_s <= _DAY_S:
            start_s = first_s // length_s * length_s
            if start_s + length_s >= first_s + period_s or length_s == _DAY_S:
                return self._ask(asked, length_s, start_s, start_s + length_s)
            length_s = min(_DAY_S, length_s * 2)
        return [{} for _ in asked]

    def _ask(self, asked: Sequence[Asked], period_s: int, start_s: int, end_s: int) -> list[dict[int, float]]:
        queries = []
        for number, (namespace, name, stat) in enumerate(asked):
            names = {ENDPOINT: self._endpoint, VARIANT: self._variant}
            if name in _OF_ENDPOINT:
                del names[VARIANT]
            metric = {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in names.items()],
            }
            stats = {"Metric": metric, "Period": period_s, "Stat": stat}
            queries.append({"Id": f"m{number}", "MetricStat": stats})
        request: dict[str, Any] = {
            "MetricDataQueries": queries,
            "StartTime": datetime.fromtimestamp(start_s, UTC),
            "EndTime": datetime.fromtimestamp(end_s, UTC),
        }
        found: list[dict[int, float]] = [{} for _ in asked]
        while True:
            page = self._client.call("cloudwatch", "get_metric_data", **request)
            for result in page["MetricDataResults"]:
                points = zip(result["Timestamps"], result["Values"], strict=True)
                found[int(result["Id"][1:])].update((int(at.timestamp()), value) for at, value in points)
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]


def in_work_s(metrics: Metrics, points: int) -> tuple[list[float], float] | None:
    """Of asynchronous requests: even quantiles of how long one has its place among those in work, and for how much of
    that its replica has nothing to do on average: while it is taken out of the queue, its input fetched, its output
    written. None where no request has ended."""
    parts = [100 * place / (points - 1) for place in range(points)]
    stats = ["Minimum", *(f"p{part:g}" for part in parts[1:-1]), "Maximum"]
    found = metrics.whole([(TRIMTAB, "TimeInWork", stat) for stat in stats])
    known = [value / 1e6 for value in found if value is not None]
    mean_us, model_us = metrics.whole([(TRIMTAB, "TimeInWork", "Average"), (SAGEMAKER, "ModelLatency", "Average")])
    if len(known) < points or mean_us is None or model_us is None:
        return None
    return known, max(0.0, mean_us - model_us) / 1e6


def service_s(metrics: Metrics, points: int) -> tuple[list[float], float] | None:
    """Even quantiles of what a request took, without waiting for a replica: from when it was sent to one until its
    answer was there, and what the gateway needs beside. And how much longer the first request after a model's load took
    (multi-model; it is not among the others then). None where no request was answered.

    A quick model is sent requests ahead, which wait beside it: there its own time counts, and what the way there and
    back takes when nothing is in its way.
    """
    parts = [100 * place / (points - 1) for place in range(points)]
    stats = ["Minimum", *(f"p{part:g}" for part in parts[1:-1]), "Maximum"]
    found = metrics.whole([(SAGEMAKER, "ModelLatency", stat) for stat in stats])
    model_us = [value for value in found if value is not None]
    if len(model_us) < points:
        return None
    first_us = 0.0
    (least_us,) = metrics.whole([(TRIMTAB, "Latency", "p1")])
    beside_us = max(0.0, least_us - model_us[1]) if least_us is not None else 0.0
    known = [value for value in metrics.whole([(TRIMTAB, "ComputeTime", stat) for stat in stats]) if value is not None]
    if len(known) == points and known[points // 2] < _QUICK_US:
        beside_us += max(0.0, model_us[1] - known[1])
        model_us = known
    else:
        model_us, first_us = _without_firsts(metrics, model_us, stats)
    return [(value + beside_us) / 1e6 for value in model_us], first_us / 1e6


def _without_firsts(metrics: Metrics, model_us: list[float], stats: Sequence[str]) -> tuple[list[float], float]:
    """The quantiles without first requests after a load, and how much longer those took on average."""
    name = (TRIMTAB, "FirstModelLatency")
    firsts = [value for value in metrics.whole([(*name, stat) for stat in stats]) if value is not None]
    if len(firsts) < len(stats):
        return model_us, 0.0
    all_count, count, mean_us = metrics.whole(
        [(SAGEMAKER, "ModelLatency", "SampleCount"), (*name, "SampleCount"), (*name, "Average")]
    )
    if not count or not all_count or mean_us is None or count >= all_count:
        return model_us, 0.0
    others = without(model_us, firsts, count / all_count)
    return others, max(0.0, mean_us - sum(others) / len(others))


def without(quantiles: Sequence[float], taken: Sequence[float], share: float) -> list[float]:
    """Even quantiles of what is left of a distribution when a `share` of it, with the quantiles `taken`, is out."""
    left = _sample(quantiles, _SAMPLE)
    for value in reversed(_sample(taken, min(_SAMPLE - 1, round(share * _SAMPLE)))):
        place = bisect(left, value)
        near = [one for one in (place - 1, place) if 0 <= one < len(left)]
        left.pop(min(near, key=lambda one: abs(left[one] - value)))
    last = len(quantiles) - 1
    return [_between(left, place / last * (len(left) - 1)) for place in range(len(quantiles))]


def _sample(quantiles: Sequence[float], count: int) -> list[float]:
    """So many values, each the middle of its share."""
    return [_between(quantiles, (place + 0.5) / count * (len(quantiles) - 1)) for place in range(count)]


def _between(values: Sequence[float], place: float) -> float:
    below = min(int(place), len(values) - 2) if len(values) > 1 else 0
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])
