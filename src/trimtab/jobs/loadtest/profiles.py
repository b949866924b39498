"""RateProfile: how many requests a second there should be, over time. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from trimtab.jobs.loadtest.quantities import positive

DIURNAL_PIECES: Final = 288  # of one day: five minutes each, when the day is a real one


class RateProfile(Struct, frozen=True):
    """Rates (requests/s) between edges (seconds from the start); one edge more than there are rates."""

    edges_s: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.edges_s[-1]

    @property
    def expected(self) -> float:
        """How many requests it asks for."""
        return float(self.cumulative()[-1])

    @property
    def peak(self) -> float:
        """The highest rate."""
        return max(self.rates)

    def cumulative(self) -> NDArray[np.float64]:
        """Requests due before each edge."""
        widths = np.diff(np.asarray(self.edges_s))
        return np.concatenate(([0.0], np.cumsum(widths * np.asarray(self.rates))))

    def scaled(self, factor: float) -> RateProfile:
        """The same shape with all rates times `factor`."""
        return RateProfile(self.edges_s, tuple(rate * factor for rate in self.rates))

    def sped_up(self, factor: float) -> RateProfile:
        """The same requests in 1/`factor` of the time."""
        return RateProfile(tuple(e / factor for e in self.edges_s), tuple(r * factor for r in self.rates))

    def cut(self, duration_s: float) -> RateProfile:
        """Only what lies before `duration_s`."""
        if duration_s >= self.duration_s:
            return self
        kept = sum(edge < duration_s for edge in self.edges_s)
        return RateProfile((*self.edges_s[:kept], duration_s), self.rates[:kept])


def constant(rate: float, duration_s: float) -> RateProfile:
    """The same rate throughout."""
    return RateProfile((0.0, positive(duration_s, "the duration")), (positive(rate, "the rate"),))


def steps(rate: float, duration_s: float, count: int) -> RateProfile:
    """`count` equally long levels, rising evenly to `rate`."""
    positive(rate, "the rate"), positive(duration_s, "the duration"), positive(count, "the number of steps")
    edges = (duration_s * i / count for i in range(count + 1))
    return RateProfile(tuple(edges), tuple(rate * (i + 1) / count for i in range(count)))


def diurnal(rate: float, duration_s: float, *, day_s: float, trough: float) -> RateProfile:
    """Days of `day_s` seconds: a cosine from `trough` x `rate` at midnight (the start) to `rate` at noon."""
    positive(rate, "the rate"), positive(duration_s, "the duration"), positive(day_s, "the length of a day")
    pieces = max(2, math.ceil(duration_s / day_s * DIURNAL_PIECES))
    edges = [duration_s * i / pieces for i in range(pieces + 1)]
    middle = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    rates = (rate * (trough + (1 - trough) * (1 - math.cos(2 * math.pi * t / day_s)) / 2) for t in middle)
    return RateProfile(tuple(edges), tuple(rates))


def of_counts(starts_s: Sequence[float], counts: Sequence[float], step_s: float) -> RateProfile:
    """Counts per step of `step_s`, as traces have them. Where a step is missing, nothing is sent."""
    edges: list[float] = []
    rates: list[float] = []
    first = starts_s[0]
    for start, count in zip(starts_s, counts, strict=True):
        begin = start - first
        if not edges:
            edges.append(begin)
        elif begin > edges[-1] * (1 + 1e-12):
            edges.append(begin)
            rates.append(0.0)
        edges.append(begin + step_s)
        rates.append(count / step_s)
    return RateProfile(tuple(edges), tuple(rates))
