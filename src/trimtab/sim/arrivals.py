"""When requests come: single moments, counts, or rates that a renewal process makes moments of; several streams as one.

All are `world.Arrivals`: iterated in chunks of bounded size, the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, gamma, inf, lgamma
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.load import Floats
from trimtab.sim.world import Arrivals, Chunk, Ints

CHUNK: Final = 1 << 18
"""Requests of a chunk, more or less: 4 MiB."""

GAMMA: Final = "gamma"
WEIBULL: Final = "weibull"
_STEPS_AT_ONCE: Final = 4096
_MOST_SHAPE: Final = 1e6  # of a Gamma distribution: it is as good as regular


class Times(Struct, frozen=True, kw_only=True):
    """Requests at known moments (seconds since the epoch, in order). `uniform`: each one's draw, where it is known.

    Where it is not, draws are spread evenly over the requests: all of them together take the same with any seed.
    Invalid for moments out of order, or outside of [start_s, end_s].
    """

    at_s: Floats
    start_s: float
    end_s: float
    uniform: Floats | None = None

    def __post_init__(self) -> None:
        at_s = self.at_s
        if len(at_s) and not (np.isfinite(at_s).all() and (np.diff(at_s) >= 0).all()):
            raise Invalid("Moments of requests are numbers in order of time.")
        if len(at_s) and not self.start_s <= at_s[0] <= at_s[-1] <= self.end_s:
            raise Invalid(f"Moments of requests lie between the start, {self.start_s:g}, and the end, {self.end_s:g}.")
        if self.uniform is not None and len(self.uniform) != len(at_s):
            raise Invalid(f"There are {len(at_s)} requests and {len(self.uniform)} draws.")

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals."""
        chance = np.random.default_rng(seed)
        for first in range(0, len(self.at_s), CHUNK):
            at_s = self.at_s[first : first + CHUNK]
            drawn = _spread(chance, len(at_s)) if self.uniform is None else self.uniform[first : first + CHUNK]
            yield Chunk(at_s, drawn)


def _spread(chance: np.random.Generator, count: int) -> Floats:
    """One draw in each of so many equal parts of 0 to 1, in an order by chance."""
    drawn: Floats = (chance.permutation(count) + chance.random(count)) / count
    return drawn


