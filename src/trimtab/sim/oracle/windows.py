"""The oracle's bound of a long time: of windows, one by one, whose bounds are summed. Memory is a window's.

What a policy pays in a window is no less than what one would have paid for the window alone who found its replicas
there at the beginning, and had to serve nothing but the requests that come in it, as far as they are due in it. Only
the requests that are left out belong to no window: with the same price v in all of them, the sum of the windows' costs
at that price, less v x B, is a lower bound for each v >= 0 (`oracle.bound` has the proof of each window's, and says
what B is). A window that is not worth the programme counts `least` x time + min(v, 1) x the work that `least` replicas
cannot do: of that work x may be left out for v x x, and the rest is paid. Where it is, what is left out is rounded up
to whole units in each window by itself: a unit's price comes off for each.

B of all windows is known to none of them. But the m largest of all works together are at most m t + the sum of what
each is beyond t, for every t >= 0, and equal to that where t is the m-th largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import floor, inf
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from trimtab.sim.oracle.bound import (
    SLACK,
    Asked,
    Terms,
    affordable,
    can_be_kept,
    check,
    demand_of,
    finest_cell_s,
    priced,
    work_each,
)
from trimtab.sim.oracle.kernels import forced

PRICES: Final = (1.0, 1.2, 1.4, 1.7)


class Window(Struct, frozen=True, kw_only=True):
    """Of one window of time: what `summed` needs. `costs`, in replica-seconds, for each price of work left out."""

    costs: dict[float, float]
    requests: int
    hopeless: int  # requests that are longer than the SLO
    beyond_s: float  # work of single requests beyond `threshold_s`, summed
    threshold_s: float
    work_s: float
    cell_s: float  # 0: without the programme


def window_of(
    asked: Callable[[], Iterable[Asked]],
    terms: Terms,
    *,
    within_s: float,
    start_s: float,
    end_s: float,
    threshold_s: float,
    prices: Sequence[float] = PRICES,
    most_steps: float = 0.0,
) -> Window:
    """One window, from `start_s` to `end_s`. `threshold_s`: about the work of the smallest request that may be left
    out, the same in all windows (any will do). `most_steps`: of the programme for each price; 0: without it, which is
    as good where deadlines are long beside the time between two requests. Invalid as `lower_bound`."""
    check(terms, within_s, 0.0, end_s - start_s)
    demand = demand_of(asked(), terms, within_s, 0, start_s, end_s, finest_cell_s(terms, end_s - start_s))
    forced_s = forced(demand.earliest, demand.latest, terms.least * demand.cell_s) * (1 - SLACK)
    costs = {price: terms.least * demand.length_s + min(price, 1.0) * forced_s for price in prices}
    cell_s = 0.0
    if most_steps:
        demand = replace(demand, left_out_s=1.0)  # something is: its rounding counts
        coarse, many = affordable(demand, terms, None, most_steps)
        if many is not None and terms.start_s > 2 * coarse.cell_s:
            cell_s = coarse.cell_s
            at_price = priced(coarse, terms, many, 0.0)
            costs = {  # what is left out is rounded up to whole units, in each window by itself
                price: max(cost, at_price(price) - price * cell_s) for price, cost in costs.items()
            }
    requests, beyond_s = 0, 0.0
    for some in asked():
        can = can_be_kept(some.service_s, within_s)
        requests += len(can)
        each_s = work_each(np.asarray(some.service_s, dtype=np.float64)[can], terms)
        beyond_s += float(np.maximum(each_s - threshold_s, 0.0).sum())
    return Window(
        costs=costs, requests=requests, hopeless=demand.hopeless, beyond_s=beyond_s, threshold_s=threshold_s,
        work_s=demand.work_s, cell_s=cell_s,
    )  # fmt: skip


def summed(windows: Sequence[Window], kept: float) -> float:
    """The bound of all windows together, in replica-seconds: where a part `kept` of all their requests must be kept.

    Infinite where too many requests are longer than the SLO. ValueError for windows of several thresholds or prices.
    """
    if len({(one.threshold_s, *one.costs) for one in windows}) != 1:
        raise ValueError("windows are summed that have one threshold and the same prices")
    allowed = floor((1 - kept) * sum(one.requests for one in windows) + 1e-9) - sum(one.hopeless for one in windows)
    if allowed < 0:
        return inf
    left_out_s = 0.0
    if allowed:
        left_out_s = allowed * windows[0].threshold_s + sum(one.beyond_s for one in windows)
    return max(
        sum(one.costs[price] for one in windows) - (price * left_out_s if left_out_s else 0.0)
        for price in windows[0].costs
    )
