"""What an endpoint costs at the very least: so that those that cannot be the cheapest are never simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trimtab.advisor.plan.demand import Demand, least_work_s, work_on
from trimtab.advisor.plan.schedules import least_ever
from trimtab.advisor.plan.trials import Pricing
from trimtab.resources.cost import MICRO
from trimtab.sim.world import Mode, Serving, Workload

_HOUR_S: Final = 3600.0


def floor_of(
    serving: Serving, workloads: Mapping[str, Workload], demands: Mapping[str, Demand], pricing: Pricing
) -> int | None:
    """Micro-dollars over the simulated time, of any run in which the SLOs are kept; None where the price is not known.

    Replicas are paid for at least as many as there must always be, and at least for the work that comes.
    """
    work_s = span_s = 0.0
    for name in serving.workloads:
        workload, demand = workloads[name], demands[name]
        work = work_on(workload, serving.instance_type)
        if work is None:
            return None
        kept = workload.slo.kept if workload.slo is not None else 0.0
        needed_s = least_work_s(workload, demand, work, kept)
        work_s += needed_s * work.slots if serving.mode is Mode.SERVERLESS else needed_s
        span_s = demand.span_s
    if serving.mode is Mode.SERVERLESS:
        each = pricing.usd_per_serverless_s(serving.memory_mb)
        return None if each is None else int(each * work_s * MICRO)
    usd = pricing.usd_per_hour(serving.instance_type, serving.mode, is_spot=serving.is_spot)
    if usd is None:
        return None
    always_s = 0.0 if serving.mode is Mode.BATCH else least_ever(serving) * span_s
    return int(usd * max(always_s, work_s) * MICRO / _HOUR_S)
