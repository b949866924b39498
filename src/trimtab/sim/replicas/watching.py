"""A station run past the moments at which alarms are looked at, in machine code, as long as none has anything to tell.

`rows` holds one alarm each (`SimAlarm.row`), `marks` the sampler's sums at the last sample's end (`Sampler`). What is
done at each moment is what `Sampler.cut` and `SimAlarm` do, in the same order.
"""

from __future__ import annotations

from math import floor, inf
from typing import Final

from trimtab.policies.alarms import LATE_S
from trimtab.sim.kernels.books import ARRIVED, BUSY_S, HAND, HAND_S, LEAST_HAND, MOST_HAND, NOW, QUEUED_S, READY, Books
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.kernels.queue import DONE, run
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints

FIRED: Final = 20  # an alarm's policy is to be told: FIRES of its row

IN_HAND: Final = 0  # metrics
INVOCATIONS: Final = 1
BACKLOG: Final = 2
STATISTICS: Final = ("Sum", "Average", "SampleCount", "Maximum", "Minimum")

# Of a row.
STEP_S: Final = 0
METRIC: Final = 1
STATISTIC: Final = 2
IS_ABOVE: Final = 3  # breaching values are above the threshold, rather than below
THRESHOLD: Final = 4
PERIODS: Final = 5
END_S: Final = 6
DUE_S: Final = 7
TOLD_UNTIL_S: Final = 8
TOLD_MINUTE: Final = 9
IS_ALARM: Final = 10
VALUE: Final = 11
IN_A_ROW: Final = 12
SEEN: Final = 13
FIRES: Final = 14
NEWEST: Final = 15  # start, total, count, least, most of the newest bucket,
BEFORE: Final = 20  # and of the one before it
IN_VAIN: Final = 25  # whoever is told can do nothing about it (policies.scaling.vain): the run does not stop for that
COLUMNS: Final = 26

SINCE_S: Final = 0  # of `marks`
MARKS: Final = 5
REPEAT_S: Final = 60


@compiled
def watched(
    b: Books, at_s: Floats, takes: Floats, which: Ints, until_s: float, is_last: bool, rows: Floats, marks: Floats
) -> int:
    """As `queue.run`, or FIRED. At `until_s` itself no alarm is looked at."""
    step_s = inf
    for number in range(len(rows)):
        step_s = min(step_s, rows[number, STEP_S])
        rows[number, FIRES] = 0.0
    while True:
        start_s = b.f[NOW] // step_s * step_s
        next_s = start_s + LATE_S if b.f[NOW] < start_s + LATE_S else start_s + step_s
        if next_s >= until_s:
            return run(b, at_s, takes, which, until_s, is_last)
        why = run(b, at_s, takes, which, next_s, is_last)
        if why != DONE:
            return why
        _sample(b, rows, marks)
        fired = False
        for number in range(len(rows)):
            if _fires(rows[number], b.f[NOW]) and rows[number, IN_VAIN] == 0:
                rows[number, FIRES] = 1.0
                fired = True
        if fired:
            return FIRED


@compiled
def _sample(b: Books, rows: Floats, marks: Floats) -> None:
    """See `Sampler.cut`."""
    since_s, hand_s, arrived = marks[SINCE_S], marks[1], marks[4]
    span_s = b.f[NOW] - since_s
    if span_s <= 0:
        return
    each = 1 / max(1, b.i[READY])
    least, most = float(b.i[LEAST_HAND]), float(b.i[MOST_HAND])
    in_hand = (b.f[HAND_S] - hand_s) / span_s
    came = b.i[ARRIVED] - arrived
    marks[1], marks[2], marks[3], marks[4] = b.f[HAND_S], b.f[QUEUED_S], b.f[BUSY_S], b.i[ARRIVED]
    marks[SINCE_S] = b.f[NOW]
    b.i[LEAST_HAND] = b.i[MOST_HAND] = b.i[HAND]
    for number in range(len(rows)):
        row = rows[number]
        if row[METRIC] == IN_HAND:
            _take(row, since_s, (least + most) / 2 * each, span_s, least * each, most * each)
        elif row[METRIC] == INVOCATIONS:
            _take(row, since_s, each, came, each, each)
        else:
            value = in_hand / max(1, b.i[READY])
            _take(row, since_s, value, span_s, value, value)


@compiled
def _take(row: Floats, at_s: float, mean: float, count: float, least: float, most: float) -> None:
    """See `SimAlarm.take`."""
    if not 0 <= at_s - row[NEWEST] < row[STEP_S]:
        for place in range(5):
            row[BEFORE + place] = row[NEWEST + place]
        row[NEWEST] = floor(at_s / row[STEP_S]) * row[STEP_S]
        row[NEWEST + 1] = row[NEWEST + 2] = 0.0
        row[NEWEST + 3], row[NEWEST + 4] = inf, -inf
    row[NEWEST + 1] += mean * count
    row[NEWEST + 2] += count
    row[NEWEST + 3] = min(row[NEWEST + 3], least)
    row[NEWEST + 4] = max(row[NEWEST + 4], most)


@compiled
def _fires(row: Floats, now_s: float) -> bool:
    """See `SimAlarm.fires`."""
    if now_s < row[DUE_S] and (now_s < row[TOLD_UNTIL_S] or row[IS_ALARM] == 0):
        return False
    end_s = floor((now_s - LATE_S) / row[STEP_S]) * row[STEP_S]
    fires = False
    if end_s != row[END_S]:
        row[END_S], row[DUE_S] = end_s, end_s + row[STEP_S] + LATE_S
        before = row[IS_ALARM]
        _evaluate(row, end_s)
        fires = row[IS_ALARM] == 1 and before == 0
    minute = floor(now_s / REPEAT_S)
    if fires or (row[IS_ALARM] == 1 and minute != row[TOLD_MINUTE]):
        row[TOLD_MINUTE], row[TOLD_UNTIL_S] = minute, (minute + 1) * REPEAT_S
        return True
    return False


@compiled
def _evaluate(row: Floats, end_s: float) -> None:
    """See `SimAlarm`: of alarms whose points have no gaps."""
    start_s = end_s - row[STEP_S]
    place = -1
    if row[NEWEST] == start_s:
        place = NEWEST
    elif row[BEFORE] == start_s:
        place = BEFORE
    if place >= 0:
        total, count, statistic = row[place + 1], row[place + 2], row[STATISTIC]
        if statistic == 0:
            row[VALUE] = total
        elif statistic == 1:
            row[VALUE] = total / count if count else 0.0
        elif statistic == 2:
            row[VALUE] = count
        elif statistic == 3:
            row[VALUE] = row[place + 4]
        else:
            row[VALUE] = row[place + 3]
        row[SEEN] += 1
        above, below = row[VALUE] > row[THRESHOLD], row[VALUE] < row[THRESHOLD]
        row[IN_A_ROW] = row[IN_A_ROW] + 1 if (above if row[IS_ABOVE] == 1 else below) else 0
    row[IS_ALARM] = 1.0 if row[IN_A_ROW] >= row[PERIODS] else 0.0
