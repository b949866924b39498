"""Sketches: exact where they say so, within their relative error elsewhere, and adding up in any order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.metrics.encoding import merged, packed, unpacked
from trimtab.metrics.sketch import RELATIVE_ERROR, Sketch, bucket_of, value_of

values = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
modest = st.one_of(st.floats(-1e12, 1e12, allow_subnormal=False), st.integers(-1000, 1000).map(float))
sketches = st.lists(modest, max_size=20).map(Sketch.of)


@given(values)
def test_the_value_told_for_a_bucket_is_within_the_relative_error_of_every_value_in_it(value: float) -> None:
    told = value_of(bucket_of(value))
    assert abs(told - value) <= RELATIVE_ERROR * abs(value) * (1 + 1e-12)
    assert RELATIVE_ERROR <= 0.01


@given(values, values)
def test_larger_values_are_in_larger_buckets(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)
    assert math.copysign(1, bucket_of(low)) == math.copysign(1, low) or low == 0


@given(st.lists(modest, min_size=1, max_size=200), st.floats(0, 1))
def test_any_quantile_is_within_one_percent_of_the_nearest_rank(given: list[float], q: float) -> None:
    exact = sorted(given)[max(0, math.ceil(q * len(given)) - 1)]
    sketch = Sketch.of(given)
    assert sketch.quantile(q) == pytest.approx(exact, rel=0.01)
    assert min(given) <= sketch.quantile(q) <= max(given)


@given(st.lists(modest, max_size=50))
def test_count_sum_minimum_and_maximum_are_exact(given: list[float]) -> None:
    sketch = Sketch.of(given)
    total = 0.0
    for value in given:
        total += value
    assert (sketch.count, sketch.sum) == (len(given), total)
    assert (sketch.min, sketch.max) == ((min(given), max(given)) if given else (0, 0))
    assert sketch.has_distribution == bool(given)


@given(sketches, sketches, sketches)
def test_merging_is_associative_and_commutative(a: Sketch, b: Sketch, c: Sketch) -> None:
    def together(*parts: Sketch) -> Sketch:
        whole = Sketch()
        for part in parts:
            whole.merge(part)
        return whole

    for other in (together(a, together(b, c)), together(c, b, a)):
        one = together(together(a, b), c)
        assert (one.count, one.min, one.max, one.buckets) == (other.count, other.min, other.max, other.buckets)
        assert one.sum == pytest.approx(other.sum, rel=1e-9, abs=1e-3)


@given(sketches, sketches)
def test_a_packed_sketch_comes_back_as_it_was_and_adds_up(a: Sketch, b: Sketch) -> None:
    assert unpacked(packed(a)) == a
    both = a.copy()
    both.merge(b)
    assert unpacked(merged([packed(a), packed(b)])).buckets == both.buckets


def test_without_values_or_without_a_distribution_there_are_no_quantiles() -> None:
    for sketch in (Sketch(), Sketch(3.0, 6.0, 1.0, 3.0)):
        with pytest.raises(ValueError, match="no quantiles"):
            sketch.quantile(0.5)


def test_a_value_can_be_counted_many_times_at_once() -> None:
    sketch = Sketch()
    sketch.add(2.5, 4)
    assert sketch == Sketch.of([2.5] * 4) == Sketch.times(2.5, 4)
    assert sketch.quantile(1.0) == 2.5
    assert Sketch.times(2.5, 0) == Sketch()


@given(st.integers(0, 10**15), st.integers(1, 10**6))
def test_equal_parts_of_a_total_add_up_to_it_to_the_last_bit(total: int, count: int) -> None:
    sketch = Sketch.evenly(total, count)
    assert (sketch.sum, sketch.count) == (total, count)
    assert sketch.min == sketch.max == sketch.quantile(0.5) == total / count
    assert Sketch.evenly(0, 0) == Sketch()
