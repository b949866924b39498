"""The points that an alarm looks at, read from the metric store. May take long: in a thread."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.metrics.reading import of_any_unit, read, values_of
from trimtab.metrics.statistics import parse_statistic
from trimtab.metrics.store import MetricKey, MetricStore
from trimtab.policies.alarm_words import AlarmPoint
from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricStat


def points_of(watched: Watched, metrics: MetricStore, start_s: int, end_s: int, now_s: float) -> Sequence[AlarmPoint]:
    """Those of [start_s, end_s), oldest first."""
    if watched.stat is not None:
        return points_of_stat(watched.stat, metrics, start_s, end_s)
    from trimtab.metrics.queries import Window, run  # here: with it comes numpy, 10 MB

    [outcome] = run(watched.queries, metrics, Window(start_s, end_s, now_s, exact=True))
    [series] = outcome.series
    pairs = sorted(zip(series.times.tolist(), series.values.tolist(), strict=True))
    return [AlarmPoint(at_s, value) for at_s, value in pairs]


def points_of_stat(stat: MetricStat, metrics: MetricStore, start_s: int, end_s: int) -> list[AlarmPoint]:
    """Those of one statistic of one metric."""
    key = MetricKey(stat.namespace, stat.name, stat.dimensions)
    points = read(metrics, key, start_s, end_s, stat.period_s, unit=stat.unit)
    found = values_of(points if stat.unit else of_any_unit(points), parse_statistic(stat.stat))
    return [AlarmPoint(at_s, value, samples) for at_s, value, samples in found]
