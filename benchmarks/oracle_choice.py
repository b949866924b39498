"""Settings that the oracle's benchmark tries, as `trimtab plan` does, and one run of a load under one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.oracle_cases import KEPT, Case, Trace
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, SIGNAL_NAMESPACE, ScalingPolicy, TargetTracking
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode, Scenario, Serving

DIMENSIONS = (("EndpointName", "e"), ("VariantName", "AllTraffic"))
CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
AWS_BUSY = 0.7
TRY_S = 3600.0  # settings are tried on hours
MARGIN = 0.0002  # of the SLO, where they were not tried on all there is
TARGETS = (0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
WINDOWS = ((60.0, 6.0), (60.0, 30.0), (20.0, 10.0), (20.0, 20.0), (10.0, 10.0), (5.0, 5.0))
PATIENCE = (0.0125, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)))  # parts of the SLO's time
FINE_PATIENCE = 0.0125
MOST_TRIES = 6  # with less patience, where what was chosen does not keep the SLO of the whole
LEAST_STEP, LARGEST_STEP = 0.7, 0.96
FINE_STEP, COARSE_STEP = 1.01, 1.08
GOOD = 0.93  # times as many late requests as may be: near enough
IDLE_S = (0.0, 1.0, 2.0, 4.0, 7.0, 12.0, 20.0, 40.0)


class Room(NamedTuple):
    """Another part of the swells that room is left for, and about so many times the patience then."""

    headroom: float
    patience: float


ROOMS = (Room(0.0, 0.72), Room(0.8, 0.9), Room(0.95, 1.07))


class Setting(Struct, frozen=True):
    """Of an event policy; `patience_s` 0: by target and windows."""

    target: float
    stable_s: float
    panic_s: float
    headroom: float = 0.0
    patience_s: float = 0.0

    def __str__(self) -> str:
        told = (
            f"{self.patience_s:.3g}s/{self.panic_s:g}"
            if self.patience_s
            else f"{self.target:g}/{self.stable_s:g}/{self.panic_s:g}"
        )
        return told + (f" h{self.headroom:g}" if self.headroom else "")

    def fitted(tried: Sequence[tuple[float, float]], *, upward: bool) -> float | None:
    """With how many times the patience to try next what was `tried` with so many times, and was late with so many
    times as many requests as may be. None: no more. `upward`: more of it, too, where the SLO leaves room."""
    missed = [scale for scale, late in tried if late > 1]
    kept = [scale for scale, late in tried if late <= 1]
    if len(tried) > MOST_TRIES or (not missed and not upward) or any(GOOD < late <= 1 for _, late in tried):
        return None
    if not kept:
        scale, late = min(tried)
        return scale * min(max(float(late**-0.4), LEAST_STEP), LARGEST_STEP)
    if not missed:
        scale, late = max(tried)
        return scale * min(max(max(late, 1e-3) ** -0.2, 1 / LARGEST_STEP), 1 / LEAST_STEP)
    low, high = max(kept), min(missed)
    return None if high / low < (FINE_STEP if upward else COARSE_STEP) else sqrt(low * high)


def _by_target(best: Setting, cost: Cost) -> Setting:
    best = min((replace(best, stable_s=stable_s, panic_s=panic_s) for stable_s, panic_s in WINDOWS), key=cost)
    return _along(best, [replace(best, target=target) for target in TARGETS], cost)


def _along(best: Setting, line: Sequence[Setting], cost: Cost) -> Setting:
    """Along a line of settings from the one that is nearest to `best`, as long as it gets better."""
    place = min(range(len(line)), key=lambda n: _distance(line[n], best))
    at, best = place, min(best, line[place], key=cost)
    for way in (1, -1):
        at = place + way
        while 0 <= at < len(line) and cost(line[at]) < cost(best):
            best, at = line[at], at + way
    return best


def _distance(one: Setting, other: Setting) -> float:
    return abs(one.target - other.target) + abs(one.panic_s - other.panic_s) + abs(one.patience_s - other.patience_s)
