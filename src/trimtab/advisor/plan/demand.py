"""How much work a workload brings, over time: what bounds are made of before anything is simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.load import Floats
from trimtab.sim.world import Work, Workload

ANY_TYPE: Final = "*"
_MOST_BINS: Final = 20_000
_LEAST_BIN_S: Final = 1.0
_SIGMAS: Final = 4.0  # of chance in the sum of service times: a bound may not be above what is drawn


class Demand(Struct, frozen=True):
    """Requests in each bin of one workload's time."""

    requests: int
    start_s: float
    bin_s: float
    counts: Floats

    @property
    def span_s(self) -> float:
        """From the first bin's start to the last one's end."""
        return self.bin_s * len(self.counts)


def demands_of(workloads: Sequence[Workload], seed: int) -> dict[str, Demand]:
    """By workload. All have the same bins. Invalid where they have no time in common or nothing comes at all."""
    start_s = min(workload.arrivals.start_s for workload in workloads)
    end_s = max(workload.arrivals.end_s for workload in workloads)
    if not end_s > start_s:
        raise Invalid("The workloads last no time at all.")
    bin_s = max(_LEAST_BIN_S, (end_s - start_s) / _MOST_BINS)
    bins = ceil((end_s - start_s) / bin_s)
    found = {}
    for workload in workloads:
        counts = np.zeros(bins)
        for chunk in workload.arrivals.chunks(seed):
            index = np.clip(((chunk.at_s - start_s) / bin_s).astype(np.int64), 0, bins - 1)
            counts += np.bincount(index, minlength=bins)
        found[workload.name] = Demand(int(counts.sum()), start_s, bin_s, counts)
    if not any(demand.requests for demand in found.values()):
        raise Invalid(
            "No request comes in any of the workloads, so that the cheapest architecture is none. (Where a rate is so"
            " low that chance may leave none, another --seed or a longer time has some.)"
        )
    return found


def work_on(workload: Workload, instance_type: str) -> Work | None:
    """What a request takes there ("": serverless); None: not known."""
    return workload.work.get(instance_type) or workload.work.get(ANY_TYPE)


def least_work_s(workload: Workload, demand: Demand, work: Work, kept: float) -> float:
    """Replica-seconds that no policy can do without, where `kept` of the requests must be answered.

    The quickest `kept` of them, in full batches, on slots that are never idle; less four sigmas of chance in the sum
    of their times. (Slots of one replica work at the same time: so many seconds of work are one second of a replica.)
    """
    if not demand.requests:
        return 0.0
    mean_s, sd_s = trimmed(work, kept)
    sum_s = demand.requests * kept * mean_s
    sum_s -= _SIGMAS * sd_s * sqrt(demand.requests * kept)
    sum_s, requests = max(0.0, sum_s), demand.requests * kept
    # Batches of n requests take together at least sum / n + (requests - requests / n) rows: least at one of the ends.
    floor_s = min(sum_s, sum_s / work.batch + requests * (1 - 1 / work.batch) * work.row_s)
    return floor_s / work.slots


def trimmed(work: Work, kept: float) -> tuple[float, float]:
    """Mean and standard deviation of the quickest `kept` of requests, by the points that their times are told by."""
    draws = (np.arange(512) + 0.5) / 512 * kept
    times = work.service_s(draws)
    return float(times.mean()), float(times.std())


def each_s(work: Work) -> float:
    """A request's share of a replica's slot when batches are full."""
    return (work.mean_s + (work.batch - 1) * work.row_s) / work.batch


def work_of(works: Mapping[str, Work]) -> float:
    """Replica-seconds of one request of each."""
    return sum(each_s(work) / work.slots for work in works.values())


def busy(demands: Mapping[str, Demand], works: Mapping[str, Work]) -> Floats:
    """Replicas' worth of work in each bin, all slots of them busy and batches full."""
    total: Floats = np.zeros(0)
    for name, work in works.items():
        demand = demands[name]
        part: Floats = demand.counts * (each_s(work) / work.slots / demand.bin_s)
        total = part if not len(total) else total + part
    return total


def most_busy(series: Floats, over: int) -> float:
    """The largest mean over so many bins in a row."""
    if not len(series):
        return 0.0
    over = max(1, min(over, len(series)))
    sums = np.concatenate([[0.0], np.cumsum(series)])
    return float((sums[over:] - sums[:-over]).max() / over)
