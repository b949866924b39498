"""When requests are due: drawn ahead, from a seed, so that the same test can be run again. Pure.

A point process of unit rate (evenly spaced, or Poisson's exponential gaps) is mapped through the inverse of the
profile's cumulative count: exact for any piecewise constant rate (time rescaling; Brown et al., Neural Computation 14,
2002), and as quick as numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from trimtab.jobs.loadtest.profiles import RateProfile

BLOCK: Final = 4096  # arrivals drawn at a time: a test of hours is never in memory whole
Times = NDArray[np.float64]


class Arrivals(Protocol):
    """Times at which requests are due, in seconds from the start."""

    @property
    def duration_s(self) -> float:
        """How long the test lasts; every arrival is before it."""
        ...

    @property
    def expected(self) -> float:
        """How many arrivals there are, to within the chance of the draw."""
        ...

    def blocks(self) -> Iterator[Times]:
        """All of them, in order; the same at every call."""
        ...


class ProfileArrivals(Struct, frozen=True):
    """Arrivals at the rates of a profile: evenly spaced, or at random (Poisson)."""

    profile: RateProfile
    random: bool = True
    seed: int = 0

    @property
    def duration_s(self) -> float:
        """The profile's."""
        return self.profile.duration_s

    @property
    def expected(self) -> float:
        """The profile's integral."""
        return self.profile.expected

    def blocks(self) -> Iterator[Times]:
        """See `Arrivals`."""
        cumulative, edges = self.profile.cumulative(), np.asarray(self.profile.edges_s)
        for units in self._units():
            inside = units[units < cumulative[-1]]
            if inside.size:
                yield np.interp(inside, cumulative, edges)
            if inside.size < units.size:
                return

    def _units(self) -> Iterator[Times]:
        """A process of unit rate without end."""
        rng = np.random.default_rng(self.seed)
        last = 0.0
        while True:
            if self.random:
                units = last + np.cumsum(rng.exponential(size=BLOCK))
                last = float(units[-1])
            else:
                units = last + np.arange(BLOCK, dtype=np.float64)
                last += BLOCK
            yield units


class PointArrivals(Struct, frozen=True):
    """Arrivals exactly as a trace has them (seconds from its start, sorted), up to `duration_s`."""

    times_s: tuple[float, ...]
    duration_s: float

    @property
    def expected(self) -> float:
        """As many as there are."""
        return float(np.searchsorted(self.times_s, self.duration_s))

    def blocks(self) -> Iterator[Times]:
        """See `Arrivals`."""
        times = np.asarray(self.times_s)
        times = times[times < self.duration_s]
        for at in range(0, times.size, BLOCK):
            yield times[at : at + BLOCK]


class Schedule(Struct, frozen=True):
    """Which request is due when: arrivals, and for each the number of a payload, drawn by weight."""

    arrivals: Arrivals
    weights: tuple[float, ...] = (1.0,)
    seed: int = 0

    def blocks(self, share: int = 0, of: int = 1) -> Iterator[tuple[list[float], list[int]]]:
        """Every `of`-th request beginning with number `share`: what one of several processes sends.

        Whatever `of` is, the shares together are the same requests.
        """
        rng = np.random.default_rng((self.seed, 1))
        chance = np.asarray(self.weights) / sum(self.weights)
        seen = 0
        for times in self.arrivals.blocks():
            if len(chance) == 1:
                chosen = np.zeros(times.size, dtype=np.int64)
            else:
                chosen = rng.choice(len(chance), size=times.size, p=chance)
            first = (share - seen) % of
            seen += times.size
            if first < times.size:
                yield times[first::of].tolist(), chosen[first::of].tolist()

    def count(self) -> int:
        """Exactly how many requests there are."""
        return sum(times.size for times in self.arrivals.blocks())
