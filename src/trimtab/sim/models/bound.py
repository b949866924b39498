"""What no cache of models can beat: a proven upper bound on the loading that any of them saves on a trace.

Between two requests for a model, it is either kept, which saves the second one's load and takes its bytes all the time,
or it is not. Let a byte cost `price(t)` a second. Whatever is kept, its saving less its price is at most the sum of all
positive ones, and the price of all that is kept at most that of the whole memory. So for any prices at all

    saved <= sum over gaps of max(0, load_s - bytes x price over the gap) + memory x price over the trace

and the best prices give the best bound (it is the dual of the fractional problem). `prices` are sought per slice of
time by raising the price of those in which more would be kept than fits.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from trimtab.sim.load import Floats
from trimtab.sim.models.one_replica import Trace


class Bound(Struct, frozen=True):
    """Of one trace in so much memory. Seconds of loading."""

    all_s: float  # if every request loads its model
    saved_s: float  # at most
    price: Floats  # seconds of loading for each byte-second, in each slice

    @property
    def least_s(self) -> float:
        """What is loaded at least."""
        return self.all_s - self.saved_s


def bound(trace: Trace, memory_bytes: int, *, late_s: float = 0.0, slices: int = 240, rounds: int = 400) -> Bound:
    """For all policies that order each load at most `late_s` after its request: it takes memory from then on."""
    begins, ends, sizes, costs = _gaps(trace, late_s)
    load_s = np.array([model.load_s for model in trace.models])
    all_s = float(load_s[trace.which].sum())
    if not len(begins):
        return Bound(all_s, 0.0, np.zeros(slices))
    edges = np.linspace(float(trace.at_s[0]), float(trace.at_s[-1]) + 1e-9, slices + 1)
    price = np.full(slices, _even_price(ends - begins, sizes, costs, memory_bytes * (edges[-1] - edges[0])))
    best, best_price = np.inf, price
    for turn in range(rounds):
        value, taken = _dual(price, edges, begins, ends, sizes, costs, memory_bytes)
        if value < best:
            best, best_price = value, price
        step = 0.5 / (1.0 + turn * 0.1)
        price = np.maximum(price, 1e-18) * np.exp(step * np.clip(taken / memory_bytes - 1.0, -1.0, 1.0))
    return Bound(all_s, min(best, float(costs.sum())), best_price)


def _gaps(trace: Trace, late_s: float) -> tuple[Floats, Floats, Floats, Floats]:
    order = np.argsort(trace.which, kind="stable")
    which, at_s = trace.which[order], trace.at_s[order]
    same = which[1:] == which[:-1]
    begins, ends, models = at_s[:-1][same] + late_s, at_s[1:][same], which[1:][same]
    sizes = np.array([model.footprint_bytes for model in trace.models], dtype=np.float64)[models]
    costs = np.array([model.load_s for model in trace.models])[models]
    return np.minimum(begins, ends), ends, sizes, costs


def _even_price(lengths: Floats, sizes: Floats, costs: Floats, memory: float) -> float:
    """The one price at which as much is kept as fits, over all of the trace."""
    worth = np.divide(costs, sizes * lengths, out=np.full(len(costs), np.inf), where=lengths > 0)
    order = np.argsort(-worth)
    taken = np.cumsum((sizes * lengths)[order])
    last = int(np.searchsorted(taken, memory))
    return float(worth[order[last]]) if last < len(order) else 0.0


def _dual(
    price: Floats, edges: Floats, begins: Floats, ends: Floats, sizes: Floats, costs: Floats, memory_bytes: int
) -> tuple[float, Floats]:
    """The bound at these prices, and the mean bytes that would be kept in each slice."""
    width = np.diff(edges)
    paid = np.concatenate(([0.0], np.cumsum(price * width)))
    gain = costs - sizes * (np.interp(ends, edges, paid) - np.interp(begins, edges, paid))
    kept = gain > 0
    value = float(gain[kept].sum()) + memory_bytes * float(paid[-1])
    # bytes x time before each edge: of a gap that is over, size x length; of one that is open, size x age
    taken = _time_before(edges, begins[kept], sizes[kept]) - _time_before(edges, ends[kept], sizes[kept])
    return value, np.diff(taken) / width


def _time_before(edges: Floats, at_s: Floats, sizes: Floats) -> Floats:
    """For each edge, the sum of size x (edge - at) over what is before it."""
    order = np.argsort(at_s)
    at_s, sizes = at_s[order], sizes[order]
    index = np.searchsorted(at_s, edges)
    total = np.concatenate(([0.0], np.cumsum(sizes)))[index]
    moment = np.concatenate(([0.0], np.cumsum(sizes * at_s)))[index]
    return np.asarray(total * edges - moment)
