"""Alarms that tell their policy what it can do nothing about: a simulation need not stop at each of them."""

from __future__ import annotations

from trimtab.policies.scaling import limits
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.state import State


def asks_in_vain(rules: Rules, state: State, capacity: int, at_s: float, *, is_high: bool) -> bool:
    """Whether an alarm of the only policy, which is target tracking, changes nothing, whatever its value: there is as
    much as there may be, or as little. It stays so while capacity, bounds and policies are what they are.

    `reducer.step` then makes no change, and remembers no more than the alarm's value, which other policies alone would
    ask for. (A test compares.)
    """
    if len(rules.policies) != 1 or rules.policies[0].tracking is None or rules.policies[0].tracking.is_event:
        return False
    low, high = limits.bounds(rules, state, at_s)
    return capacity >= high if is_high else capacity <= low