class Counted(Struct, frozen=True, kw_only=True):
    """`counts[i]` requests come between `edges_s[i]` and the next edge (seconds since the epoch), at random within it.

    Invalid for edges that are not one more than the counts, or out of order, and for counts below 0.
    """

    edges_s: Floats
    counts: Ints

    def __post_init__(self) -> None:
        edges_s, counts = self.edges_s, self.counts
        if not len(counts) or len(edges_s) != len(counts) + 1:
            raise Invalid(f"There are {len(counts)} counts of requests and {len(edges_s)} edges of time around them.")
        if not np.isfinite(edges_s).all() or (np.diff(edges_s) < 0).any():
            raise Invalid("Edges of time are numbers in order.")
        if (counts < 0).any():
            raise Invalid("Counts of requests are 0 or more.")

    @property
    def start_s(self) -> float:
        """The first edge."""
        return float(self.edges_s[0])

    @property
    def end_s(self) -> float:
        """The last one."""
        return float(self.edges_s[-1])

    @property
    def total(self) -> int:
        """Requests."""
        return int(self.counts.sum())

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals."""
        chance = np.random.default_rng(seed)
        first, came = 0, np.cumsum(self.counts)
        while first < len(self.counts):
            before = int(came[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(came, before + CHUNK, side="right")))
            counts = self.counts[first:last]
            if counts.any():
                starts = np.repeat(self.edges_s[first:last], counts)
                spans = np.repeat(np.diff(self.edges_s[first : last + 1]), counts)
                yield Chunk(np.sort(starts + chance.random(len(starts)) * spans), chance.random(len(starts)))
            first = last


class Rates(Struct, frozen=True, kw_only=True):
    """`rate[i]` requests a second come in the step of `step_s` that begins at `start_s + i * step_s`.

    The gaps between them are drawn of `family` (gamma, weibull) with the coefficient of variation `cv` (one for all, or
    one for each step; 1: a Poisson process; more: bursts), in units of the mean gap there: the rate may change in the
    middle of a gap. Invalid for negative or endless rates, or a cv that is not positive.
    """

    rate: Floats
    step_s: float
    start_s: float = 0.0
    cv: Floats | float = 1.0
    family: str = GAMMA

    def __post_init__(self) -> None:
        if not len(self.rate) or not np.isfinite(self.rate).all() or (self.rate < 0).any():
            raise Invalid("Rates are numbers of requests a second, 0 or more, and there is one at least.")
        if not self.step_s > 0:
            raise Invalid(f"A step of rates takes some time, not {self.step_s:g} s.")
        cv = np.asarray(self.cv, dtype=np.float64)
        if cv.ndim and len(cv) != len(self.rate):
            raise Invalid(f"There are {len(self.rate)} rates and {len(cv)} coefficients of variation.")
        if not (np.isfinite(cv).all() and (cv > 0).all()):
            raise Invalid("A coefficient of variation is a number above 0.")
        if self.family not in (GAMMA, WEIBULL):
            raise Invalid(f"Gaps are drawn of {GAMMA} or {WEIBULL} distributions, not of {self.family!r}.")

    @property
    def end_s(self) -> float:
        """When the last step ends."""
        return self.start_s + len(self.rate) * self.step_s

    def scaled(self, factor: float) -> Rates:
        """The same with `factor` times as many requests."""
        return Rates(rate=self.rate * factor, step_s=self.step_s, start_s=self.start_s, cv=self.cv, family=self.family)

    def smooth(self, step_s: float) -> Rates:
        """The rates of steps of about `step_s`, in straight lines from one step's middle to the next one's."""
        parts = max(1, round(self.step_s / step_s))
        fine_s = self.step_s / parts
        at = (np.arange(len(self.rate) * parts) + 0.5) * fine_s
        middles = (np.arange(len(self.rate)) + 0.5) * self.step_s
        cv = self.cv if np.ndim(self.cv) == 0 else np.repeat(np.asarray(self.cv), parts)
        rate = np.interp(at, middles, self.rate)
        return Rates(rate=rate, step_s=fine_s, start_s=self.start_s, cv=cv, family=self.family)

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals."""
        chance = np.random.default_rng(seed)
        left = self._first(chance)  # until the next request, in mean gaps
        first = 0
        while first < len(self.rate):
            last = self._stretch(first)
            for reached, edges in self._pieces(first, last):
                moments, left = self._moments(chance, left, float(reached[-1]), first)
                if len(moments):
                    yield Chunk(np.interp(moments, reached, edges), chance.random(len(moments)))
            first = last

    def _pieces(self, first: int, last: int) -> Iterator[tuple[Floats, Floats]]:
        """Of these steps, the mean gaps until each edge of time, and the edges. A step of more requests than a chunk
        has is cut: a constant rate is one step, however long."""
        reached: Floats = np.concatenate([[0.0], np.cumsum(self.rate[first:last] * self.step_s)])
        edges: Floats = self.start_s + np.arange(first, last + 1, dtype=np.float64) * self.step_s
        count = ceil(float(reached[-1]) / CHUNK)
        if last - first > 1 or count <= 1:
            yield reached, edges
            return
        each, span_s = float(reached[-1]) / count, self.step_s / count
        for number in range(count):
            start_s = float(edges[0]) + number * span_s
            end_s = start_s + span_s if number < count - 1 else float(edges[1])
            yield np.array([0.0, each]), np.array([start_s, end_s])

    def _stretch(self, first: int) -> int:
        """The end of the steps that make a chunk: of one cv, and few enough."""
        last = min(len(self.rate), first + _STEPS_AT_ONCE)
        if np.ndim(self.cv):
            cv = np.asarray(self.cv)[first:last]
            other = np.flatnonzero(cv != cv[0])
            last = first + int(other[0]) if len(other) else last
        many = np.flatnonzero(np.cumsum(self.rate[first:last]) * self.step_s > CHUNK)
        return first + max(1, int(many[0])) if len(many) else last

    def _cv(self, step: int) -> float:
        return float(np.asarray(self.cv)[step]) if np.ndim(self.cv) else float(self.cv)

    def _first(self, chance: np.random.Generator) -> float:
        """Until the first request: somebody who begins to look in the middle of a gap sees a part of it."""
        gap = _gaps(chance, self.family, self._cv(0), 64)
        chosen = chance.choice(gap, p=gap / gap.sum())  # long gaps are looked into more often
        return float(chosen * chance.random())

    def _moments(self, chance: np.random.Generator, left: float, length: float, step: int) -> tuple[Floats, float]:
        """Of requests within `length` mean gaps, and how far behind that the next one is."""
        if left > length:
            return np.empty(0), left - length
        parts = [np.array([left])]
        reached = left
        while reached <= length:
            gaps = _gaps(chance, self.family, self._cv(step), int((length - reached) * 1.02) + 64)
            part = reached + np.cumsum(gaps)
            parts.append(part)
            reached = float(part[-1])
        moments = np.concatenate(parts)
        inside = int(np.searchsorted(moments, length, side="right"))
        return moments[:inside], float(moments[inside]) - length


def _gaps(chance: np.random.Generator, family: str, cv: float, count: int) -> Floats:
    """Gaps of mean 1."""
    if cv == 1.0:
        return chance.standard_exponential(count)
    if family == WEIBULL:
        shape = weibull_shape(cv)
        return chance.weibull(shape, count) / gamma(1 + 1 / shape)
    shape = min(1 / (cv * cv), _MOST_SHAPE)
    return chance.standard_gamma(shape, count) / shape


