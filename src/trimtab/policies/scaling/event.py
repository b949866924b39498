"""Target tracking that decides on every change of what a variant has in hand, rather than by alarms.

How many replicas are wanted is the smaller of two figures. What is in hand / target is what the caller asked for; but
a queue that grew while replicas were too few would count as load in it. What the work that comes needs (arrivals x
work per request: Little's law) does not have that fault, but takes replicas to do one request at a time.
Three questions are asked of that: does a surge's first quarter of a second prove a new rate; do the last seconds need
more; does the whole stable window, headroom added, need less. docs/decisions/011-event-scaling.md has the reasons
and the measurements.
"""

from __future__ import annotations

from math import ceil

from msgspec import Struct
from msgspec.structs import replace

from trimtab.policies.scaling import event_patient, event_words
from trimtab.policies.scaling.event_levels import ROUNDING, Levels, anew, capped, judge
from trimtab.policies.scaling.event_more import Asked, Holds, hold, more_of
from trimtab.policies.scaling.headroom import NO_SPARE_S
from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.windows import (
    TOLD_WITHIN_S,
    Seen,
    Windows,
    begin,
    close_step,
    is_broken,
    pass_time,
    tell,
    windows_of,
)
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.scaling import ScalableTarget, TargetTracking


class EventState(Struct, frozen=True, kw_only=True):
    """What has been seen of one variant. `EventState()` is a fresh one. Bounded: some 60 steps and an hour's points."""

    seen: Seen | None = None
    levels: Levels = Levels()
    holds: Holds = Holds()


def observe(
    tracking: TargetTracking, target: ScalableTarget, state: EventState, given: Load | Tick, *, policy: str = ""
) -> tuple[EventState, Wish | None]:
    """See what came, or that time has passed; say how many replicas there should be. None: nothing is known yet.

    `policy` is the name that the wish bears. A wish equals `given.capacity` while the policy is content. ValueError
    for dimensions that `windows_of` refuses.
    """
    windows = windows_of(tracking)
    seen = _look(state.seen, given)
    if seen is None:
        return state, None
    levels, holds = state.levels, state.holds
    if state.seen is not None and seen.began_s != state.seen.began_s:  # begun anew
        levels, holds = anew(levels), Holds()
    if seen.at.at_s - seen.last_step_s >= windows.step_s - ROUNDING:
        seen = close_step(seen, windows)
        levels = judge(levels, seen, windows, tracking.target_value, _most(target, given.capacity))
    if isinstance(given, Load) and not _is_patient(windows, levels, given.capacity):
        holds = _hold(tracking, target, windows, seen, levels, holds, given)
    state = EventState(seen=seen, levels=levels, holds=holds)
    return state, _wish(tracking, target, windows, state, seen, given.capacity, policy)


def _look(seen: Seen | None, given: Load | Tick) -> Seen | None:
    if isinstance(given, Load):
        if seen is None or is_broken(seen, given.at_s):
            return begin(given)
        return tell(seen, given)
    if seen is None:
        return None
    if is_broken(seen, given.at_s):
        return begin(replace(seen.told, at_s=given.at_s))
    return pass_time(seen, given.at_s)


def _hold(
    keeps: TargetTracking,
    target: ScalableTarget,
    windows: Windows,
    seen: Seen,
    levels: Levels,
    holds: Holds,
    load: Load,
) -> Holds:
    """Look whether more is needed than there is, or than the stable window would leave when it has its way."""
    aim = keeps.target_value
    there = min(load.capacity, max(ceil(levels.stand - ROUNDING), 1))
    if load.now <= aim * there:
        return holds
    mistake_s = max(windows.panic_s, windows.stable_s if keeps.disable_scale_in else keeps.scale_in_cooldown_s)
    more = more_of(Asked(aim, there, _most(target, load.capacity), windows, mistake_s), seen, levels, load)
    return hold(holds, more, seen.at.at_s, windows) if more is not None else holds


def _most(target: ScalableTarget, capacity: int) -> int:
    return max(target.max_capacity, capacity) + 1  # one more than allowed: bounds are the reducer's, and are told


