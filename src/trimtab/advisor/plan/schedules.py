"""Scheduled scaling of candidates: the endpoint's own actions, for as many replicas as do the same work."""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.policies.scaling.inputs import Scheduled
from trimtab.policies.scaling.reducer import moved
from trimtab.policies.scaling.schedule import next_after
from trimtab.resources.scaling import ScalableTarget, ScheduledAction
from trimtab.sim.load import Floats
from trimtab.sim.world import Serving

_MOST: Final = 50_000  # times that a guess looks at


def times(actions: tuple[ScheduledAction, ...], factor: float) -> tuple[ScheduledAction, ...]:
    """The actions with so many times the capacity, rounded up; none stays none."""

    def scaled(capacity: int | None) -> int | None:
        return None if capacity is None else ceil(capacity * factor - 1e-9)

    return tuple(
        replace(one, min_capacity=scaled(one.min_capacity), max_capacity=scaled(one.max_capacity)) for one in actions
    )


def least_ever(serving: Serving) -> int:
    """As few replicas as bounds ever leave."""
    bounds = [one for action in serving.schedule for one in (action.min_capacity, action.max_capacity)]
    return min([serving.min_replicas, *(one for one in bounds if one is not None)])


def bounds_over(serving: Serving, start_s: float, bin_s: float, bins: int) -> tuple[Floats, Floats]:
    """The least and the most replicas that its bounds allow in each bin (at its end)."""
    low, high = serving.min_replicas, serving.max_replicas
    target = ScalableTarget(endpoint="", variant="", min_capacity=low, max_capacity=high, created_s=start_s)
    least, most = np.full(bins, float(low)), np.full(bins, float(high))
    due = [(at_s, action) for action in serving.schedule if (at_s := next_after(action, start_s)) is not None]
    for _ in range(_MOST):
        if not due:
            break
        at_s, action = min(due, key=lambda one: one[0])
        first = int((at_s - start_s) / bin_s)
        if first >= bins:
            break
        due.remove((at_s, action))
        if (again_s := next_after(action, at_s)) is not None:
            due.append((again_s, action))
        target = replace(target, min_capacity=low, max_capacity=high)
        low, high = moved(target, _given(action))
        least[first:], most[first:] = low, high
    return least, most


def _given(action: ScheduledAction) -> Scheduled:
    return Scheduled(
        at_s=0.0, capacity=0, action=action.name, min_capacity=action.min_capacity, max_capacity=action.max_capacity
    )


def held(least: Floats, most: Floats, initial: int) -> Floats:
    """Replicas without a policy: as they are, until bounds move them."""
    made, now = np.empty(len(least)), float(initial)
    for index in range(len(least)):
        now = min(max(now, least[index]), most[index])
        made[index] = now
    return made
