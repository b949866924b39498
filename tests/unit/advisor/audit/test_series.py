"""Series of metrics: gaps stay gaps, sums stay sums; points that come in disorder are put in order."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.audit.reading.metrics import _fill
from trimtab.advisor.audit.series import Series

VALUES = st.lists(st.one_of(st.just(math.nan), st.floats(0, 1e6)), min_size=1, max_size=100)


@given(VALUES, st.integers(0, 47))
def test_summing_keeps_the_total_and_aligns_to_whole_hours(values: list[float], offset: int) -> None:
    series = Series(offset * 300.0, 300, np.array(values))
    hours = series.summed(3600)
    assert math.isclose(hours.total, series.total, rel_tol=1e-9, abs_tol=1e-9)
    assert hours.start_s % 3600 == 0
    assert hours.start_s <= series.start_s
    assert hours.is_empty == series.is_empty


@given(VALUES, st.randoms())
def test_points_out_of_order_twice_or_outside_do_no_harm(values: list[float], random: object) -> None:
    there = [(600.0 + 300 * i, value) for i, value in enumerate(values)]
    said = [point for point in there if math.isfinite(point[1])]
    said += said[:3]
    random.shuffle(said)  # type: ignore[attr-defined]
    said += [(0.0, 1.0), (1e12, 1.0)]
    series = Series(600.0, 300, np.full(len(values), np.nan))
    _fill(series, [at_s for at_s, _ in said], [value for _, value in said])
    np.testing.assert_array_equal(series.values, np.array(values))


def test_values_that_a_server_does_not_know_are_gaps() -> None:
    series = Series(0.0, 60, np.full(3, np.nan))
    _fill(series, [0.0, 60.0, 120.0], [1.0, None])
    np.testing.assert_array_equal(series.values, [1.0, math.nan, math.nan])


def test_of_nothing_there_is_no_mean() -> None:
    nothing = Series(0.0, 60, np.full(3, np.nan))
    assert (nothing.mean, nothing.peak, nothing.quantile(0.5), nothing.total) == (None, None, None, 0.0)
