"""Spare replicas for what load usually does while one starts: none where they start at once."""

from __future__ import annotations

from itertools import accumulate
from math import ceil
from operator import sub
from typing import Final

HISTORY_S: Final = 3600.0
POINT_S: Final = 5.0
NO_SPARE_S: Final = 1.0  # replicas that start quicker than this need no company
QUANTILE: Final = 0.95
_LEAST_POINTS: Final = 12  # a minute
_MANY: Final = 12  # points
_POINTS: Final = int(HISTORY_S / POINT_S)


def remember(history: tuple[float, ...], demand: float) -> tuple[float, ...]:
    """The demand of `POINT_S` seconds, in replicas, after those of the last hour."""
    return (*history[-_POINTS + 1 :], demand)


def usual_rise(history: tuple[float, ...], start_s: float, quantile: float = QUANTILE) -> float:
    """By how many replicas demand rises within `start_s`: what this part of the moments of the last hour did not exceed
    (0: none is kept)."""
    if start_s < NO_SPARE_S or len(history) < _LEAST_POINTS or not quantile:
        return 0.0
    points = max(ceil(start_s / POINT_S), 1)
    rises: list[float] = sorted(map(sub, _most_after(history, points), history[:-points]))
    if not rises:
        return 0.0
    rise = rises[min(int(quantile * len(rises)), len(rises) - 1)]
    return max(rise, 0.0) * min(start_s / (points * POINT_S), 1.0)


def _most_after(history: tuple[float, ...], points: int) -> tuple[float, ...]:
    """The largest of the `points` values after each that has so many."""
    later = history[1:]
    return _by_stretches(later, points) if points < _MANY else _by_blocks(later, points)


def _by_stretches(values: tuple[float, ...], points: int) -> tuple[float, ...]:
    """The largest of `points` values in a row: of two shorter stretches that cover them."""
    made, length = values, 1
    while length < points:
        more = min(length, points - length)
        made = tuple(map(max, made, made[more:]))
        length += more
    return made


def _by_blocks(values: tuple[float, ...], points: int) -> tuple[float, ...]:
    """The same, quicker of many: of blocks of so many, the largest up to each value and from each value on."""
    until: list[float] = []
    since: list[float] = []
    for first in range(0, len(values), points):
        block = values[first : first + points]
        until += accumulate(block, max)
        since += reversed(list(accumulate(block[::-1], max)))
    return tuple(map(max, since, until[points - 1 :]))
