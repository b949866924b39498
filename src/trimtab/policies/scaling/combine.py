"""What the other policies say when one wants fewer replicas.

AWS: target-tracking policies scale in only when all of them that may scale in are ready to; the largest capacity wins.
A step policy's scale-in is not held up by them (user guide, "Multiple target tracking scaling policies").
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from trimtab.policies.scaling import limits, tracking
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import Input
from trimtab.policies.scaling.state import State
from trimtab.resources.scaling import ScalingPolicy, TargetTracking

REPEAT_S: Final = 75.0  # an alarm is told again each minute; what was told longer ago holds no more
FRESH_S: Final = 5.0  # event policies say what they wish once a second at least


class Others(Struct, frozen=True):
    """The least capacity that all agree to, and why no less. `flaps`: less would be undone at once."""

    capacity: int
    why: str = ""
    flaps: bool = False


def others(rules: Rules, state: State, given: Input, asking: str, capacity: int, *, by_step: bool = False) -> Others:
    """What all but `asking` make of the wish for `capacity`, less than there is. `by_step`: a step policy's wish."""
    agreed = Others(capacity)
    for policy in rules.policies:
        if policy.tracking is None or policy.arn == asking:
            continue
        if policy.tracking.is_event:
            said = _event(policy, policy.tracking, state, given, by_step=by_step)
        elif policy.tracking.disable_scale_in or by_step:
            continue
        else:
            said = _alarms(policy, policy.tracking, state, given)
        if said is not None and said.capacity > agreed.capacity:
            agreed = said
    return agreed


def _event(policy: ScalingPolicy, keeps: TargetTracking, state: State, given: Input, *, by_step: bool) -> Others | None:
    """An event policy that may not scale in is heard, too: what it wishes it would get back at once."""
    last = state.wishes.get(policy.arn)
    if last is not None and given.at_s - last.at_s <= FRESH_S:
        why = f"policy {policy.name} wants {last.wish.capacity}"
        return Others(last.wish.capacity, why, True)
    if keeps.disable_scale_in or by_step:
        return None
    return Others(given.capacity, f"policy {policy.name} has no data")


def _alarms(policy: ScalingPolicy, keeps: TargetTracking, state: State, given: Input) -> Others:
    low = state.lows.get(policy.arn)
    if low is None or given.at_s - low.at_s > REPEAT_S:
        return Others(given.capacity, f"policy {policy.name} is not ready to scale in")
    base = limits.measured(
        state,
        given.capacity,
        tracking.period_s(keeps),
        low.at_s,
        per_wanted=tracking.is_per_wanted(keeps),
    )
    figures = tracking.arithmetic(base, low.value, keeps.target_value)
    return Others(
        tracking.capacity(base, low.value, keeps.target_value),
        f"policy {policy.name} wants {figures}",
        True,
    )
