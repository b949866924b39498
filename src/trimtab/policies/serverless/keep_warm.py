"""For how long an idle environment stays, and when it is made again, by the arrivals seen so far. Pure.

To keep an idle environment for one more second costs a second of its memory. It spares a cold start with the chance
that a request comes within that second, given that none has come until then: the hazard of the idle times. With a cold
start worth `cold_s` seconds of idle memory, an environment is to be there exactly while the hazard is above 1 / cold_s:
if the hazard is known, no other choice has fewer cold starts for as much idle memory. So a variant that is called every
five minutes has its environment a little before the five minutes are over and not in between, and one that is called in
bursts keeps it while the next call of a burst may come.

The hazard is estimated from the variant's last idle times, each spread as widely as its neighbours are away, and each
counting by how much the pace of calls before it was like the pace now. To them comes a standard, worth STANDARD_WEIGHT
idle times, of a variant of which nothing is known: its idle times have a long (Lomax) tail, and its environment stays
for 0.8 `cold_s` - 60 s. One whose habits fail it (none of its usual times, and still no request) is an unknown one
again: the hazard of the standard is all that is left.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from math import exp, inf, log
from typing import Final

from msgspec import Struct, field

from trimtab.policies.serverless.settings import KeepWarm, KeepWarmMode

STANDARD_SCALE_S: Final = 60.0
STANDARD_SHAPE: Final = 0.8
STANDARD_WEIGHT: Final = 1.5  # idle times
SHORT_S: Final = 1.0  # every environment stays for as long: shorter idle times say nothing of longer ones
REMEMBERED: Final = 64  # idle times; older ones are forgotten
PACE_MEMORY: Final = 0.3  # the share of the last idle time in the pace
PACE_APART: Final = 0.4  # a pace that differs by this factor, as a logarithm, counts e times less
LEAST_WEIGHT: Final = 0.05  # of an idle time at quite another pace
LEAST_SPREAD_S: Final = 2.0  # to each side: timers are late, and control looks once a second
LEAST_SPREAD: Final = 0.01  # of an idle time, to each side
ONLY_SPREAD: Final = 0.05  # of one that has no neighbour
MOST_SPREAD: Final = 0.25
TIMES: Final = tuple(SHORT_S * 1.5**power for power in range(40))  # at which the standard's hazard is worked out

Span = tuple[float, float]
Seen = tuple[float, float]
"""An idle time in seconds, and the pace before it."""


class Window(Struct, frozen=True):
    """Seconds since an environment became idle in which it is kept warm: spans of time, one after the other, the end of
    each not in it. None: it ends at once."""

    spans: tuple[Span, ...] = ()
    why: str = ""

    def holds(self, idle_s: float) -> bool:
        """Whether an environment that has been idle for so long is to be there."""
        return any(from_s <= idle_s < until_s for from_s, until_s in self.spans)

    def changes_s(self, idle_s: float) -> float:
        """At which idle time after `idle_s` the answer changes; inf: never again."""
        for from_s, until_s in self.spans:
            if idle_s < from_s:
                return from_s
            if idle_s < until_s:
                return until_s
        return inf


class IdleTimes(Struct, kw_only=True):
    """How long an environment was idle before it was needed again: the last REMEMBERED times."""

    recent: list[Seen] = field(default_factory=list)
    ordered: list[Seen] = field(default_factory=list)
    pace: float = 0.0  # a running mean of the idle times' logarithms
    seen: int = 0  # ever, those that say nothing left out

    def add(self, idle_s: float) -> bool:
        """One was idle for so long, and is needed now. Returns whether that says something."""
        if idle_s < SHORT_S:
            return False
        self.seen += 1
        if not self.recent:
            self.pace = log(idle_s)
        seen = (idle_s, self.pace)
        self.pace += PACE_MEMORY * (log(idle_s) - self.pace)
        self.recent.append(seen)
        insort(self.ordered, seen)
        if len(self.recent) > REMEMBERED:
            del self.ordered[bisect_left(self.ordered, self.recent.pop(0))]
        return True

    def window(self, cold_s: float) -> Window:
        """When an environment that becomes idle now is to be there. `cold_s`: the seconds of idle memory that one cold
        start is worth."""
        times = [idle_s for idle_s, _ in self.ordered]
        weights = [max(LEAST_WEIGHT, exp(-abs(pace - self.pace) / PACE_APART)) for _, pace in self.ordered]
        spans = _joined(_worth(times, weights, cold_s))
        return Window(spans, f"by {len(times)} idle times: {_told(spans)}" if times else f"no call yet: {_told(spans)}")


def window_of(keep_warm: KeepWarm, idle_times: IdleTimes) -> Window:
    """When an environment that becomes idle now is to be there, as the variant is declared."""
    if keep_warm.mode is KeepWarmMode.OFF:
        return Window((), "keep-warm is off")
    if keep_warm.mode is KeepWarmMode.FIXED:
        return Window(((0.0, keep_warm.fixed_s),), f"kept for {keep_warm.fixed_s:g} s")
    return idle_times.window(keep_warm.cold_s)


def _worth(times: list[float], weights: list[float], cold_s: float) -> list[Span]:
    """The spans in which the hazard is above 1 / cold_s. Swept from the shortest idle time to the longest: `rate` is
    the density of the known idle times, `left` the weight of those that are longer."""
    edges = _edges(times, weights)
    standard_s = STANDARD_SHAPE * cold_s - STANDARD_SCALE_S  # where the standard's own hazard is 1 / cold_s
    spans: list[Span] = [(0.0, SHORT_S)]
    rate, left = 0.0, 0.0
    for weight in weights:  # not `sum`: how that adds depends on Python's version
        left += weight
    for (at_s, change, known), (until_s, _, _) in pairwise(edges):
        rate += change
        if until_s <= at_s:
            continue
        end_s = until_s if known or at_s >= standard_s else min(until_s, standard_s)
        middle_s = (at_s + end_s) / 2
        standard = STANDARD_WEIGHT * (1 + middle_s / STANDARD_SCALE_S) ** -STANDARD_SHAPE
        hazard = rate + standard * STANDARD_SHAPE / (middle_s + STANDARD_SCALE_S)
        if hazard * cold_s > max(0.0, left - rate * (middle_s - at_s)) + standard:
            spans.append((at_s, end_s))
        left = max(0.0, left - rate * (until_s - at_s))
    return spans


def _edges(times: list[float], weights: list[float]) -> list[tuple[float, float, int]]:
    """Where the density of the known idle times changes, in order: at which time, by how much, and how many of them are
    spread over what follows. Where none is, the density is 0 but for rounding."""
    changes = [(at_s, 0.0, 0) for at_s in TIMES]
    for number, idle_s in enumerate(times):
        spread_s = _spread_s(times, number)
        from_s, until_s = max(SHORT_S, idle_s - spread_s), idle_s + spread_s
        density = weights[number] / (until_s - from_s)
        changes += [(from_s, density, 1), (until_s, -density, -1)]
    changes.sort()
    known = 0
    edges = []
    for at_s, change, more in changes:
        known += more
        edges.append((at_s, change, known))
    return edges


def _spread_s(times: list[float], number: int) -> float:
    """How far an idle time counts to each side: as far as its neighbours are away. Among many times the nearest ones
    are close by chance: the neighbour that counts is further off then."""
    idle_s = times[number]
    least_s = max(LEAST_SPREAD_S, LEAST_SPREAD * idle_s)
    if len(times) < 2:
        return max(least_s, ONLY_SPREAD * idle_s)
    reach = max(1, int(len(times) ** 0.5 / 2))
    below_s = idle_s - times[number - reach] if number >= reach else inf
    above_s = times[number + reach] - idle_s if number + reach < len(times) else inf
    return max(least_s, min(below_s, above_s, MOST_SPREAD * idle_s))


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """Spans that touch, or are less than SHORT_S apart, are one."""
    joined = spans[:1]
    for from_s, until_s in spans[1:]:
        if from_s - joined[-1][1] < SHORT_S:
            joined[-1] = (joined[-1][0], until_s)
        else:
            joined.append((from_s, until_s))
    return tuple(joined)


def _told(spans: tuple[Span, ...]) -> str:
    shown = [f"{from_s:.0f} to {until_s:.0f} s" for from_s, until_s in spans[:3]]
    return ", ".join(shown) + (", ..." if len(spans) > 3 else "")
