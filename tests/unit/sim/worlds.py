"""Small worlds to simulate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_1S, SIGNAL_EVENT, ScalingPolicy, TargetTracking
from trimtab.sim.arrivals import Rates, Times
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Arrivals, Fault, Mode, Outcome, Scenario, Serving, Slo, Work, Workload

T0 = 1_700_000_040.0  # a whole minute
DIMENSIONS = (("EndpointName", "e"), ("VariantName", "AllTraffic"))
EVERY_MINUTE = TargetTracking(target_value=600.0, predefined="SageMakerVariantInvocationsPerInstance")
TEN_SECONDS = TargetTracking(target_value=0.7, predefined="SageMakerVariantConcurrentRequestsPerModelHighResolution")
ONE_SECOND = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_1S, DIMENSIONS, 1, "Average"))
EVENT = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average"))


def policies(*tracking: TargetTracking) -> tuple[ScalingPolicy, ...]:
    return tuple(
        ScalingPolicy(name=f"p{n}", arn=f"arn:p{n}", endpoint="e", variant="AllTraffic", created_s=T0, tracking=one)
        for n, one in enumerate(tracking)
    )


def moments(at_s: Sequence[float], until_s: float, uniform: Sequence[float] | None = None) -> Times:
    """Seconds after T0."""
    drawn = None if uniform is None else np.array(uniform, dtype=np.float64)
    return Times(at_s=T0 + np.array(at_s, dtype=np.float64), start_s=T0, end_s=T0 + until_s, uniform=drawn)


def steady(rate: float, seconds: int, **more: Any) -> Rates:
    return Rates(rate=np.full(seconds, float(rate)), step_s=1.0, start_s=T0, **more)


def surge(before: int = 300, during: int = 300, after: int = 1300) -> Rates:
    rate = np.concatenate([np.full(before, 2.0), np.full(during, 40.0), np.full(after, 2.0)])
    return Rates(rate=rate, step_s=1.0, start_s=T0)


def workload(arrivals: Arrivals, work: Work, name: str = "w", **more: Any) -> Workload:
    return Workload(name=name, arrivals=arrivals, work={"*": work}, **more)


def simulated(
    arrivals: Arrivals,
    work: Work | float,
    *,
    seed: int = 0,
    faults: tuple[Fault, ...] = (),
    slo_s: float = 0.2,
    **more: Any,
) -> Outcome:
    """One workload on one endpoint, which is `more`."""
    takes = work if isinstance(work, Work) else Work(quantiles_s=(work,))
    one = workload(arrivals, takes, slo=Slo(within_s=slo_s))
    serving = Serving(**({"name": "e", "mode": Mode.REAL_TIME, "workloads": ("w",), "instance_type": "x"} | more))
    architecture = Architecture(name="a", endpoints=(serving,))
    scenario = Scenario(name="s", workloads=(one,), architectures=(architecture,), faults=faults)
    return simulate(scenario, architecture, seed=seed)
