"""Metrics of one variant, as CloudWatch answers them."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trimtab.metrics.names import ENDPOINT, SAGEMAKER, TRIMTAB, VARIANT
from trimtab.resources.metric_documents import SIMPLE, dimensions_document

if TYPE_CHECKING:
    from trimtab.aws.client import Client

FINE_KEPT_S: Final = 3 * 3600.0 - 60  # AWS, and trimtab: points of less than a minute are kept so long
_OF_ENDPOINT: Final = frozenset({"ApproximateBacklogSize"})
_DAY_S: Final = 86_400
_QUICK_US: Final = 2000.0
_SIMPLE: Final = frozenset(SIMPLE)
_AT_ONCE: Final = 10  # AWS: ExtendedStatistics in a call
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
        metric = {"Namespace": namespace, "MetricName": name, "Dimensions": self._dimensions(name)}
        stats = {"Metric": metric, "Period": self.period_s, "Stat": stat}
        request: dict[str, Any] = {
            "MetricDataQueries": [{"Id": "m", "MetricStat": stats}],
            "StartTime": datetime.fromtimestamp(self.start_s, UTC),
            "EndTime": datetime.fromtimestamp(self.end_s, UTC),
        }
        points: dict[int, float] = {}
        while True:
            page = self._client.call("cloudwatch", "get_metric_data", **request)
            for result in page["MetricDataResults"]:
                times = (int(at.timestamp()) for at in result["Timestamps"])
                points.update(zip(times, result["Values"], strict=True))
            if not page.get("NextToken"):
                break
            request["NextToken"] = page["NextToken"]
        return [points.get(at_s) for at_s in range(self.start_s, self.end_s, self.period_s)]

    def whole(self, asked: Sequence[Asked]) -> list[float | None]:
        """Of all the time together (of its last day, where it is longer), one value each; to whole minutes, as AWS has
        it of periods that are longer than one."""
        end_s = math.ceil(self.end_s / 60) * 60
        first_s = max(math.floor(self.start_s / 60) * 60, end_s - _DAY_S)
        by_metric: dict[tuple[str, str], list[str]] = {}
        for namespace, name, stat in asked:
            by_metric.setdefault((namespace, name), []).append(stat)
        found: dict[Asked, float] = {}
        for (namespace, name), stats in by_metric.items():
            for member, part in _calls(stats):
                for stat, value in self._statistics(namespace, name, {member: part}, first_s, end_s).items():
                    found[namespace, name, stat] = value
        return [found.get(one) for one in asked]

    def _statistics(
        self, namespace: str, name: str, asked: dict[str, list[str]], start_s: int, end_s: int
    ) -> dict[str, float]:
        """A metric's, by their names, of a time that is one period: this call's periods begin where the time does."""
        points = self._client.call(
            "cloudwatch",
            "get_metric_statistics",
            Namespace=namespace,
            MetricName=name,
            Dimensions=self._dimensions(name),
            StartTime=datetime.fromtimestamp(start_s, UTC),
            EndTime=datetime.fromtimestamp(end_s, UTC),
            Period=end_s - start_s,
            **asked,
        )["Datapoints"]
        point = points[0] if points else {}
        simple: dict[str, float] = {stat: point[stat] for stat in _SIMPLE & point.keys()}
        extended: dict[str, float] = point.get("ExtendedStatistics", {})
        return simple | extended

    def _dimensions(self, name: str) -> list[dict[str, str]]:
        names = {ENDPOINT: self._endpoint, VARIANT: self._variant}
        if name in _OF_ENDPOINT:
            del names[VARIANT]
        return dimensions_document(tuple(names.items()))


def _calls(stats: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The member that names them, and as many as one call takes."""
    if simple := [stat for stat in stats if stat in _SIMPLE]:
        yield "Statistics", simple
    extended = [stat for stat in stats if stat not in _SIMPLE]
    for begin in range(0, len(extended), _AT_ONCE):
        yield "ExtendedStatistics", extended[begin : begin + _AT_ONCE]


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
