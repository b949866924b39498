"""Inner loops of the oracle, compiled. What they compute and why is in `sim.oracle.bound`."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np

from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.load import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]


@compiled
def spread(into: Floats, begin: Floats, length: Floats, amount: Floats, cell_s: float) -> None:
    """Add each amount to the cells, evenly over [begin, begin + length] (at once where the length is 0).

    What lies before the first cell is added to it; what lies after the last one is left out.
    """
    cells = len(into)
    for index in range(len(begin)):
        first_s, long_s, whole = begin[index], length[index], amount[index]
        if long_s < 1e-9:
            cell = max(ceil(first_s / cell_s) - 1, 0)
            if cell < cells:
                into[cell] += whole
            continue
        cell = floor(first_s / cell_s)
        done = 0.0
        while done < 1.0 and cell < cells:
            part = min(((cell + 1) * cell_s - first_s) / long_s, 1.0)
            if part > done:
                into[max(cell, 0)] += whole * (part - done)
                done = part
            cell += 1


@compiled
def forced(earliest: Floats, latest: Floats, free: float) -> float:
    """What must be done beyond `free` in each cell, whatever is done when."""
    done, beyond = 0.0, 0.0
    for cell in range(1, len(earliest)):
        done = min(done + free, earliest[cell])
        if done < latest[cell]:
            beyond += latest[cell] - done
            done = latest[cell]
    return beyond


@compiled
def cheapest(
    earliest: Ints, latest: Ints, least: int, caps: Ints, cell_cost: float, up_costs: Floats, drop_cost: float
) -> float:
    """The least cost of an integer capacity for each cell under which the work done stays between the two curves.

    A unit of work is what one replica does in a cell. `earliest[k]` and `latest[k]`: most and least units that may be
    (must have been) done before cell k begins; `caps[k]`: most replicas that are of use in cell k; `up_costs[k]`: of
    each replica more in cell k than in the one before, or there from the beginning (k = 0); `drop_cost`: of each unit
    that is left out. Infinite where nothing will do.
    """
    width, most = 1, least
    for k in range(len(earliest)):
        width = max(width, earliest[k] - latest[k] + 1)
    for k in range(len(caps)):
        most = max(most, caps[k])
    cost = np.full((most - least + 1, width), np.inf)
    after = np.full((most - least + 1, width), np.inf)
    before = caps[0] - least + 1
    for level in range(before):
        cost[level, earliest[0] - latest[0]] = (level + least) * up_costs[0]
    for k in range(len(earliest) - 1):
        here = earliest[k] - latest[k]
        there = earliest[k + 1] - latest[k + 1]
        came = earliest[k + 1] - earliest[k]
        levels = caps[k] - least + 1
        if k:
            up = up_costs[k]
            for level in range(before, levels):
                cost[level, : here + 1] = np.inf
            for level in range(1, levels):
                for left in range(here + 1):
                    cost[level, left] = min(cost[level, left], cost[level - 1, left] + up)
            for level in range(max(before, levels) - 2, -1, -1):
                for left in range(here + 1):
                    cost[level, left] = min(cost[level, left], cost[level + 1, left])
        for level in range(levels):
            after[level, : there + 1] = np.inf
            shift = came - (level + least)
            paid = cell_cost * (level + least)
            for left in range(here + 1):
                rest = max(left + shift, 0)
                price = cost[level, left] + paid
                if rest > there:
                    price += drop_cost * (rest - there)
                    rest = there
                if price < after[level, rest]:
                    after[level, rest] = price
        cost, after = after, cost
        before = levels
    found: float = cost[:before, : earliest[-1] - latest[-1] + 1].min()
    return found
