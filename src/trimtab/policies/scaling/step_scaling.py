"""Step scaling: which step an alarm's value falls into, and the capacity that it makes.

Source: Application Auto Scaling user guide, "Step scaling policies"; API reference, StepAdjustment and
StepScalingPolicyConfiguration.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf, isfinite
from typing import Final

from trimtab.errors import Invalid
from trimtab.resources.scaling import StepAdjustment, StepScaling

CHANGE: Final = "ChangeInCapacity"
PERCENT: Final = "PercentChangeInCapacity"
EXACT: Final = "ExactCapacity"
MOST_STEPS: Final = 20  # AWS


def matching(step: StepScaling, beyond: float, *, is_high: bool) -> StepAdjustment | None:
    """The step for a value `beyond` (below: negative) the alarm's threshold; None: it falls into none.

    Above the threshold the lower bound belongs to a step, the upper one does not; below it is the other way round. A
    value that is the threshold may so belong to two: the alarm's side (`is_high`) decides.
    """
    found = [one for one in step.steps if _holds(one, beyond)]
    if not found:
        return None
    return max(found, key=_lower) if is_high else min(found, key=_lower)


def _holds(one: StepAdjustment, beyond: float) -> bool:
    lower, upper = _lower(one), _upper(one)
    from_below = beyond >= lower if lower >= 0 else beyond > lower
    return from_below and (beyond < upper if upper > 0 else beyond <= upper)


def _lower(one: StepAdjustment) -> float:
    return -inf if one.lower is None else one.lower


def _upper(one: StepAdjustment) -> float:
    return inf if one.upper is None else one.upper


def capacity(step: StepScaling, adjustment: int, current: int) -> int:
    """What an adjustment makes of `current` replicas, before bounds."""
    if step.adjustment_type == EXACT:
        return adjustment
    change = adjustment if step.adjustment_type == CHANGE else percent(current, adjustment)
    if step.adjustment_type == PERCENT and adjustment and abs(change) < step.min_magnitude:
        change = step.min_magnitude if adjustment > 0 else -step.min_magnitude
    return max(0, current + change)


def percent(current: int, adjustment: int) -> int:
    """Percent of `current`, rounded as AWS does: towards zero, but at least by one if it is anything at all."""
    hundredths = current * adjustment
    whole = abs(hundredths) // 100 or (1 if hundredths else 0)
    return whole if hundredths > 0 else -whole


def arithmetic(step: StepScaling, adjustment: int, current: int) -> str:
    """The same, in figures."""
    result = capacity(step, adjustment, current)
    if step.adjustment_type == EXACT:
        return f"{result}"
    if step.adjustment_type == CHANGE:
        return f"{current} {'-' if adjustment < 0 else '+'} {abs(adjustment)} = {result}"
    return f"{current} {'-' if adjustment < 0 else '+'} {abs(adjustment)} % = {result}"


def check(step: StepScaling) -> None:
    """Raise Invalid for a policy that AWS refuses."""
    if step.adjustment_type not in (CHANGE, PERCENT, EXACT):
        raise Invalid(f"AdjustmentType is {CHANGE}, {PERCENT} or {EXACT}, not {step.adjustment_type!r}.")
    if step.aggregation not in ("Average", "Minimum", "Maximum"):
        raise Invalid(f"MetricAggregationType is Average, Minimum or Maximum, not {step.aggregation!r}.")
    if not isfinite(step.cooldown_s) or step.cooldown_s < 0:
        raise Invalid(f"Cooldown is {step.cooldown_s:g} s; it is 0 or more.")
    if step.min_magnitude < 0 or (step.min_magnitude and step.adjustment_type != PERCENT):
        raise Invalid(f"MinAdjustmentMagnitude is 0 or more, and goes with {PERCENT} only.")
    if not 1 <= len(step.steps) <= MOST_STEPS:
        raise Invalid(f"A step scaling policy has 1 to {MOST_STEPS} step adjustments, not {len(step.steps)}.")
    if step.adjustment_type == EXACT and any(one.adjustment < 0 for one in step.steps):
        raise Invalid(f"ScalingAdjustment is 0 or more with {EXACT}.")
    _check_intervals(step.steps)


def _check_intervals(steps: tuple[StepAdjustment, ...]) -> None:
    for one in steps:
        if one.lower is None and one.upper is None:
            raise Invalid("A step adjustment has MetricIntervalLowerBound, MetricIntervalUpperBound or both.")
        if not all(isfinite(bound) for bound in (one.lower, one.upper) if bound is not None):
            raise Invalid("The bounds of a step adjustment are numbers.")
        if _lower(one) >= _upper(one):
            raise Invalid(
                f"MetricIntervalLowerBound {one.lower:g} is not below MetricIntervalUpperBound {one.upper:g}."
            )
    for side in ("Lower", "Upper"):
        ends = sum((one.lower if side == "Lower" else one.upper) is None for one in steps)
        if ends > 1:
            raise Invalid(f"{ends} step adjustments have no MetricInterval{side}Bound; at most one may.")
    ordered = sorted(steps, key=_lower)
    for one, following in pairwise(ordered):
        if _upper(one) != _lower(following):
            what = "overlap" if _upper(one) > _lower(following) else "leave a gap"
            raise Invalid(f"Step adjustments {what} between {_words(one)} and {_words(following)}.")
    if _lower(ordered[0]) < 0 and ordered[0].lower is not None:
        raise Invalid("With a negative MetricIntervalLowerBound, one step adjustment has no MetricIntervalLowerBound.")
    if _upper(ordered[-1]) > 0 and ordered[-1].upper is not None:
        raise Invalid("With a positive MetricIntervalUpperBound, one step adjustment has no MetricIntervalUpperBound.")


def _words(one: StepAdjustment) -> str:
    lower = "-infinity" if one.lower is None else f"{one.lower:g}"
    return f"[{lower}, {'infinity' if one.upper is None else f'{one.upper:g}'}]"
