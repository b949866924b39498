"""Latencies in bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.sim.latency import histogram_of, quantile


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=200))
def test_quantiles_are_within_their_bins(values: list[float]) -> None:
    histogram = histogram_of(np.array(values))
    assert histogram.sum() == len(values)
    for part in (0.5, 0.9):
        true = float(np.quantile(values, part, method="inverted_cdf"))
        assert quantile(histogram, part) == pytest.approx(true, rel=0.02)


def test_nothing_has_no_latency() -> None:
    assert quantile(histogram_of(np.empty(0)), 0.99) == 0.0
