"""What comes in: requests in each step of time, and what each of them takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.policies.scaling.inputs import Load

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST_STEPS = 20_000_000


class LoadShape(Struct, frozen=True):
    """`arrivals[i]` requests come between `start_s + i * step_s` and a step later, evenly."""

    arrivals: Floats
    step_s: float = 1.0
    start_s: float = 0.0  # seconds since the epoch; alarms are evaluated by the clock's minutes

    @property
    def end_s(self) -> float:
        """When the last step ends."""
        return self.start_s + len(self.arrivals) * self.step_s

    @property
    def total(self) -> float:
        """Requests."""
        return float(self.arrivals.sum())


def of_counts(counts: Sequence[float], counted_s: float, *, step_s: float = 1.0, start_s: float = 0.0) -> LoadShape:
    """Of counts over `counted_s` each: rates go in straight lines from one's middle to the next one's.

    Invalid for a negative count, or more steps than can be held.
    """
    given = np.asarray(counts, dtype=np.float64)
    if not len(given) or not np.isfinite(given).all() or (given < 0).any():
        raise Invalid("A load must have counts, each of them 0 or more.")
    steps = round(len(given) * counted_s / step_s)
    if not 0 < steps <= MOST_STEPS:
        raise Invalid(f"A load has 1 to {MOST_STEPS:,} steps, not {steps:,}; make them longer.")
    middles = (np.arange(len(given)) + 0.5) * counted_s
    at = (np.arange(steps) + 0.5) * step_s
    return LoadShape(np.interp(at, middles, given / counted_s) * step_s, step_s, start_s)


def drawn(load: LoadShape, seed: int) -> LoadShape:
    """The same rates, with the number of requests in each step drawn as a Poisson process gives them."""
    counts = np.random.default_rng(seed).poisson(load.arrivals).astype(np.float64)
    return LoadShape(counts, load.step_s, load.start_s)


def of_loads(loads: Sequence[Load], *, step_s: float = 1.0) -> LoadShape:
    """As recorded: what the counters grew by is spread evenly between one `Load` and the next.

    A counter that falls (a gateway came or went) says nothing of that time: no requests are assumed. Invalid when there
    are not two of them.
    """
    if len(loads) < 2 or loads[-1].at_s - loads[0].at_s < step_s:
        raise Invalid("The record has less than a second of load, so there is nothing to try policies on.")
    times = np.array([load.at_s for load in loads])
    times = np.maximum.accumulate(times)  # the wall clock may have been set back
    grown = np.diff(np.array([load.arrived for load in loads], dtype=np.float64), prepend=loads[0].arrived)
    total = np.cumsum(np.maximum(grown, 0.0))
    start_s = float(np.floor(times[0]))
    steps = int(np.ceil((times[-1] - start_s) / step_s))
    if steps > MOST_STEPS:
        raise Invalid(f"A load has at most {MOST_STEPS:,} steps, not {steps:,}; choose a shorter time.")
    edges = start_s + np.arange(steps + 1) * step_s
    return LoadShape(np.diff(np.interp(edges, times, total)), step_s, start_s)


def work_of(loads: Sequence[Load]) -> float | None:
    """Replica-seconds that a request took, over all that is recorded; None when nothing was answered."""
    work_s = ended = 0.0
    for before, after in itertools.pairwise(loads):
        if after.work_s >= before.work_s and after.ended >= before.ended:
            work_s += after.work_s - before.work_s
            ended += after.ended - before.ended
    return work_s / ended if ended and work_s > 0 else None
