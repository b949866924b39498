"""Latencies as histograms: bounded memory, and those of runs or workloads can be added."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from trimtab.sim.load import Floats

BINS_PER_DECADE: Final = 200
LEAST_S: Final = 1e-5
DECADES: Final = 10
BINS: Final = DECADES * BINS_PER_DECADE


def histogram_of(seconds: Floats, weights: Floats | None = None) -> Floats:
    """How many there are (without `weights`: each is one) by latency, in bins that are 1.2 % wide."""
    bins = np.log10(np.maximum(seconds, LEAST_S) / LEAST_S) * BINS_PER_DECADE
    index = np.clip(bins.astype(np.int64), 0, BINS - 1)
    made: Any = np.bincount(index, weights=weights, minlength=BINS)
    return np.asarray(made, dtype=np.float64)


def part_within(histogram: Floats, seconds: float) -> float:
    """The part of the requests that surely took no longer: those of bins that end by then. 1 where there are none."""
    total = float(histogram.sum())
    ends = LEAST_S * 10 ** (np.arange(1, len(histogram) + 1) / BINS_PER_DECADE)
    return float(histogram[ends <= seconds].sum()) / total if total > 0 else 1.0


def quantile(histogram: Floats, part: float) -> float:
    """The latency that this part of the requests does not exceed; 0 where there are none."""
    sums = np.cumsum(histogram)
    if not len(sums) or sums[-1] <= 0:
        return 0.0
    index: Any = np.searchsorted(sums, sums[-1] * part)
    return float(LEAST_S * 10 ** ((int(index) + 0.5) / BINS_PER_DECADE))
