"""Step scaling: which step a value falls into, AWS's rounding, and the policies that AWS refuses."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.policies.scaling import step_scaling
from trimtab.policies.scaling.step_scaling import CHANGE, EXACT, PERCENT
from trimtab.resources.scaling import StepAdjustment, StepScaling


def of(*steps: tuple[float | None, float | None, int], kind: str = CHANGE, **more) -> StepScaling:
    return StepScaling(adjustment_type=kind, steps=tuple(StepAdjustment(*step) for step in steps), **more)


# The example of AWS's guide: threshold 50.
GUIDE = of((None, -20, -30), (-20, -10, -10), (-10, 10, 0), (10, 20, 10), (20, None, 30), kind=PERCENT)


@pytest.mark.parametrize(
    ("value", "adjustment"),
    [
        (25, -30),
        (30, -30),
        (30.1, -10),
        (40, -10),
        (40.1, 0),
        (50, 0),
        (59.9, 0),
        (60, 10),
        (69.9, 10),
        (70, 30),
        (500, 30),
    ],
)
def test_above_the_threshold_lower_bounds_belong_to_a_step_below_it_upper_ones(value, adjustment):
    found = step_scaling.matching(GUIDE, value - 50, is_high=value >= 50)
    assert found is not None
    assert found.adjustment == adjustment


def test_at_the_threshold_the_alarms_side_decides():
    both = of((None, 0, -1), (0, None, 1))
    assert step_scaling.matching(both, 0.0, is_high=True).adjustment == 1
    assert step_scaling.matching(both, 0.0, is_high=False).adjustment == -1


def test_a_value_on_the_other_side_is_in_no_step():
    assert step_scaling.matching(of((0, None, 1)), -0.1, is_high=True) is None


@pytest.mark.parametrize(
    ("current", "percent", "change"),
    [
        (10, 25, 2),  # 2.5
        (12, 56, 6),  # 6.72: AWS's example of rounding down
        (1, 50, 1),  # 0.5
        (1, -50, -1),  # -0.5
        (9, -74, -6),  # -6.66: AWS's example of rounding towards zero
        (10, 100, 10),
        (3, 0, 0),
        (0, 50, 0),
    ],
)
def test_percent_is_rounded_towards_zero_but_at_least_to_one(current, percent, change):
    assert step_scaling.percent(current, percent) == change


@pytest.mark.parametrize(
    ("current", "percent", "magnitude", "wanted"),
    [(4, 25, 2, 6), (20, 25, 2, 25), (10, -10, 3, 7), (2, -50, 5, 0), (0, 50, 2, 2), (5, 0, 2, 5)],
)
def test_the_least_step_is_at_least_that(current, percent, magnitude, wanted):
    assert (
        step_scaling.capacity(of((0, None, percent), kind=PERCENT, min_magnitude=magnitude), percent, current) == wanted
    )


def test_change_adds_and_exact_sets():
    assert step_scaling.capacity(of((0, None, -3)), -3, 2) == 0
    assert step_scaling.capacity(of((0, None, 3)), 3, 2) == 5
    assert step_scaling.capacity(of((0, None, 3), kind=EXACT), 3, 7) == 3


@given(st.integers(0, 500), st.integers(0, 500), st.integers(-200, 500))
def test_more_replicas_never_become_fewer_by_the_same_percent(one, two, percent):
    assume(percent >= -100)
    less, more = sorted((one, two))
    policy = of((0, None, percent), kind=PERCENT)
    assert step_scaling.capacity(policy, percent, less) <= step_scaling.capacity(policy, percent, more)


@pytest.mark.parametrize(
    "good",
    [
        of((0, None, 1)),
        of((None, 0, -1)),
        GUIDE,
        of((5, 10, 1), (10, None, 2)),
        of((0, None, 0), kind=EXACT, aggregation="Maximum", cooldown_s=0.0),
    ],
)
def test_what_AWS_takes_is_taken(good):
    step_scaling.check(good)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (of((0, None, 1), kind="Sometimes"), "AdjustmentType"),
        (of((0, None, 1), aggregation="p99"), "MetricAggregationType"),
        (of((0, None, 1), cooldown_s=-1.0), "Cooldown"),
        (of((0, None, 1), cooldown_s=float("nan")), "Cooldown"),
        (of((0, None, 1), min_magnitude=2), "MinAdjustmentMagnitude"),
        (of((0, None, 1), kind=PERCENT, min_magnitude=-2), "MinAdjustmentMagnitude"),
        (of(), "1 to 20"),
        (of(*[(n, n + 1, 1) for n in range(20)], (20, None, 1)), "1 to 20"),
        (of((0, None, -1), kind=EXACT), "ScalingAdjustment"),
        (of((None, None, 1)), "or both"),
        (of((5, 5, 1)), "not below"),
        (of((float("nan"), None, 1)), "numbers"),
        (of((0, 10, 1), (20, None, 2)), "leave a gap"),
        (of((0, 10, 1), (5, None, 2)), "overlap"),
        (of((0, None, 1), (10, None, 2)), "no MetricIntervalUpperBound"),
        (of((None, 0, 1), (None, -5, 2)), "no MetricIntervalLowerBound"),
        (of((0, 10, 1)), "positive MetricIntervalUpperBound"),
        (of((-10, 0, 1)), "negative MetricIntervalLowerBound"),
    ],
)
def test_what_AWS_refuses_is_refused_with_a_reason(bad, says):
    with pytest.raises(Invalid, match=says):
        step_scaling.check(bad)


BOUNDS = st.lists(st.integers(-50, 50), unique=True, min_size=1, max_size=8).map(sorted)


@given(BOUNDS, st.floats(-100, 100), st.booleans())
def test_every_value_falls_into_exactly_one_step_of_a_whole_policy(bounds, beyond, is_high):
    ends = [None, *bounds, None]
    policy = of(*[(lower, upper, n) for n, (lower, upper) in enumerate(pairwise(ends))])
    step_scaling.check(policy)
    found = step_scaling.matching(policy, beyond, is_high=is_high)
    assert found is not None
    assert found.lower is None or found.lower <= beyond
    assert found.upper is None or beyond <= found.upper
