"""When requests came, as finely as is known: each second's count by metrics; and where an event policy looks at the
load, what gateways told control of it, within 20 to 100 ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from trimtab.cli.recorded.asked import MOST_REQUESTS, are_alike
from trimtab.metrics.names import SAGEMAKER
from trimtab.sim.replay.recording import counted, whole_loads

if TYPE_CHECKING:
    from trimtab.cli.recorded.metrics import Metrics
    from trimtab.control.scaling.entries import Entry
    from trimtab.sim.load import Floats

_MOST_SHAPE: Final = 1e6  # of gaps: as good as even


class Came(Struct, frozen=True, kw_only=True):
    """`counts[i]` requests came between `edges_s[i]` and the next edge.

    `period_s`: how finely metrics tell. `told_s`: for how long of it gateways' signals tell, which do so more finely.
    `dispersion`: the variance of counts of equal times by their mean, as chance makes it: 1 of requests that come
    independently of each other (a Poisson process), 0 of even ones.
    """

    edges_s: tuple[float, ...]
    counts: tuple[int, ...]
    period_s: int = 1
    dispersion: float = 1.0
    told_s: float = 0.0

    @property
    def total(self) -> int:
        """Requests."""
        return sum(self.counts)

    def moments(self, chance: np.random.Generator) -> Floats:
        """A moment for each, within its edges: as uneven as counts are from one to the next."""
        parts = []
        for index, count in enumerate(self.counts):
            if count:
                start_s, end_s = self.edges_s[index], self.edges_s[index + 1]
                parts.append(start_s + spread(chance, count, self.dispersion) * (end_s - start_s))
        return np.concatenate(parts) if parts else np.empty(0)


def spread(chance: np.random.Generator, count: int, dispersion: float) -> Floats:
    """So many places between 0 and 1, in order: at random (dispersion 1), evenly (0), or between that: gaps are drawn
    of a Gamma distribution whose coefficient of variation is the root of the dispersion."""
    shape = min(1 / max(dispersion, 1 / _MOST_SHAPE), _MOST_SHAPE)
    shapes = np.full(count + 1, shape)
    shapes[0] = shapes[-1] = (shape + 1) / 2  # half a gap before the first and behind the last, where they are even
    gaps = chance.standard_gamma(shapes)
    places: Floats = np.cumsum(gaps[:-1]) / gaps.sum()
    return places


def dispersion_of(counts: Sequence[float]) -> float:
    """Of counts of equal times one after the other. Only neighbours are compared, so that a rate that changes counts
    for little; above 1 it is taken to be such a change, or bursts that counts have in them. 1 where nothing came."""
    values = np.asarray(counts, dtype=np.float64)
    both = values[1:] + values[:-1]
    if not both.sum():
        return 1.0
    return float(min(1.0, (np.diff(values) ** 2).sum() / both.sum()))


def came_of(metrics: Metrics, entries: Sequence[Entry], *, is_async: bool) -> Came:
    """By metrics; and by the journal of scaling decisions, as long as that has all of it."""
    until = np.rint(np.cumsum(counts_of(metrics, is_async=is_async))).astype(np.int64)
    counts = np.diff(until, prepend=0)
    edges_s = metrics.start_s + np.arange(len(counts) + 1, dtype=np.float64) * metrics.period_s
    by_metrics = Came(
        edges_s=tuple(edges_s.tolist()),
        counts=tuple(counts.tolist()),
        period_s=metrics.period_s,
        dispersion=dispersion_of(counts.tolist()),
    )
    loads = [load for load in whole_loads(entries) if metrics.start_s <= load.at_s <= metrics.end_s]
    if len(loads) < 2 or by_metrics.total > MOST_REQUESTS:
        return by_metrics
    return _finer(by_metrics, *counted(loads))


def _finer(came: Came, told_edges_s: Sequence[float], told: Sequence[int]) -> Came:
    """`came`, but for the time in which gateways told of requests; if they told of as many."""
    edges_s, counts = np.array(came.edges_s), np.array(came.counts)
    begin_s, end_s = told_edges_s[0], told_edges_s[-1]
    reached = np.interp(edges_s, told_edges_s, np.concatenate([[0], np.cumsum(told)]))
    grown = np.diff(reached)
    missing = np.rint(np.maximum(0, counts - grown)).astype(np.int64)  # by period: not told of
    inside = (edges_s[:-1] >= begin_s) & (edges_s[1:] <= end_s)
    known = int(counts[inside].sum())
    if not inside.any() or not are_alike(int(np.rint(grown[inside].sum())), known):
        return came
    first = int(np.searchsorted(edges_s, begin_s, side="left"))  # edges before it,
    last = int(np.searchsorted(edges_s, end_s, side="right"))  # and, from this one on, behind it
    return Came(
        edges_s=(*came.edges_s[:first], *told_edges_s, *came.edges_s[last:]),
        counts=(*missing[:first].tolist(), *told, *missing[last - 1 :].tolist()),
        period_s=came.period_s,
        dispersion=came.dispersion,
        told_s=end_s - begin_s,
    )


def counts_of(metrics: Metrics, *, is_async: bool) -> list[float]:
    """Requests that came in each period. Asynchronous ones: what those that ended and those in the backlog have grown
    by. Neither goes back, so what is told late, or not at all for a while, does not come again."""
    if not is_async:
        return [value or 0.0 for value in metrics.series(SAGEMAKER, "Invocations", "Sum")]
    ended = metrics.series(SAGEMAKER, "InvocationsProcessed", "Sum")
    backlog = metrics.series(SAGEMAKER, "ApproximateBacklogSize", "Average")
    came: list[float] = []
    all_ended = size = known = 0.0
    for over, told in zip(ended, backlog, strict=True):
        all_ended += over or 0.0
        size = size if told is None else told
        came.append(max(0.0, all_ended + size - known))
        known = max(known, all_ended + size)
    return came
