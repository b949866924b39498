"""How far a plan is from the clairvoyant: what anybody would pay who knew every request beforehand."""

from __future__ import annotations

from math import isinf
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.plan.limits import Limits, least_replicas
from trimtab.advisor.plan.result import Bound, Plan
from trimtab.advisor.plan.schedules import least_ever
from trimtab.advisor.plan.trials import Lasting, Pricing
from trimtab.errors import TrimtabError
from trimtab.resources.cost import MICRO
from trimtab.sim.oracle.bound import bound_of
from trimtab.sim.world import Mode, Outcome, Serving, Used

_HOUR_S: Final = 3600.0
_BOUNDED: Final = (Mode.REAL_TIME, Mode.ASYNC)


def with_bound(plan: Plan, pricing: Pricing, seed: int, limits: Limits) -> Plan:
    """The plan with the bound of those of its endpoints that have one: replicas that serve one workload each.

    Whoever knew all would be bound by `limits` alone, not by how many replicas the plan has found it well to keep.
    """
    workloads = {workload.name: workload for workload in plan.workloads}
    least = paid = 0.0
    left: list[str] = []
    for endpoint in plan.after.architecture.endpoints:
        used = _used(plan.after.outcome, endpoint)
        usd = _usd(endpoint, pricing)
        if endpoint.mode not in _BOUNDED or len(endpoint.workloads) != 1 or usd is None:
            left.append(endpoint.name)
            continue
        workload = workloads[endpoint.workloads[0]]
        outcome = plan.after.outcome
        lasting = replace(workload, arrivals=Lasting(workload.arrivals, outcome.start_s, outcome.end_s))
        try:
            found = bound_of(lasting, _free(endpoint, limits), seed=seed)
        except TrimtabError:  # an SLO that the oracle has nothing to say of
            left.append(endpoint.name)
            continue
        if isinf(found.replica_s) or not found.replica_s:
            left.append(endpoint.name)
            continue
        least += found.replica_s * usd
        paid += used.replica_s * usd
    if not least:
        return plan
    note = f"(Without {', '.join(left)}: there is no bound of shared, serverless and batch endpoints.)" if left else ""
    return replace(plan, bound=Bound(cost=int(least * MICRO / _HOUR_S), of=int(paid * MICRO / _HOUR_S), note=note))


def _free(endpoint: Serving, limits: Limits) -> Serving:
    least = min(least_replicas(limits, endpoint.mode), least_ever(endpoint))
    return replace(endpoint, min_replicas=least, max_replicas=max(limits.max_replicas, endpoint.max_replicas))


def _usd(endpoint: Serving, pricing: Pricing) -> float | None:
    if not endpoint.instance_type:
        return None
    return pricing.usd_per_hour(endpoint.instance_type, endpoint.mode, is_spot=endpoint.is_spot)


def _used(outcome: Outcome, endpoint: Serving) -> Used:
    return next(used for used in outcome.used if used.endpoint == endpoint.name)
