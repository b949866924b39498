"""The functions of metric math. Source: CloudWatch user guide, "Functions supported for metric math".

Where the guide is silent: MIN, MAX and STDDEV of an array look at the series that have a value at that time; STDDEV is
that of a population; a scalar of an empty series is 0 for SUM and DATAPOINT_COUNT and has no value otherwise, and a
point that is computed from it is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import numpy as np

from trimtab.errors import Invalid
from trimtab.metrics.math.series import Grid, Series, Times, merged_times, placed, series_of
from trimtab.metrics.math.values import Value, mapped, named

_MAX_FILLED = 100_800  # AWS: points of one answer; more are not made of nothing


def only_series(name: str, value: Value) -> Series:
    """`value`, which must be a time series. Raises Invalid."""
    if not isinstance(value, Series):
        raise Invalid(f"{name} takes a time series, not {named(value)}.")
    return value


def only_array(name: str, value: Value) -> tuple[Series, ...]:
    """`value`, which must be an array of time series. Raises Invalid."""
    if not isinstance(value, tuple):
        raise Invalid(f"{name} takes an array of time series, not {named(value)}.")
    return value


def only_scalar(name: str, value: Value) -> float:
    """`value`, which must be a number. Raises Invalid."""
    if not isinstance(value, float):
        raise Invalid(f"{name} takes a scalar there, not {named(value)}.")
    return value


def full_times(grid: Grid, period_s: int) -> Times:
    """Every time of the range. Raises Invalid when there are more than an answer may have."""
    if grid.size(period_s) > _MAX_FILLED:
        raise Invalid(
            f"A series without gaps over this range would have {grid.size(period_s)} points, more than {_MAX_FILLED}."
            " Ask for a shorter range or a longer period."
        )
    return grid.times(period_s)


# over a series: a number; over an array: a series of what the array has at each time


def _stacked(array: tuple[Series, ...], missing: float) -> tuple[Times, Any]:
    times = merged_times(array)
    return times, np.stack([placed(one, times, missing) for one in array])


_OVER_TIME: Final[Mapping[str, Callable[[Any], Any]]] = {
    "SUM": np.sum,
    "AVG": np.mean,
    "MIN": np.min,
    "MAX": np.max,
    "STDDEV": np.std,
    "DATAPOINT_COUNT": np.size,
}
_OVER_ARRAY: Final[Mapping[str, tuple[Callable[..., Any], float]]] = {  # and what a missing value counts as
    "SUM": (np.sum, 0.0),
    "AVG": (np.mean, 0.0),
    "MIN": (np.nanmin, math.nan),
    "MAX": (np.nanmax, math.nan),
    "STDDEV": (np.nanstd, math.nan),
    "DATAPOINT_COUNT": (lambda values, axis: np.sum(~np.isnan(values), axis=axis), math.nan),
}
AGGREGATES: Final = frozenset(_OVER_TIME)


def aggregate(name: str, value: Value) -> Value:
    """SUM, AVG, MIN, MAX, STDDEV, DATAPOINT_COUNT."""
    if isinstance(value, Series):
        if not len(value):
            return 0.0 if name in ("SUM", "DATAPOINT_COUNT") else math.nan
        return float(_OVER_TIME[name](value.values))
    array = only_array(name, value)
    if not array:
        return series_of((), (), 60)
    function, missing = _OVER_ARRAY[name]
    times, values = _stacked(array, missing)
    found = function(values, axis=0) if len(times) else ()
    return series_of(times, found, min(one.period_s for one in array), array[0].label)


def running_sum(one: Series) -> Series:
    """Each value with all before it."""
    return one.with_values(np.cumsum(one.values))


def difference(one: Series) -> Series:
    """Each value less the one before it."""
    return one.with_values(np.diff(one.values), one.times[1:])


def difference_in_time(one: Series) -> Series:
    """Seconds since the value before."""
    return one.with_values(np.diff(one.times).astype(np.float64), one.times[1:])


def rate(one: Series) -> Series:
    """Change per second since the value before."""
    return one.with_values(np.diff(one.values) / np.diff(one.times), one.times[1:])


OF_EACH: Final[Mapping[str, Callable[[Series], Series]]] = {
    "RUNNING_SUM": running_sum,
    "DIFF": difference,
    "DIFF_TIME": difference_in_time,
    "RATE": rate,
}
OF_EACH_VALUE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "LOG": np.log,
    "LOG10": np.log10,
}


def each(name: str, value: Value) -> Value:
    """A function of series on one, or on each of an array."""
    if name in OF_EACH_VALUE:
        return mapped(OF_EACH_VALUE[name], value)
    function = OF_EACH[name]
    if isinstance(value, tuple):
        return tuple(function(one) for one in value)
    return function(only_series(name, value))


# holes


def fill(grid: Grid, value: Value, filler: Value | str) -> Value:
    """FILL: `filler` is a number, a series, REPEAT or LINEAR."""
    if isinstance(value, tuple):
        return tuple(_filled(grid, one, filler) for one in value)
    return _filled(grid, only_series("FILL", value), filler)


def _filled(grid: Grid, one: Series, filler: Value | str) -> Series:
    times = full_times(grid, one.period_s)
    if len(one):
        times = np.union1d(times, one.times)
    values = placed(one, times, math.nan)
    missing = np.isnan(values)
    if filler == "REPEAT":
        last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(times))))
        values = np.where(last >= 0, values[np.maximum(last, 0)], math.nan)
    elif filler == "LINEAR":
        if len(one):
            values = np.interp(times, one.times, one.values, left=math.nan, right=math.nan)
    elif isinstance(filler, Series):
        wanted = np.union1d(times, filler.times)
        values = np.where(missing, placed(filler, wanted, math.nan)[np.searchsorted(wanted, times)], values)
    elif isinstance(filler, float):
        values = np.where(missing, filler, values)
    else:
        raise Invalid("FILL takes a scalar, a time series, REPEAT or LINEAR as its second argument.")
    return one.with_values(values, times)


def time_series(grid: Grid, period_s: int, value: float) -> Series:
    """TIME_SERIES: the same value at every time."""
    return series_of(full_times(grid, period_s), value, period_s)


# conditions


def conditional(condition: Value, then: Value, otherwise: Value | None) -> Value:
    """IF: see "Using IF expressions" for what becomes of missing values."""
    for part in (condition, then, otherwise):
        if isinstance(part, tuple):
            raise Invalid("IF takes scalars and time series, not an array of time series.")
    if isinstance(condition, Series):
        return _chosen(condition, cast("float | Series", then), cast("float | Series | None", otherwise))
    if condition != 0 and not math.isnan(cast(float, condition)):
        return then
    if otherwise is not None:
        return otherwise
    return series_of((), (), then.period_s if isinstance(then, Series) else 60)


def _chosen(condition: Series, then: float | Series, otherwise: float | Series | None) -> Series:
    return condition.with_values(
        np.where(
            condition.values != 0,
            _values_at(then, condition.times, 0.0),
            math.nan if otherwise is None else _values_at(otherwise, condition.times, math.nan),
        )
    )


def _values_at(part: float | Series, times: Times, missing: float) -> Any:
    if not isinstance(part, Series):
        return part
    every = np.union1d(times, part.times)
    return placed(part, every, missing)[np.searchsorted(every, times)]


# arrays


def sort(array: tuple[Series, ...], by: str, order: str, limit: float | None) -> tuple[Series, ...]:
    """SORT: by AVG, MIN, MAX or SUM; series without data come last."""
    if by not in ("AVG", "MIN", "MAX", "SUM"):
        raise Invalid(f"SORT sorts by AVG, MIN, MAX or SUM, not by {by}.")
    if order not in ("ASC", "DESC"):
        raise Invalid(f"The order of SORT is ASC or DESC, not {order}.")
    sign = -1.0 if order == "DESC" else 1.0

    def place(one: Series) -> tuple[bool, float]:
        return not len(one), sign * float(_OVER_TIME[by](one.values)) if len(one) else 0.0

    chosen = tuple(sorted(array, key=place))
    return chosen if limit is None else chosen[: whole("SORT", limit)]


def cut(array: tuple[Series, ...], start: float, end: float | None) -> tuple[Series, ...]:
    """SLICE: from `start` (from 0) up to, not including, `end`."""
    return array[whole("SLICE", start) : None if end is None else whole("SLICE", end)]


def pick(name: str, array: tuple[Series, ...]) -> Series:
    """FIRST, LAST."""
    if not array:
        return series_of((), (), 60)
    return array[0] if name == "FIRST" else array[-1]


def whole(name: str, value: float) -> int:
    """`value` as a count or a place. Raises Invalid when it is negative or not whole."""
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise Invalid(f"{name} takes whole numbers from 0, not {value}.")
    return min(int(value), 1_000_000_000)


# of the clock


def _months(times: Times) -> Any:
    return times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


OF_TIME: Final[Mapping[str, Callable[[Times], Any]]] = {  # all in UTC
    "MINUTE": lambda times: times // 60 % 60,
    "HOUR": lambda times: times // 3600 % 24,
    "DAY": lambda times: (times // 86_400 + 3) % 7 + 1,  # Monday is 1; the epoch was a Thursday
    "DATE": lambda times: (
        (times.astype("datetime64[s]").astype("datetime64[D]") - _months(times).astype("datetime64[M]")).astype(
            np.int64
        )
        + 1
    ),
    "MONTH": lambda times: _months(times) % 12 + 1,
    "YEAR": lambda times: _months(times) // 12 + 1970,
    "EPOCH": lambda times: times,
}


def of_time(grid: Grid, name: str, one: Series) -> Series:
    """MINUTE, HOUR, DAY, DATE, MONTH, YEAR, EPOCH: of every time in the range."""
    times = full_times(grid, one.period_s)
    return series_of(times, OF_TIME[name](times), one.period_s, one.label)
