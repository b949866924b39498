"""Forecast of an endpoint's load from its own history, and the capacity to have ready for it.

The load of a coming moment is the load at the same time of the days before: recent days count for more than older
ones, the same day of the week for eight times as much as others. That is multiplied by how the last day compared with
what would have been said of it (half of it, on a logarithmic scale: a level that has moved may move back), and for the
next hours by how the last hour did. docs/decisions/011 has the error on real traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, gcd, isfinite
from typing import Final

from trimtab.resources.scaling import Predictive

HISTORY_S: Final = 14 * 86400.0  # AWS: forecasts are made of up to 14 days
LEAST_S: Final = 86400.0  # AWS: and of 24 hours at least
_DAY_S: Final = 86400
_HOUR_S: Final = 3600
_LEAST_STEP_S: Final = 60
_WEEKDAY_WEIGHT: Final = 8.0
_OLDER: Final = 0.9  # weight of a day, against the one after it
_FEW: Final = 5  # days: their mean; of more the median, which odd days do not move
_LEVEL: Final = 0.5
_LEVEL_BOUNDS: Final = (0.5, 2.0)
_RECENT_S: Final = 3600.0
_RECENT_BOUNDS: Final = (1 / 3, 3.0)
_FORGOTTEN_S: Final = 3 * 3600.0  # after so long the last hour says 1/e of what it does now

Points = Sequence[tuple[float, float]]


def forecast(points: Points, now_s: float, horizon_s: float) -> list[tuple[float, float]]:
    """(start, load) of each step from the one in which `now_s` lies until `horizon_s` later.

    `points` are (start, load) in steps of equal length that divide an hour (five minutes, an hour), in any order; steps
    may be missing, and are not in the forecast where they are on every day. Only the 14 days before `now_s` count.
    Empty where they reach over less than 24 h. ValueError for points at irregular times.
    """
    recent = sorted((at_s, load) for at_s, load in points if now_s - HISTORY_S <= at_s < now_s and isfinite(load))
    if not recent:
        return []
    step_s = _step_of(recent)
    if recent[-1][0] + step_s - recent[0][0] < LEAST_S:
        return []
    base_s = recent[0][0]
    loads = {round((at_s - base_s) / step_s): max(load, 0.0) for at_s, load in recent}
    now = int((now_s - base_s) // step_s)
    loads.pop(now, None)  # not over yet
    day = _DAY_S // step_s
    level = _bounded(_ratio(loads, range(now - day, now), day, now - day), _LEVEL_BOUNDS) ** _LEVEL
    hour = range(now - max(int(_RECENT_S // step_s), 1), now)
    lately = _bounded(_ratio(loads, hour, day, now) / level, _RECENT_BOUNDS) ** _LEVEL
    made = []
    for ahead in range(int(horizon_s // step_s) + 1):
        usual = _usual(loads, now + ahead, day, now)
        if usual is not None:
            fades = exp(-ahead * step_s / _FORGOTTEN_S)
            made.append((base_s + (now + ahead) * step_s, usual * level * lately**fades))
    return made


def wanted(policy: Predictive, forecast: Points, now_s: float, *, max_capacity: int) -> float | None:
    """Replicas to have now, before rounding up and the target's lower bound: for the most load that is forecast from
    now until `policy.buffer_s` later (AWS's SchedulingBufferTime).

    Not above `max_capacity`, unless the policy says IncreaseMaxCapacity: then what is forecast (its buffer above
    that is for the maximum, not for the forecast). None: nothing to decide (ForecastOnly, or nothing is forecast).
    """
    if policy.mode != "ForecastAndScale":
        return None
    length_s = _length(forecast)
    soon = [load for at_s, load in forecast if now_s - length_s < at_s <= now_s + policy.buffer_s]
    if not soon:
        return None
    replicas = max(soon) / policy.target_value
    return replicas if policy.max_capacity_breach == "IncreaseMaxCapacity" else min(replicas, float(max_capacity))


def _length(points: Points) -> float:
    gaps_s = (later[0] - earlier[0] for earlier, later in pairwise(points))
    return min((gap_s for gap_s in gaps_s if gap_s > 0), default=3600.0)


def _step_of(points: Points) -> int:
    """The longest step that divides a day and that all points are multiples of apart: gaps are left out of it."""
    step_s = gcd(_DAY_S, _HOUR_S, *(round(later[0] - earlier[0]) for earlier, later in pairwise(points)))
    if step_s < _LEAST_STEP_S:
        raise ValueError(f"a forecast is made of points at regular times, a minute apart at least, not of {step_s} s")
    return step_s


def _usual(loads: Mapping[int, float], step: int, day: int, before: int) -> float | None:
    """What the days say of a step, as far as they were known `before` another one."""
    seen = [
        (loads[step - ago * day], _OLDER**ago * (_WEEKDAY_WEIGHT if ago % 7 == 0 else 1.0))
        for ago in range(1, 17)
        if step - ago * day < before and step - ago * day in loads
    ]
    if not seen:
        return None
    total = sum(weight for _, weight in seen)
    if len(seen) <= _FEW:
        return sum(load * weight for load, weight in seen) / total
    reached = 0.0
    for load, weight in sorted(seen):
        reached += weight
        if reached >= total / 2:
            return load
    return None  # not reached: the weights add up to their total


def _ratio(loads: Mapping[int, float], steps: range, day: int, before: int) -> float:
    """How what came in `steps` compares with what would have been said of them; 1 where that is not known."""
    came = said = 0.0
    for step in steps:
        usual = _usual(loads, step, day, before)
        if step in loads and usual is not None:
            came += loads[step]
            said += usual
    return came / said if said > 0 else 1.0


def _bounded(ratio: float, bounds: tuple[float, float]) -> float:
    return min(max(ratio, bounds[0]), bounds[1])
