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

    def milder(self, scale: float) -> Setting:
        """With so many times its patience, or its target."""
        if self.patience_s:
            return replace(self, patience_s=self.patience_s * scale)
        return replace(self, target=self.target * scale)

    def policy(self) -> TargetTracking:
        settings = {
            "HeadroomQuantile": self.headroom,
            "PanicWindowSeconds": self.panic_s,
            "PatienceSeconds": self.patience_s,
            "StableWindowSeconds": self.stable_s,
        }
        dimensions = DIMENSIONS + tuple((name, f"{value:g}") for name, value in settings.items())
        stat = MetricStat(SIGNAL_NAMESPACE, SIGNAL_EVENT, dimensions, 0, "Average")
        return TargetTracking(target_value=self.target, stat=stat, scale_out_cooldown_s=0.0, scale_in_cooldown_s=0.0)


class Ran(Struct, frozen=True):
    """What came of a run."""

    replica_s: float
    requests: int
    kept: float  # requests in time
    changes: int


def by_minute(mean_s: float) -> TargetTracking:
    return TargetTracking(target_value=AWS_BUSY / mean_s * 60, predefined="SageMakerVariantInvocationsPerInstance")


def by_ten_seconds() -> TargetTracking:
    return TargetTracking(target_value=AWS_BUSY, predefined=CONCURRENCY)


def run(
    case: Case, start_s: float, tracking: TargetTracking | None, *, static: int = 0, most: int = 2000, seed: int = 1
) -> Ran:
    first = case.at_s < case.start_s + 300
    initial = static or min(max(1, ceil(1.3 * float(case.service_s[first].sum()) / 300)), most)
    policies = (
        ()
        if tracking is None
        else (
            ScalingPolicy(name="p", arn="arn:p", endpoint="e", variant="AllTraffic", created_s=0.0, tracking=tracking),
        )
    )
    serving = Serving(
        name="e", mode=Mode.REAL_TIME, workloads=(case.name,), instance_type="ml.any", min_replicas=static or 1,
        max_replicas=static or most, initial_replicas=initial, start_s=start_s, policies=policies,
        queue=1_000_000, timeout_s=600.0,
    )  # fmt: skip
    scenario = Scenario(name="oracle", workloads=(case.workload,), architectures=())
    outcome = simulate(scenario, Architecture(name="a", endpoints=(serving,)), seed=seed)
    (served,), (used,) = outcome.served, outcome.used
    requests = len(case.at_s)
    kept = 1.0 if served.within_slo is None else served.within_slo
    return Ran(used.replica_s, requests, kept * requests, len(used.decisions))


def busiest(case: Case) -> Case:
    """The hour with the most requests; all of a shorter load."""
    if case.end_s - case.start_s <= TRY_S * 1.5:
        return case
    counts, edges = np.histogram(case.at_s, bins=np.arange(case.start_s, case.end_s + 1, 1800.0))
    many = round(TRY_S / 1800)
    sums = np.convolve(counts, np.ones(many), "valid")
    begin_s = float(edges[int(np.argmax(sums))])
    return case.part(begin_s, begin_s + TRY_S)


class Bounds(Struct, frozen=True):
    """Replicas: `peak` that keep the SLO of the whole all the time; `most` that scaling may have, as a plan sets it."""

    peak: int
    most: int


def bounds_of(trace: Trace, seed: int, start_s: float) -> Bounds:
    """Of a whole trace. Static replicas are late on the days with the busiest ten seconds only: four are simulated."""
    top: list[tuple[float, int]] = []
    minute = 0.0
    for number in range(trace.parts):
        case = trace.part(number, seed)
        edges = np.arange(case.start_s, case.end_s + 60.1, 10.0)
        busy = np.histogram(case.at_s, edges, weights=case.service_s)[0] / 10
        minute = max(minute, float(np.convolve(busy, np.ones(6) / 6, "valid").max()))
        top.append((float(busy.max()), number))
    hardest = [trace.part(number, seed) for _, number in sorted(top)[-4:]]
    allowed = (1 - KEPT) * max(sum(trace.requests), sum(len(one.at_s) for one in hardest))

    def keeps(static: int) -> bool:
        ran = [run(one, start_s, None, static=static) for one in hardest]
        return sum(one.requests - one.kept for one in ran) <= allowed + 1e-6

    low, high = 0, 8
    while not keeps(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return Bounds(high, 2 * ceil(minute) + 2)


Cost = Callable[[Setting], tuple[float, float]]  # what is missing of the SLO, and replica-seconds


def chosen(samples: Sequence[Case], start_s: float, most: int, *, margin: float) -> Setting:
    """The cheapest setting that keeps the SLO on samples: one thing at a time, from several beginnings."""
    known: dict[Setting, tuple[float, float]] = {}
    slo = samples[0].workload.slo
    assert slo is not None
    within_s = slo.within_s

    def cost(setting: Setting) -> tuple[float, float]:
        if setting not in known:
            done = [run(one, start_s, setting.policy(), most=most) for one in samples]
            kept = sum(one.kept for one in done) / max(sum(one.requests for one in done), 1)
            known[setting] = (max(0.0, KEPT + margin - kept - 1e-9), sum(one.replica_s for one in done))
        return known[setting]

    found = [_by_target(Setting(3.0, 20.0, 10.0, headroom), cost) for headroom in (0.0, 0.95)]
    begin = [
        Setting(1.0, 60.0, idle_s, 0.9, part * within_s)
        for part in (0.025, 0.1, 0.4, 0.55, 0.7)
        for idle_s in (1.0, 6.0)
    ]
    patient = min(begin, key=cost)
    for _ in range(2):
        patient = _along(patient, [replace(patient, patience_s=part * within_s) for part in PATIENCE], cost)
        patient = _along(patient, [replace(patient, panic_s=idle_s) for idle_s in IDLE_S], cost)
    for room in ROOMS:
        line = [
            replace(patient, headroom=room.headroom, patience_s=patient.patience_s * room.patience * by)
            for by in (0.94, 1.0, 1.06)
        ]
        patient = _along(patient, line, cost)
    steps = np.arange(-3, 4) * FINE_PATIENCE * within_s + patient.patience_s
    found.append(_along(patient, [replace(patient, patience_s=float(one)) for one in steps if one > 0], cost))
    return min(found, key=cost)


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
        return scale * min(max(float(max(late, 1e-3) ** -0.2), 1 / LARGEST_STEP), 1 / LEAST_STEP)
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
