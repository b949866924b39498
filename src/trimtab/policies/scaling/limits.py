"""What stands between a wish and a change: bounds, cooldowns, failed starts. AWS's rules, in numbers.

Source: Application Auto Scaling user guide, "Define cooldown periods" (target tracking, step scaling).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import Finished
from trimtab.policies.scaling.state import Change, State

FLOOR_KEPT_S: Final = 7200.0  # a forecast that no other followed is forgotten
LATE_S: Final = 2.0  # how long after its end a period is evaluated (policies.alarms)
RETRY_S: Final = 1.0  # after a failed scale-out, before load may ask again; doubled each time,
RETRY_MOST_S: Final = 30.0  # up to this


def bounds(rules: Rules, state: State, at_s: float) -> tuple[int, int]:
    """The least and the most that policies may ask for: the target's bounds, what forecasts make of them,
    and what the variant can have."""
    low, high = rules.target.min_capacity, rules.target.max_capacity
    scaling = {p.arn for p in rules.policies if p.predictive is not None and p.predictive.mode == "ForecastAndScale"}
    floors = [f for arn, f in state.floors.items() if arn in scaling and at_s - f.at_s <= FLOOR_KEPT_S]
    high = rules.capped(max((high, *(floor.max_capacity for floor in floors))))
    low = min(max((low, *(floor.capacity for floor in floors))), high)
    return low, high


def cooling_out(state: State, at_s: float) -> Change | None:
    """The scale-out that is under way, or whose cooldown runs: what it added counts as already there."""
    change = state.change
    if change is None or not change.is_out:
        return None
    return change if change.ended_s is None or at_s < state.out_until_s else None


def cooling_in_s(state: State, at_s: float) -> float:
    """For how long no scale-in is made; infinite while a change is under way."""
    if state.change is not None and state.change.ended_s is None:
        return float("inf")
    return max(0.0, state.in_until_s - at_s)


def counted(state: State, capacity: int, at_s: float) -> int:
    """The capacity that a step adds to: without what a scale-out whose cooldown runs has added.

    AWS's example: 2 were added; a step of 3 in the cooldown adds one more.
    """
    change = cooling_out(state, at_s)
    return capacity if change is None else min(change.before, capacity)


def measured(state: State, capacity: int, period_s: float, at_s: float, *, per_wanted: bool) -> int:
    """The capacity that a metric's newest point, known at `at_s`, was measured with.

    Replicas change it when they serve (`per_wanted`: when they are wanted), and it shows a period later.
    """
    change = state.change
    if change is None:
        return capacity
    since_s = change.at_s if per_wanted else change.ended_s
    if since_s is not None and at_s - since_s >= period_s + LATE_S:
        return capacity
    return min(change.served, capacity) if change.is_out else max(change.served, capacity)


def changed(state: State, at_s: float, before: int, wanted: int, out_cooldown_s: float, in_cooldown_s: float) -> State:
    """The state once capacity is told to go from `before` to `wanted`. A scale-out ends the cooldown of a scale-in."""
    last, grows = state.change, wanted > before
    served, first = before, before
    if last is not None and last.is_out == grows:
        nearer = min if grows else max
        if last.ended_s is None:
            served, first = nearer(last.served, served), nearer(last.before, first)
        elif grows and at_s < state.out_until_s:
            first = nearer(last.before, first)
        if first != before:
            out_cooldown_s = max(out_cooldown_s, last.out_cooldown_s)
            in_cooldown_s = max(in_cooldown_s, last.in_cooldown_s)
    change = Change(
        before=first,
        served=served,
        wanted=wanted,
        at_s=at_s,
        out_cooldown_s=out_cooldown_s if grows else 0.0,
        in_cooldown_s=in_cooldown_s,
    )
    return replace(
        state,
        change=change,
        out_until_s=state.out_until_s if grows else 0.0,
        in_until_s=0.0 if grows else state.in_until_s,
        lows={},  # were measured with another capacity
        told={},
    )


def finished(state: State, given: Finished) -> State:
    """The state once the change under way is over. AWS: cooldowns begin here, that of a scale-out if it succeeded."""
    change = state.change
    if change is None or change.ended_s is not None:
        return state
    over = replace(change, ended_s=given.at_s)
    if not given.ok and change.is_out:
        return replace(state, change=over, failures=state.failures + 1, failed_s=given.at_s)
    state = replace(state, change=over, failures=0 if given.ok else state.failures)
    if not given.ok and given.capacity >= change.before:
        return state  # nothing came of it
    return replace(
        state,
        out_until_s=max(state.out_until_s, given.at_s + change.out_cooldown_s) if change.is_out else 0.0,
        in_until_s=max(state.in_until_s, given.at_s + change.in_cooldown_s),
    )


def retry_in_s(state: State, at_s: float) -> float:
    """For how long load and bounds do not ask again after scale-outs that failed. A clock that was set back does not
    prolong it."""
    if not state.failures:
        return 0.0
    pause_s = min(RETRY_MOST_S, RETRY_S * 2.0 ** min(state.failures - 1, 16))
    return min(pause_s, max(0.0, state.failed_s + pause_s - at_s))