def _wish(
    tracking: TargetTracking,
    target: ScalableTarget,
    windows: Windows,
    state: EventState,
    seen: Seen,
    capacity: int,
    policy: str,
) -> Wish:
    levels, holds, may_scale_in = state.levels, state.holds, not tracking.disable_scale_in
    if _is_patient(windows, levels, capacity):
        return _patient_wish(tracking, target, windows, levels, seen, capacity, policy)
    more = holds.newest(seen.at.at_s, windows.panic_s)
    if more is not None and more.wanted > capacity:
        return _told(policy, more.wanted, (more.reason, more.arithmetic, more.inputs), may_scale_in)
    start_s = seen.told.start_s
    is_empty = _is_empty(levels, seen)
    spare = _spare(target, levels, seen)
    wanted = ceil(levels.demand + spare - ROUNDING)
    if wanted > capacity > 0 and spare:
        return _told(policy, wanted, event_words.headroom(levels.demand, spare, start_s, wanted), may_scale_in)
    # While nothing comes time is told once a second, some milliseconds sooner or later: these must not cost a second.
    slack_s = TOLD_WITHIN_S if is_empty else ROUNDING
    is_covered = seen.at.at_s - seen.began_s >= windows.stable_s - slack_s
    if is_covered and not seen.told.now > tracking.target_value * capacity:
        kept = 0 if is_empty else holds.wanted(seen.at.at_s)
        least = ceil(levels.stand + spare - ROUNDING)
        wanted = max(least, kept, target.min_capacity, 0 if is_empty else 1)
        if wanted < capacity:
            return _told(policy, wanted, event_words.less(levels.stand, spare, start_s, windows, wanted), may_scale_in)
    return _content(policy, capacity, may_scale_in)


def _is_empty(levels: Levels, seen: Seen) -> bool:
    """Nothing came for the stable window, and nothing is in hand."""
    return levels.stand <= 0 and not seen.told.now and seen.at.arrived == seen.steps[0].arrived


def _spare(target: ScalableTarget, levels: Levels, seen: Seen) -> float:
    is_asleep = target.min_capacity == 0 and _is_empty(levels, seen)
    return levels.rise if seen.told.start_s >= NO_SPARE_S and not is_asleep else 0.0


def _is_patient(windows: Windows, levels: Levels, capacity: int) -> bool:
    """Whether replicas follow what waits: callers may wait, and what that is worth in work is known."""
    return windows.patience_s > 0 and levels.work_s > 0 and capacity > 0


def _patient_wish(
    tracking: TargetTracking,
    target: ScalableTarget,
    windows: Windows,
    levels: Levels,
    seen: Seen,
    capacity: int,
    policy: str,
) -> Wish:
    """More for what waits too long, fewer when some are idle."""
    may_scale_in, load = not tracking.disable_scale_in, seen.told
    is_empty, swell = _is_empty(levels, seen), levels.swell
    found = event_patient.need(load, levels.work_s, levels.together, windows.patience_s, swell)
    queue = min(found.queue, capped((load.now + swell) / tracking.target_value, _most(target, capacity)))
    if queue > capacity:
        said = event_patient.more_words(load, levels.work_s, windows.patience_s, swell, queue)
        return _told(policy, queue, said, may_scale_in)
    kept = max(found.busy, ceil(levels.stand - ROUNDING) if windows.panic_s else 0)
    wanted = max(kept, queue, target.min_capacity, 0 if is_empty else 1)
    if wanted < capacity:
        said = event_patient.less_words(found, kept, swell, windows.panic_s, wanted)
        return _told(policy, wanted, said, may_scale_in)
    return _content(policy, capacity, may_scale_in)


def _told(policy: str, wanted: int, said: tuple[str, str, dict[str, float]], may_scale_in: bool) -> Wish:
    reason, arithmetic, inputs = said
    return Wish(
        policy=policy, capacity=wanted, reason=reason, arithmetic=arithmetic, inputs=inputs, may_scale_in=may_scale_in
    )


def _content(policy: str, capacity: int, may_scale_in: bool) -> Wish:
    return Wish(policy=policy, capacity=capacity, reason="in hand as wanted", arithmetic="", may_scale_in=may_scale_in)
