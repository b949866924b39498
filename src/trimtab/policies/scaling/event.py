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

from trimtab.policies.scaling import event_words
from trimtab.policies.scaling.event_levels import ROUNDING, Levels, anew, busy_of, capped, coarse, judge
from trimtab.policies.scaling.headroom import NO_SPARE_S
from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.queueing import replicas_for
from trimtab.policies.scaling.surge import surge_of
from trimtab.policies.scaling.windows import (
    Seen,
    Windows,
    begin,
    close_step,
    is_broken,
    pass_time,
    since,
    tell,
    windows_of,
)
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.scaling import ScalableTarget, TargetTracking

_PANIC_FACTOR = 2.0  # so far beyond the target one second of it is enough to act (Knative's threshold: 200 %)


class Held(Struct, frozen=True):
    """More replicas, for a reason that was seen at `at_s`: they stay for the stable window."""

    wanted: int
    at_s: float
    reason: str
    arithmetic: str
    inputs: dict[str, float]


class EventState(Struct, frozen=True, kw_only=True):
    """What has been seen of one variant. `EventState()` is a fresh one. Bounded: some 60 steps and an hour's points."""

    seen: Seen | None = None
    levels: Levels = Levels()
    held: Held | None = None


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
    levels, held = state.levels, state.held
    if state.seen is not None and seen.began_s != state.seen.began_s:  # begun anew
        levels, held = anew(levels), None
    if seen.at.at_s - seen.last_step_s >= windows.step_s - ROUNDING:
        seen = close_step(seen, windows)
        levels = judge(levels, seen, windows, tracking.target_value, _most(target, given.capacity))
        if held is not None and held.at_s < seen.at.at_s - windows.stable_s:
            held = None
    if isinstance(given, Load) and given.now > tracking.target_value * given.capacity:
        held = _larger(held, _more(tracking.target_value, target, seen, levels, windows, given))
    state = EventState(seen=seen, levels=levels, held=held)
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


def _most(target: ScalableTarget, capacity: int) -> int:
    return max(target.max_capacity, capacity) + 1  # one more than allowed: bounds are the reducer's, and are told


def _larger(held: Held | None, new: Held | None) -> Held | None:
    if new is None or (held is not None and held.wanted > new.wanted):
        return held
    if held is not None and held.wanted == new.wanted:
        return replace(held, at_s=new.at_s)
    return new


def _more(aim: float, target: ScalableTarget, seen: Seen, levels: Levels, windows: Windows, load: Load) -> Held | None:
    """Whether more replicas are needed at once; there is more in hand than the target allows."""
    if load.capacity == 0:
        return Held(1, seen.at.at_s, *event_words.waking(load))
    most = _most(target, load.capacity)
    found = [_by_surge(aim, most, seen, levels, load), _by_hand(aim, most, seen, levels, windows, load)]
    return max((held for held in found if held is not None), key=lambda held: held.wanted, default=None)


def _by_surge(aim: float, most: int, seen: Seen, levels: Levels, load: Load) -> Held | None:
    if levels.work_s <= 0:
        return None  # what a request costs is not known
    surge = surge_of(seen, levels.rate_before)
    if surge is None:
        return None
    work_s = surge.work_s / surge.ended if surge.ended >= levels.ENOUGH else levels.work_s
    busy = surge.rate * work_s
    needed = replicas_for(coarse(busy), aim, most)
    in_hand = max(float(load.now), surge.rate * levels.stay_s)
    wanted = capped(in_hand / aim, needed)
    if wanted <= load.capacity:
        return None
    return Held(wanted, seen.at.at_s, *event_words.surge(surge, work_s, in_hand, aim, needed, wanted))


def _by_hand(aim: float, most: int, seen: Seen, levels: Levels, windows: Windows, load: Load) -> Held | None:
    """By what was in hand over the panic window, or, when it is far too much, over the last second."""
    if seen.at.at_s - seen.began_s < windows.step_s:
        return None
    lengths_s = [windows.panic_s] if levels.work_s > 0 else []
    start = since(seen.fine, seen.at.at_s - min(windows.step_s, 1.0))
    if _mean(seen, start.at_s, start.held_s) > _PANIC_FACTOR * aim * load.capacity or not lengths_s:
        lengths_s.append(0.0)
    best: Held | None = None
    for length_s in lengths_s:
        from_mark = since(seen.steps, seen.at.at_s - length_s) if length_s else start
        in_hand = _mean(seen, from_mark.at_s, from_mark.held_s)
        if in_hand <= aim * load.capacity:
            continue
        busy, work_s = busy_of(seen, levels, windows)
        drain_s = max(2.0, load.start_s)  # a backlog is to be gone so soon after more replicas are there
        busy_and_backlog = busy + load.waiting * work_s / drain_s
        needed = replicas_for(coarse(busy_and_backlog), aim, most) if work_s > 0 else most
        wanted = capped(in_hand / aim, needed)
        if wanted > load.capacity and (best is None or wanted > best.wanted):
            span_s = seen.at.at_s - from_mark.at_s
            said = event_words.in_hand(
                in_hand, span_s, aim, busy, work_s, load.waiting, drain_s, needed if work_s > 0 else None, wanted
            )
            best = Held(wanted, seen.at.at_s, *said)
    return best


def _mean(seen: Seen, from_s: float, held_s: float) -> float:
    span_s = seen.at.at_s - from_s
    return max(seen.at.held_s - held_s, 0.0) / span_s if span_s > 0 else 0.0


def _wish(
    tracking: TargetTracking,
    target: ScalableTarget,
    windows: Windows,
    state: EventState,
    seen: Seen,
    capacity: int,
    policy: str,
) -> Wish:
    levels, held, may_scale_in = state.levels, state.held, not tracking.disable_scale_in
    if held is not None and held.wanted > capacity and seen.at.at_s - held.at_s <= windows.panic_s:
        return _told(policy, held.wanted, (held.reason, held.arithmetic, held.inputs), may_scale_in)
    start_s = seen.told.start_s
    spare = levels.rise if start_s >= NO_SPARE_S else 0.0
    wanted = ceil(levels.demand + spare - ROUNDING)
    if wanted > capacity > 0 and spare:
        return _told(policy, wanted, event_words.headroom(levels.demand, spare, start_s, wanted), may_scale_in)
    if (
        seen.at.at_s - seen.began_s >= windows.stable_s - ROUNDING
        and not seen.told.now > tracking.target_value * capacity
    ):
        wanted = max(_least(seen, levels, spare), held.wanted if held is not None else 0, target.min_capacity)
        if wanted < capacity:
            return _told(policy, wanted, event_words.less(levels.stand, spare, start_s, windows, wanted), may_scale_in)
    return _content(policy, capacity, may_scale_in)


def _least(seen: Seen, levels: Levels, spare: float) -> int:
    """The fewest replicas that the stable window justifies; none only where nothing came and nothing is in hand."""
    if levels.stand <= 0 and not seen.told.now and seen.at.arrived == seen.steps[0].arrived:
        return 0
    return max(ceil(levels.stand + spare - ROUNDING), 1)


def _told(policy: str, wanted: int, said: tuple[str, str, dict[str, float]], may_scale_in: bool) -> Wish:
    reason, arithmetic, inputs = said
    return Wish(
        policy=policy, capacity=wanted, reason=reason, arithmetic=arithmetic, inputs=inputs, may_scale_in=may_scale_in
    )


def _content(policy: str, capacity: int, may_scale_in: bool) -> Wish:
    return Wish(policy=policy, capacity=capacity, reason="in hand as wanted", arithmetic="", may_scale_in=may_scale_in)
