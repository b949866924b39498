"""What the windows say once a step: what a request costs, at which rate they used to come, how many replicas do."""

from __future__ import annotations

from bisect import bisect_right
from math import ceil
from typing import ClassVar, Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.policies.scaling.event_patient import need, usual_swell
from trimtab.policies.scaling.headroom import POINT_S, remember, usual_rise
from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.queueing import replicas_for
from trimtab.policies.scaling.windows import Mark, Seen, Windows, since

ROUNDING: Final = 1e-9
_RISE_EVERY_S: Final = 60.0
_SWELL_EVERY_S: Final = 1.0
_PIPELINED_S: Final = 0.004  # gateways send quick requests ahead, though a replica does one at a time
_DRAIN_S: Final = 2.0
_MANY: Final = 4  # times its length: so long a stretch for the rate of long requests
_FEW: Final = 5  # requests that must have ended before what one costs is known


class Levels(Struct, frozen=True, kw_only=True):
    """As of the newest step. Replicas are counted as a load needs them, in fractions where it can."""

    ENOUGH: ClassVar[int] = 20  # requests that have ended in a short stretch, for its own cost per request to be taken

    rate_before: float = 0.5  # requests/s over the stable window, without the panic window
    work_s: float = 0.0  # replica-seconds per request; 0: not known
    stay_s: float = 0.0  # seconds in hand per request
    together: int = 1  # requests that a replica was seen to have at a time, without a queue
    demand: float = 0.0  # replicas that the panic window asks for
    stands: tuple[float, ...] = ()  # replicas that would have done, for each step of the stable window
    stand: float = 0.0  # the most of these
    history: tuple[float, ...] = ()  # demand over the last hour
    point_s: float = 0.0  # when its newest point was set
    rise: float = 0.0  # by which demand usually rises while a replica starts
    rise_s: float = 0.0  # when that was reckoned
    swell: float = 0.0  # by how many requests more than on average come while a replica starts, now and then
    swell_s: float = 0.0  # when that was reckoned


def anew(levels: Levels) -> Levels:
    """After a time that nobody saw: what requests cost and how demand rises is still known."""
    return replace(
        levels,
        rate_before=Levels().rate_before,
        demand=0.0,
        stands=(),
        stand=0.0,
        point_s=0.0,
        rise_s=0.0,
        swell=0.0,
        swell_s=0.0,
    )


def judge(levels: Levels, seen: Seen, windows: Windows, aim: float, most: int) -> Levels:
    """The levels at the end of a step. `aim` is the target's value; nothing is said of more than `most` replicas."""
    now, oldest = seen.at, seen.steps[0]
    work_s, stay_s = levels.work_s, levels.stay_s
    ended = now.ended - oldest.ended
    if ended >= _FEW:
        work_s, stay_s = (now.work_s - oldest.work_s) / ended, (now.held_s - oldest.held_s) / ended
    together = max(levels.together, _together(seen.told))
    demand, stand = _demand(seen, windows, aim, work_s, together, most)
    if windows.patience_s and work_s > 0:
        stand = float(need(seen.told, work_s, together, windows.patience_s).busy)
    stands = (*levels.stands, stand)[-_remembered(seen, windows) :]
    history, point_s, rise, rise_s = levels.history, levels.point_s, levels.rise, levels.rise_s
    if now.at_s - point_s >= POINT_S - ROUNDING:
        history, point_s = remember(history, demand), now.at_s
    if now.at_s - rise_s >= _RISE_EVERY_S:
        rise, rise_s = usual_rise(history, seen.told.start_s, windows.headroom), now.at_s
    swell, swell_s = levels.swell, levels.swell_s
    if windows.patience_s and now.at_s - swell_s >= _SWELL_EVERY_S - ROUNDING:
        swell, swell_s = usual_swell(seen.steps, seen.told.start_s, windows.headroom), now.at_s
    return Levels(
        rate_before=_rate_before(seen, windows),
        work_s=work_s,
        stay_s=stay_s,
        together=together,
        demand=demand,
        stands=stands,
        stand=max(stands),
        history=history,
        point_s=point_s,
        rise=rise,
        rise_s=rise_s,
        swell=swell,
        swell_s=swell_s,
    )


def _remembered(seen: Seen, windows: Windows) -> int:
    """So many steps' stands count: the stable window's, of which there are fewer than could be where time is told once
    a second only. Where callers may wait, the panic window's."""
    marks = seen.steps
    if windows.patience_s:
        begin_s = seen.at.at_s - windows.panic_s
        return max(1, len(marks) - bisect_right(marks, begin_s + ROUNDING, key=_at_s))
    return max(1, len(marks) - 1)


def _at_s(mark: Mark) -> float:
    return mark.at_s


def _demand(seen: Seen, windows: Windows, aim: float, work_s: float, together: int, most: int) -> tuple[float, float]:
    """Replicas that the panic window asks for, and those that would have done in it."""
    now, start = seen.at, since(seen.steps, seen.at.at_s - windows.panic_s)
    span_s = max(now.at_s - start.at_s, ROUNDING)
    in_hand = max(now.held_s - start.held_s, 0.0) / span_s / aim
    if work_s <= 0 or (1 < aim <= together and work_s > _PIPELINED_S):
        return in_hand, in_hand  # replicas do as many at once as the target lets them have
    long_s = min(max(windows.panic_s, _MANY * work_s), windows.stable_s)
    came = _rate(since(seen.steps, now.at_s - long_s), now) * work_s
    # While a backlog is worked off, how busy replicas are says nothing of what comes; else it is the less noisy figure.
    busy = min(came, (now.work_s - start.work_s) / span_s)
    demand = min(in_hand, float(replicas_for(coarse(came), aim, most)))
    backlog = seen.told.waiting * work_s / drain_s(seen.told)
    return demand, max(demand, float(replicas_for(coarse(busy + backlog), aim, most)))


def _together(load: Load) -> int:
    return (load.now - load.waiting) // load.ready if load.ready >= load.capacity > 0 else 1


def drain_s(load: Load) -> float:
    """A backlog is to be gone so soon: once replicas have started, where that takes long."""
    return max(_DRAIN_S, load.start_s)


def busy_of(seen: Seen, levels: Levels, windows: Windows) -> tuple[float, float]:
    """Replicas' worth of work that came in the panic window, and the work per request that this was reckoned with."""
    now, start = seen.at, since(seen.steps, seen.at.at_s - windows.panic_s)
    ended, work_s = now.ended - start.ended, now.work_s - start.work_s
    each_s = levels.work_s
    if ended >= Levels.ENOUGH:
        each_s = work_s / ended
    elif each_s > 0:
        each_s = max(each_s, work_s / (ended + 1))  # they have become longer than those that ended before
    return _rate(start, now) * each_s, each_s


def capped(in_hand_by_target: float, needed: int) -> int:
    """Replicas for what is in hand, but not more than the work that comes needs."""
    return min(ceil(in_hand_by_target - ROUNDING), needed)


def coarse(busy: float) -> float:
    """Rounded up, so that answers can be remembered."""
    return ceil(busy * 64 - ROUNDING) / 64


def _rate_before(seen: Seen, windows: Windows) -> float:
    oldest = seen.steps[0]
    until = since(seen.steps, seen.at.at_s - windows.panic_s)
    if until is oldest and len(seen.steps) > 1:
        until = seen.steps[-2]
    return (until.arrived - oldest.arrived + 0.5) / (until.at_s - oldest.at_s + 1.0)


def _rate(start: Mark, now: Mark) -> float:
    span_s = now.at_s - start.at_s
    return (now.arrived - start.arrived) / span_s if span_s > 0 else 0.0
