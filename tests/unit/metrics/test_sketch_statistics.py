"""Statistics of sketches against numpy on the raw values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.statistics import parse_statistic

POSITIVE = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=300)
ANY = st.lists(st.floats(-1e9, 1e9).map(lambda x: 0.0 if abs(x) < 1e-6 else x), min_size=1, max_size=300)


def of(name: str, values: list[float]) -> float | None:
    return parse_statistic(name).of(Sketch.of(values))


def near(value: float | None, expected: float) -> bool:
    return value is not None and math.isclose(value, expected, rel_tol=0.01, abs_tol=1e-9)


@given(ANY, st.floats(0, 100).map(lambda p: round(p, 3)))
def test_percentiles_are_right_to_one_percent(values: list[float], percent: float) -> None:
    found = of(f"p{percent:.3f}", values)
    rank = percent / 100 * len(values)
    # Where the rank falls on a value's edge, rounding decides which of two neighbours it is.
    ranks = {math.ceil(rank - 1e-9), math.ceil(rank), math.ceil(rank + 1e-9)}
    choices = [sorted(values)[min(max(r, 1), len(values)) - 1] for r in ranks]
    assert any(near(found, choice) for choice in choices)


@given(POSITIVE, st.integers(0, 49), st.integers(51, 100))
def test_trimmed_statistics_are_right_to_one_percent(values: list[float], low: int, high: int) -> None:
    """By cutting each value into hundred parts, every percentage falls between two of them."""
    parts = np.repeat(np.sort(values), 100)
    inside = parts[low * len(values) : high * len(values)]
    span = f"({low}%:{high}%)"
    assert near(of(f"TM{span}", values), inside.mean())
    assert near(of(f"TC{span}", values), len(inside) / 100)
    assert near(of(f"TS{span}", values), inside.sum() / 100)


@given(POSITIVE)
def test_winsorized_means_are_right_to_one_percent(values: list[float]) -> None:
    low, high = np.quantile(values, [0.1, 0.9], method="inverted_cdf")
    assert near(of("WM(10%:90%)", values), np.clip(values, low, high).mean())


def test_short_forms_are_ranges_without_a_lower_bound() -> None:
    values = [float(n) for n in range(1, 101)]
    for short, long in (("tm90", "TM(:90%)"), ("wm90", "WM(0%:90%)"), ("tc90", "TC(:90%)"), ("ts90", "TS(0%:90%)")):
        assert of(short, values) == of(long, values), short
    assert of("IQM", values) == of("TM(25%:75%)", values)
    assert near(of("tm90", values), np.mean(values[:90]))


def test_absolute_bounds_are_exclusive_below_and_inclusive_above() -> None:
    values = [100.0, 150.0, 500.0, 1000.0, 2000.0]
    assert near(of("PR(:500)", values), 60.0)
    assert near(of("PR(120:)", values), 80.0)
    assert near(of("TC(120:1200)", values), 3.0)
    assert near(of("TM(120:1200)", values), 550.0)
    assert near(of("WM(120:1200)", values), (120 + 150 + 500 + 1000 + 1200) / 5)
    assert of("TM(5000:)", values) is None
    assert of("TC(5000:)", values) == 0.0
    assert of("TS(5000:)", values) == 0.0


def test_simple_statistics_are_exact() -> None:
    values = [0.1, 0.2, 1e15, -3.0]
    assert of("Sum", values) == sum(values)
    assert of("Average", values) == sum(values) / 4
    assert (of("Minimum", values), of("Maximum", values), of("SampleCount", values)) == (-3.0, 1e15, 4.0)
    assert of("TM(0%:100%)", values) == sum(values) / 4


def test_a_statistic_set_has_no_percentiles() -> None:
    pooled = Sketch(count=10.0, sum=100.0, min=1.0, max=30.0)
    assert parse_statistic("p99").of(pooled) is None
    assert parse_statistic("tm90").of(pooled) is None
    assert parse_statistic("Average").of(pooled) == 10.0


def test_nothing_has_no_statistics() -> None:
    for name in ("Average", "p50", "TM(1:2)", "Minimum", "SampleCount"):
        assert parse_statistic(name).of(Sketch()) is None


@pytest.mark.parametrize(
    "name",
    ["", "average", "p", "p101", "P99", "p-1", "p99.12345678901", "tm", "tm101", "TM(:)", "TM(90%:10%)", "TM(5:5)",
     "PR(1%:2%)", "PR(10)", "TM(-5%:)", "IQR", "p99)", "TM(1:2", "nan", "pNaN", "p1e5"],
)  # fmt: skip
def test_what_cloudwatch_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        parse_statistic(name)
