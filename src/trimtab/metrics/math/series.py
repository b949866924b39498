"""Time series, as metric math sees them: values at some multiples of a period."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Times: TypeAlias = npt.NDArray[np.int64]
Values: TypeAlias = npt.NDArray[np.float64]


class Grid(Protocol):
    """The times that a series over a request's range could have values at."""

    def size(self, period_s: int) -> int:
        """How many times there are at this period."""
        ...

    def times(self, period_s: int) -> Times:
        """All of them."""
        ...


class Series(Struct, frozen=True, eq=False):
    """Values by time, oldest first. Every value is finite."""

    times: Times  # seconds since the epoch, the starts of periods
    values: Values
    period_s: int
    label: str = ""
    is_metric: bool = False  # fetched, not computed: PERIOD() takes nothing else
    properties: tuple[tuple[str, str], ...] = ()  # for ${PROP('...')} in labels

    def __len__(self) -> int:
        return len(self.times)

    def with_values(self, values: Values, times: Times | None = None) -> Series:
        """A computed series in its place; what is not finite is dropped."""
        return series_of(self.times if times is None else times, values, self.period_s, self.label, self.properties)


def series_of(
    times: Times | Sequence[int],
    values: Any,
    period_s: int,
    label: str = "",
    properties: tuple[tuple[str, str], ...] = (),
) -> Series:
    """A computed series of `times` (ascending) and `values`; what is not finite is dropped."""
    at = np.asarray(times, dtype=np.int64)
    found = np.broadcast_to(np.asarray(values, dtype=np.float64), at.shape)
    kept = np.isfinite(found)
    if not kept.all():
        at, found = at[kept], found[kept]
    return Series(at, np.array(found, dtype=np.float64), period_s, label, False, properties)


def merged_times(series: Sequence[Series]) -> Times:
    """Every time at which one of them has a value."""
    if not series:
        return np.empty(0, dtype=np.int64)
    first = series[0].times
    if all(len(one) == len(first) and np.array_equal(one.times, first) for one in series[1:]):
        return first
    return np.unique(np.concatenate([one.times for one in series]))


def placed(series: Series, times: Times, missing: float) -> Values:
    """The values of `series` at `times` (which hold all of its own), `missing` where it has none."""
    if len(times) == len(series.times):
        return series.values
    values = np.full(times.shape, missing, dtype=np.float64)
    values[np.searchsorted(times, series.times)] = series.values
    return values
