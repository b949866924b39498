"""Metrics, metric queries and what alarms watch, as AWS's calls take and give them."""

from __future__ import annotations

from typing import Any, Final

from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricQuery, MetricStat

SIMPLE: Final = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
"""AWS's Statistic; any other, such as p99, is an ExtendedStatistic."""


def dimensions_document(dimensions: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Dimensions."""
    return [{"Name": name, "Value": value} for name, value in dimensions]


def metric_document(stat: MetricStat) -> dict[str, Any]:
    """Which metric it is of."""
    return {
        "Namespace": stat.namespace,
        "MetricName": stat.name,
        "Dimensions": dimensions_document(stat.dimensions),
    }


def statistic_document(stat: MetricStat) -> dict[str, Any]:
    """What is to be seen of the metric, in calls that know a single one."""
    made = {"Statistic" if stat.stat in SIMPLE else "ExtendedStatistic": stat.stat}
    return made | ({"Unit": stat.unit} if stat.unit else {})


def query_document(query: MetricQuery, *, periods: bool = True) -> dict[str, Any]:
    """A MetricDataQuery. Scaling policies take none with `periods`: theirs is a minute."""
    made: dict[str, Any] = {"Id": query.id, "ReturnData": query.return_data}
    if query.label is not None:
        made["Label"] = query.label
    if query.stat is None:
        made["Expression"] = query.expression
    else:
        stat = query.stat
        seen = {"Period": stat.period_s if periods else None, "Stat": stat.stat, "Unit": stat.unit or None}
        given = {name: value for name, value in seen.items() if value is not None}
        made["MetricStat"] = {"Metric": metric_document(stat)} | given
    if periods and query.period_s:
        made["Period"] = query.period_s
    return made


def watched_document(watched: Watched) -> dict[str, Any]:
    """What PutMetricAlarm takes, beside a name and what the alarm does."""
    made: dict[str, Any] = {
        "ComparisonOperator": watched.comparison,
        "Threshold": watched.threshold,
        "EvaluationPeriods": watched.evaluation_periods,
        "TreatMissingData": watched.treat_missing,
    }
    if watched.datapoints_to_alarm is not None:
        made["DatapointsToAlarm"] = watched.datapoints_to_alarm
    stat = watched.stat
    if stat is None:
        return made | {"Metrics": [query_document(one) for one in watched.queries]}
    if stat.stat not in SIMPLE:
        made["EvaluateLowSampleCountPercentile"] = watched.low_samples
    return made | metric_document(stat) | statistic_document(stat) | {"Period": stat.period_s}
