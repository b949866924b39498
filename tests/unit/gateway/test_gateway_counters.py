"""Histograms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.gateway.counters import LatencyHistogram, upper_bound_us


@given(st.integers(0, 2**40))
def test_a_latency_is_counted_within_an_eighth_of_itself(latency_us):
    histogram = LatencyHistogram()
    histogram.add(latency_us / 1e6)
    (index,) = [i for i, count in enumerate(histogram.buckets) if count]
    if index == len(histogram.buckets) - 1:
        return  # longer than the histogram reaches
    assert histogram.sum_us - 1 <= upper_bound_us(index) <= histogram.sum_us * 1.25 + 1
    assert index == 0 or upper_bound_us(index - 1) < histogram.sum_us


def test_bounds_grow():
    bounds = [upper_bound_us(index) for index in range(100)]
    assert bounds == sorted(set(bounds))


def test_quantiles():
    histogram = LatencyHistogram()
    with pytest.raises(ValueError, match="no latency"):
        histogram.quantile_us(0.5)
    for latency_ms in range(1, 101):
        histogram.add(latency_ms / 1e3)
    assert 50_000 <= histogram.quantile_us(0.5) <= 62_500
    assert 99_000 <= histogram.quantile_us(0.99) <= 123_750
    assert histogram.quantile_us(0) <= 1250
