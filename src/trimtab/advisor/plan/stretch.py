"""The stretch of a long scenario that candidates are compared on: its busiest day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.advisor.plan.demand import Demand
from trimtab.sim.arrivals import Times
from trimtab.sim.load import Floats
from trimtab.sim.world import Arrivals, Scenario

DAY_S: Final = 86_400.0
LONG_S: Final = 1.5 * DAY_S  # what is longer is cut
_HOUR_S: Final = 3600.0
_MOST: Final = 20_000_000  # requests that are kept in memory


def busiest(scenario: Scenario, demands: Mapping[str, Demand]) -> tuple[float, float] | None:
    """From when until when the most requests come in a day; None where the scenario is not long."""
    one = next(iter(demands.values()))
    if one.span_s <= LONG_S:
        return None
    bins = max(1, round(DAY_S / one.bin_s))
    total: Floats = np.sum([demand.counts for demand in demands.values()], axis=0)
    sums = np.concatenate([[0.0], np.cumsum(total)])
    ahead = sums[bins:] - sums[:-bins]
    step = max(1, round(_HOUR_S / one.bin_s))  # begins with an hour, as the day's schedules do
    first = int(np.argmax(ahead[::step])) * step
    return one.start_s + first * one.bin_s, one.start_s + (first + bins) * one.bin_s


def cut(scenario: Scenario, demands: Mapping[str, Demand]) -> Scenario | None:
    """The scenario's busiest day; None where it is not long, or that day does not fit into memory."""
    span = busiest(scenario, demands)
    if span is None:
        return None
    one = next(iter(demands.values()))
    first, last = (round((edge - one.start_s) / one.bin_s) for edge in span)
    if sum(float(demand.counts[first:last].sum()) for demand in demands.values()) > _MOST:
        return None
    workloads = tuple(
        replace(workload, arrivals=_part(workload.arrivals, scenario.seed, *span)) for workload in scenario.workloads
    )
    faults = tuple(fault for fault in scenario.faults if span[0] <= fault.at_s < span[1])
    return replace(scenario, workloads=workloads, faults=faults)


def _part(arrivals: Arrivals, seed: int, start_s: float, end_s: float) -> Times:
    at, uniform = [np.empty(0)], [np.empty(0)]
    for chunk in arrivals.chunks(seed):
        if len(chunk.at_s) and chunk.at_s[0] >= end_s:
            break
        inside = slice(*np.searchsorted(chunk.at_s, (start_s, end_s)))
        at.append(chunk.at_s[inside])
        uniform.append(chunk.uniform[inside])
    return Times(at_s=np.concatenate(at), uniform=np.concatenate(uniform), start_s=start_s, end_s=end_s)
