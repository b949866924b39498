"""Points of a metric as AWS's reading operations see them: the start of a request rounded, periods counted from there.

Source: API reference, GetMetricData, StartTime. Periods count from the rounded start, as AWS's examples show; a point
whose period begins before the end is given whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from trimtab.errors import Invalid
from trimtab.metrics.statistics import Statistic
from trimtab.metrics.store import MetricKey, MetricStore, Point

FINE_PERIODS_S: Final = (1, 5, 10, 20, 30)
_DAY_S: Final = 86_400


def check_period(period_s: int, where: str) -> None:
    """Raises Invalid unless AWS has this period."""
    if period_s not in FINE_PERIODS_S and (period_s < 60 or period_s % 60):
        raise Invalid(f"The parameter {where} must be 1, 5, 10, 20, 30, or a multiple of 60; it is {period_s}.")


def rounded_start(start_s: float, period_s: int, now_s: float) -> int:
    """The start in whole seconds: up to 15 days ago to a minute (or a shorter period), 63 days to 5 min, else 1 h."""
    age_s = now_s - start_s
    step_s = min(period_s, 60)
    if age_s > 63 * _DAY_S:
        step_s = 3600
    elif age_s > 15 * _DAY_S:
        step_s = 300
    return math.floor(start_s / step_s) * step_s


def read(
    store: MetricStore, key: MetricKey, start_s: int, end_s: float, period_s: int, *, unit: str = ""
) -> list[Point]:
    """Points with data, oldest first, of periods that begin at `start_s`, `start_s + period_s`, ... before `end_s`.

    Points of different units are not merged.
    """
    end = start_s + max(0, math.ceil((end_s - start_s) / period_s)) * period_s
    offset_s = start_s % period_s
    if end <= start_s or not offset_s:
        return store.query(key, start_s, end, period_s, unit=unit) if end > start_s else []
    found: dict[tuple[int, str], Point] = {}
    for point in store.query(key, start_s, end, math.gcd(period_s, offset_s), unit=unit):
        begins_s = max(start_s, point.start_s - (point.start_s - offset_s) % period_s)
        merged = found.get((begins_s, point.unit))
        if merged is None:
            found[(begins_s, point.unit)] = Point(begins_s, point.sketch.copy(), point.unit)
        else:
            merged.sketch.merge(point.sketch)
    return [found[place] for place in sorted(found)]


def of_any_unit(points: Sequence[Point]) -> list[Point]:
    """Points of one time merged, whatever their unit (AWS: without Unit, data of all units)."""
    found: list[Point] = []
    for point in points:  # oldest first
        if found and found[-1].start_s == point.start_s:
            merged = found[-1].sketch.copy()
            merged.merge(point.sketch)
            found[-1] = Point(point.start_s, merged, "None")
        else:
            found.append(point)
    return found


def values_of(points: Sequence[Point], statistic: Statistic) -> list[tuple[int, float, float]]:
    """Start, value and sample count of the points that have the statistic."""
    found = []
    for point in points:
        value = statistic.of(point.sketch)
        if value is not None and math.isfinite(value):
            found.append((point.start_s, value, point.sketch.count))
    return found
