"""What is learned of idle environments, in machine code: `policies.serverless.keep_warm`, to the last bit.

A test compares the two on random idle times. Each place (of `LEARNED_APART`) learns by itself.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import Final, NamedTuple

import numpy as np

from trimtab.policies.serverless.keep_warm import (
    LEAST_SPREAD,
    LEAST_SPREAD_S,
    LEAST_WEIGHT,
    MOST_SPREAD,
    ONLY_SPREAD,
    PACE_APART,
    PACE_MEMORY,
    REMEMBERED,
    SHORT_S,
    STANDARD_SCALE_S,
    STANDARD_SHAPE,
    STANDARD_WEIGHT,
    TIMES,
)
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints

_STANDARD: Final = len(TIMES)
_EDGES: Final = _STANDARD + 2 * REMEMBERED
SPANS: Final = _EDGES + 1
"""So many spans a window has at most."""


class Learned(NamedTuple):
    """The last idle times and the paces before them, by place: as they came (a ring), and in order."""

    came_s: Floats
    came_pace: Floats
    ordered_s: Floats
    ordered_pace: Floats
    pace: Floats
    known: Ints  # how many
    head: Ints  # of the ring: the oldest one
    edges: Floats  # scratch: three rows for the edges of a window as they are made, three for them in order


def learned(places: int) -> Learned:
    """Nothing yet."""
    times = (places, REMEMBERED)
    return Learned(
        came_s=np.zeros(times), came_pace=np.zeros(times), ordered_s=np.zeros(times), ordered_pace=np.zeros(times),
        pace=np.zeros(places), known=np.zeros(places, dtype=np.int64), head=np.zeros(places, dtype=np.int64),
        edges=np.zeros((6, _EDGES)),
    )  # fmt: skip


@compiled
def add(of: Learned, place: int, idle_s: float) -> None:
    """`IdleTimes.add` of one that is SHORT_S or more."""
    count, head = of.known[place], of.head[place]
    if count == 0:
        of.pace[place] = log(idle_s)
    pace = of.pace[place]
    of.pace[place] += PACE_MEMORY * (log(idle_s) - of.pace[place])
    times, paces = of.ordered_s[place], of.ordered_pace[place]
    if count == REMEMBERED:
        gone_s, gone_pace = of.came_s[place, head], of.came_pace[place, head]
        at = 0
        while times[at] != gone_s or paces[at] != gone_pace:
            at += 1
        count -= 1
        for number in range(at, count):
            times[number], paces[number] = times[number + 1], paces[number + 1]
        of.came_s[place, head], of.came_pace[place, head] = idle_s, pace
        of.head[place] = (head + 1) % REMEMBERED
    else:
        of.came_s[place, count], of.came_pace[place, count] = idle_s, pace
    at = count
    while at > 0 and (times[at - 1] > idle_s or (times[at - 1] == idle_s and paces[at - 1] > pace)):
        times[at], paces[at] = times[at - 1], paces[at - 1]
        at -= 1
    times[at], paces[at] = idle_s, pace
    of.known[place] = count + 1


@compiled
def window(of: Learned, place: int, cold_s: float, from_s: Floats, until_s: Floats) -> int:
    """`IdleTimes.window`: the spans are written to both rows (of SPANS); returns how many they are."""
    spans = _worth(of, place, cold_s, from_s, until_s)
    joined = 1
    for number in range(1, spans):
        if from_s[number] - until_s[joined - 1] < SHORT_S:
            until_s[joined - 1] = until_s[number]
        else:
            from_s[joined], until_s[joined] = from_s[number], until_s[number]
            joined += 1
    return joined


@compiled
def _worth(of: Learned, place: int, cold_s: float, from_s: Floats, until_s: Floats) -> int:
    left = _edges(of, place)
    edges = of.edges
    standard_s = STANDARD_SHAPE * cold_s - STANDARD_SCALE_S
    from_s[0], until_s[0] = 0.0, SHORT_S
    spans, rate, known = 1, 0.0, 0.0
    for number in range(_STANDARD + 2 * of.known[place] - 1):
        at_s, next_s = edges[3, number], edges[3, number + 1]
        rate += edges[4, number]
        known += edges[5, number]
        if next_s <= at_s:
            continue
        end_s = next_s if known > 0 or at_s >= standard_s else min(next_s, standard_s)
        middle_s = (at_s + end_s) / 2
        standard = STANDARD_WEIGHT * (1 + middle_s / STANDARD_SCALE_S) ** -STANDARD_SHAPE
        hazard = rate + standard * STANDARD_SHAPE / (middle_s + STANDARD_SCALE_S)
        if hazard * cold_s > max(0.0, left - rate * (middle_s - at_s)) + standard:
            from_s[spans], until_s[spans] = at_s, end_s
            spans += 1
        left = max(0.0, left - rate * (next_s - at_s))
    return spans


@compiled
def _edges(of: Learned, place: int) -> float:
    """Where the density changes, in order (rows 3 to 5: when, by how much, how many more). Returns all weight."""
    edges, times, count = of.edges, of.ordered_s[place], of.known[place]
    for number in range(_STANDARD):
        edges[0, number], edges[1, number], edges[2, number] = TIMES[number], 0.0, 0.0
    total = 0.0
    for number in range(count):
        weight = max(LEAST_WEIGHT, exp(-abs(of.ordered_pace[place, number] - of.pace[place]) / PACE_APART))
        total += weight
        idle_s, spread_s = times[number], _spread_s(times, count, number)
        begins_s, ends_s = max(SHORT_S, idle_s - spread_s), idle_s + spread_s
        density = weight / (ends_s - begins_s)
        _insert(edges, _STANDARD, _STANDARD + number, begins_s, density, 1.0)
        _insert(edges, _STANDARD + REMEMBERED, _STANDARD + REMEMBERED + number, ends_s, -density, -1.0)
    _merge(edges, count)
    return total


@compiled
def _spread_s(times: Floats, count: int, number: int) -> float:
    idle_s = times[number]
    least_s = max(LEAST_SPREAD_S, LEAST_SPREAD * idle_s)
    if count < 2:
        return float(max(least_s, ONLY_SPREAD * idle_s))
    reach = max(1, int(count**0.5 / 2))
    below_s = idle_s - times[number - reach] if number >= reach else inf
    above_s = times[number + reach] - idle_s if number + reach < count else inf
    return float(max(least_s, min(below_s, above_s, MOST_SPREAD * idle_s)))


@compiled
def _insert(edges: Floats, first: int, last: int, at_s: float, change: float, more: float) -> None:
    """Into the run that begins at `first` and ends before `last`. They come nearly in order."""
    at = last
    while at > first and (edges[0, at - 1] > at_s or (edges[0, at - 1] == at_s and edges[1, at - 1] > change)):
        for row in range(3):
            edges[row, at] = edges[row, at - 1]
        at -= 1
    edges[0, at], edges[1, at], edges[2, at] = at_s, change, more


@compiled
def _merge(edges: Floats, count: int) -> None:
    """The three runs (of the standard, of beginnings, of ends) as one, in the order of tuples."""
    firsts = (0, _STANDARD, _STANDARD + REMEMBERED)
    a, b, c = firsts
    a_end, b_end, c_end = _STANDARD, firsts[1] + count, firsts[2] + count
    for place in range(_STANDARD + 2 * count):
        best = -1
        if a < a_end:
            best = a
        if b < b_end and (best < 0 or _is_before(edges, b, best)):
            best = b
        if c < c_end and (best < 0 or _is_before(edges, c, best)):
            best = c
        for row in range(3):
            edges[3 + row, place] = edges[row, best]
        if best < a_end:
            a += 1
        elif best < firsts[2]:
            b += 1
        else:
            c += 1


@compiled
def _is_before(edges: Floats, one: int, other: int) -> bool:
    for row in range(3):
        if edges[row, one] != edges[row, other]:
            return bool(edges[row, one] < edges[row, other])
    return False