def weibull_shape(cv: float) -> float:
    """The shape of the Weibull distribution with this coefficient of variation (bisection; 0.1 to 100 are known)."""
    low, high = 0.1, 100.0
    aim = np.log1p(cv * cv)
    for _ in range(80):
        middle = (low + high) / 2
        # (std/mean)^2 + 1 = G(1 + 2/k) / G(1 + 1/k)^2, which falls as k grows
        low, high = (middle, high) if lgamma(1 + 2 / middle) - 2 * lgamma(1 + 1 / middle) > aim else (low, middle)
    return (low + high) / 2


class Merged(Struct, frozen=True):
    """Several streams as one (the clients of a service). Invalid for none."""

    parts: tuple[Arrivals, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise Invalid("There is no stream of requests to merge.")

    @property
    def start_s(self) -> float:
        """The earliest start."""
        return min(part.start_s for part in self.parts)

    @property
    def end_s(self) -> float:
        """The latest end."""
        return max(part.end_s for part in self.parts)

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals. Each part has a chance of its own."""
        seeds = [_seed_of(seed, number) for number in range(len(self.parts))]
        streams = [part.chunks(own) for part, own in zip(self.parts, seeds, strict=True)]
        for at_s, uniform, _ in interleaved(streams):
            yield Chunk(at_s, uniform)


class Thinned(Struct, frozen=True, kw_only=True):
    """A stream of which each request is `factor` ones on average: left out by chance, or followed by others before the
    next one comes. Invalid for a factor that is no number of 0 or more."""

    arrivals: Arrivals
    factor: float

    def __post_init__(self) -> None:
        if not 0 <= self.factor < inf:
            raise Invalid(f"A stream of requests is scaled by a number of 0 or more, not by {self.factor:g}.")

    @property
    def start_s(self) -> float:
        """As that of the stream."""
        return self.arrivals.start_s

    @property
    def end_s(self) -> float:
        """As that of the stream."""
        return self.arrivals.end_s

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals."""
        chance = np.random.default_rng(_seed_of(seed, 1))
        whole = int(self.factor)
        held: Chunk | None = None
        for chunk in (*self.arrivals.chunks(seed), None):
            if held is not None:
                until_s = self.end_s if chunk is None else float(chunk.at_s[0])
                copies = whole + (chance.random(len(held.at_s)) < self.factor - whole)
                made = _copied(chance, held, copies, until_s)
                for first in range(0, len(made.at_s), CHUNK):
                    yield Chunk(made.at_s[first : first + CHUNK], made.uniform[first : first + CHUNK])
            held = chunk


def _copied(chance: np.random.Generator, chunk: Chunk, copies: Any, until_s: float) -> Chunk:
    gaps = np.diff(chunk.at_s, append=until_s)
    at_s, uniform, gap = (np.repeat(values, copies) for values in (chunk.at_s, chunk.uniform, gaps))
    first = np.zeros(len(at_s), dtype=bool)
    kept = copies[copies > 0]
    first[np.concatenate([[0], np.cumsum(kept)[:-1]]).astype(np.int64)[: len(kept)]] = True
    moved = np.where(first, 0.0, chance.random(len(at_s)) * gap)
    drawn = np.where(first, uniform, chance.random(len(at_s)))
    order = np.argsort(at_s + moved, kind="stable")
    return Chunk((at_s + moved)[order], drawn[order])


def _seed_of(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def interleaved(streams: Sequence[Iterator[Chunk]]) -> Iterator[tuple[Floats, Floats, Any]]:
    """Requests of all streams in order of time, and the number of each one's stream. Memory: a chunk of each."""
    held: list[Chunk | None] = [next(stream, None) for stream in streams]
    while any(chunk is not None for chunk in held):
        while True:  # an empty chunk says nothing of how far its stream is
            empty = [number for number, chunk in enumerate(held) if chunk is not None and not len(chunk.at_s)]
            if not empty:
                break
            for number in empty:
                held[number] = next(streams[number], None)
        known = [chunk.at_s[-1] for chunk in held if chunk is not None]
        if not known:
            return
        until_s = min(known)
        taken: list[tuple[Floats, Floats, int]] = []
        for number, chunk in enumerate(held):
            if chunk is None:
                continue
            count = int(np.searchsorted(chunk.at_s, until_s, side="right"))
            taken.append((chunk.at_s[:count], chunk.uniform[:count], number))
            rest = Chunk(chunk.at_s[count:], chunk.uniform[count:])
            held[number] = rest if len(rest.at_s) else next(streams[number], None)
        at_s = np.concatenate([one[0] for one in taken])
        uniform = np.concatenate([one[1] for one in taken])
        which = np.repeat(np.array([one[2] for one in taken], dtype=np.int64), [len(one[0]) for one in taken])
        if len(taken) > 1:
            order = np.argsort(at_s, kind="stable")
            at_s, uniform, which = at_s[order], uniform[order], which[order]
        yield at_s, uniform, which
