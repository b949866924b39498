"""What expressions are made of (scalars, series, arrays of series) and the operators between them.

Source: CloudWatch user guide, "Using math expressions": where only one of two series has a value, the other counts as
0; a point whose computation divides by zero is dropped.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from trimtab.errors import Invalid
from trimtab.metrics.math.series import Series, merged_times, placed, series_of

Value: TypeAlias = float | Series | tuple[Series, ...]

TYPES: Final = {float: "a scalar", Series: "a time series", tuple: "an array of time series"}
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": np.divide,
    "^": np.power,
}
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "AND": lambda left, right: (left != 0) & (right != 0),
    "OR": lambda left, right: (left != 0) | (right != 0),
}


def named(value: Value) -> str:
    """The type of a value, for messages."""
    return TYPES[type(value)]


def combined(sign: str, left: Value, right: Value) -> Value:
    """`left sign right`. Raises Invalid for two arrays."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        raise Invalid(f"The operator {sign} does not work between two arrays of time series.")
    if isinstance(left, tuple):
        return tuple(_pair(sign, one, right) for one in left)  # type: ignore[arg-type, misc] # series with non-array: a series
    if isinstance(right, tuple):
        return tuple(_pair(sign, left, one) for one in right)  # type: ignore[misc]
    return _pair(sign, left, right)


def _pair(sign: str, left: float | Series, right: float | Series) -> float | Series:
    both = [side for side in (left, right) if isinstance(side, Series)]
    if not both:
        return float(applied(sign, _at(left, None), _at(right, None)))
    times = merged_times(both)
    values = applied(sign, _at(left, times), _at(right, times))
    shape = both[0]
    return series_of(times, values, min(one.period_s for one in both), shape.label, shape.properties)


def _at(side: float | Series, times: Any) -> Any:
    return placed(side, times, 0.0) if isinstance(side, Series) else np.float64(side)


def applied(sign: str, left: Any, right: Any) -> Any:
    """The operator on numbers or arrays of them; NaN where a side is, or where there is no result."""
    with np.errstate(all="ignore"):
        if sign in _ARITHMETIC:
            return _ARITHMETIC[sign](left, right)
        unknown = np.isnan(left) | np.isnan(right)
        return np.where(unknown, math.nan, _COMPARISONS[sign](left, right))


def negated(value: Value) -> Value:
    """`-value`."""
    if isinstance(value, tuple):
        return tuple(one.with_values(-one.values) for one in value)
    return value.with_values(-value.values) if isinstance(value, Series) else -value


def mapped(function: Callable[[Any], Any], value: Value) -> Value:
    """`function` of every number in `value`."""
    with np.errstate(all="ignore"):
        if isinstance(value, tuple):
            return tuple(one.with_values(function(one.values)) for one in value)
        if isinstance(value, Series):
            return value.with_values(function(value.values))
        return float(function(np.float64(value)))
