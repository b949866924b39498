"""Which state a metric alarm is in, from its points. Pure: the same points give the same state, in any order.

Source: CloudWatch user guide, "Evaluating an alarm" and "Configuring how CloudWatch alarms treat missing data" (the
tables there are tests). docs/decisions/006 says what was chosen where the guide is silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor
from typing import Final

from msgspec import Struct

from trimtab.policies import alarm_words
from trimtab.policies.alarm_words import COMPARISONS, AlarmPoint, Seen
from trimtab.resources.alarm import AlarmState, Watched

EXTRA_PERIODS: Final = 2  # looked at beyond N, for real points (the guide's example: 5 for 3)
LATE_S: Final = 2  # how long after its end a period may still get points


class Verdict(Struct, frozen=True):
    """The state that an alarm's points mean, and why, in AWS's words."""

    state: AlarmState
    reason: str
    reason_data: str  # JSON


def step_s(watched: Watched) -> int:
    """How often an alarm is evaluated (AWS: each minute, 10 s for periods of 10, 20, 30 s; trimtab: 1 s for 1 s)."""
    return 60 if watched.period_s >= 60 else 10 if watched.period_s >= 10 else 1


def window_of(watched: Watched, now_s: float) -> tuple[int, int]:
    """Start and end of what is looked at now: whole periods up to the last step that is over (a sliding window)."""
    step = step_s(watched)
    end_s = floor((now_s - LATE_S) / step) * step
    return end_s - (watched.evaluation_periods + EXTRA_PERIODS) * watched.period_s, end_s


def judge(
    watched: Watched, points: Iterable[AlarmPoint], now_s: float, *, percentile: float | None = None
) -> Verdict | None:
    """The state that `points` mean at `now_s`; None: the state it is in stays.

    Points outside of the window do not count. `percentile` (0 to 1): that of the statistic, when it is one.
    """
    found = _decided(watched, points, now_s, percentile)
    if found is None:
        return None
    seen, state, filled_as = found
    return Verdict(state, alarm_words.reason(seen, state, filled_as), alarm_words.reason_data(seen, filled_as))


def state_of(watched: Watched, points: Iterable[AlarmPoint], now_s: float) -> AlarmState | None:
    """As `judge`, without the words."""
    found = _decided(watched, points, now_s, None)
    return None if found is None else found[1]


def _decided(
    watched: Watched, points: Iterable[AlarmPoint], now_s: float, percentile: float | None
) -> tuple[Seen, AlarmState, str] | None:
    """What was seen, the state that it means, and what missing points were taken for."""
    start_s, end_s = window_of(watched, now_s)
    by_slot = {(p.start_s - start_s) // watched.period_s: p for p in points if start_s <= p.start_s < end_s}
    real = [by_slot[slot] for slot in sorted(by_slot, reverse=True)][: watched.evaluation_periods]  # newest first
    if watched.low_samples == "ignore" and percentile is not None and real and _too_few(real, percentile):
        return None
    oldest_periods = watched.evaluation_periods + EXTRA_PERIODS - min(by_slot) if by_slot else 0
    compare, _ = COMPARISONS[watched.comparison]
    breaching = [point for point in real if compare(point.value, watched.threshold)]
    decided = _state(watched, len(real), len(breaching), oldest_periods)
    return None if decided is None else (Seen(watched, real, breaching, end_s, now_s), *decided)


def _state(watched: Watched, real: int, breaching: int, oldest_periods: int) -> tuple[AlarmState, str] | None:
    """The state, and what missing points were taken for, if they were. `oldest_periods`: how old the oldest is."""
    needed, holes = watched.needed, watched.evaluation_periods - real
    if holes and watched.treat_missing == "breaching":
        return _over(breaching + holes >= needed), "Breaching"
    if holes and watched.treat_missing == "notBreaching":
        return _over(breaching >= needed), "NonBreaching"
    if breaching >= needed:
        return AlarmState.ALARM, ""
    if not holes or breaching < real:
        return AlarmState.OK, ""
    if watched.treat_missing == "ignore":
        return None
    # AWS: the oldest point breaches, is at least M periods old, and nothing newer is good. That is an ALARM, too.
    return (AlarmState.ALARM if real and oldest_periods >= needed else AlarmState.INSUFFICIENT_DATA), ""


def _over(alarm: bool) -> AlarmState:
    return AlarmState.ALARM if alarm else AlarmState.OK


def _too_few(points: Sequence[AlarmPoint], percentile: float) -> bool:
    """AWS: fewer samples than 10 / (1 - p), or than 10 / p for percentiles below 0.5, say nothing."""
    rest = min(percentile, 1 - percentile)
    return rest <= 0 or sum(point.samples for point in points) < 10 / rest
