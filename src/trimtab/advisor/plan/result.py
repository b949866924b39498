"""A plan: what there is, what should be, what each step of the way saves, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from trimtab.advisor.plan import settings
from trimtab.advisor.plan.documents import action_document, configuration_of
from trimtab.advisor.plan.settings import Setting
from trimtab.resources.cost import MICRO
from trimtab.resources.metric_documents import watched_document
from trimtab.sim.world import Architecture, Outcome, Served, Serving, Slo, Workload

DAY_S: Final = 86_400.0
MONTH_S: Final = 730 * 3600.0  # AWS's month


class Side(Struct, frozen=True, kw_only=True):
    """An architecture and what came of it."""

    architecture: Architecture
    outcome: Outcome
    cost: int  # micro-dollars, over the simulated time

    @property
    def span_s(self) -> float:
        """The simulated time."""
        return self.outcome.end_s - self.outcome.start_s

    @property
    def day_usd(self) -> float:
        """Dollars a day."""
        return self.cost / MICRO / self.span_s * DAY_S

    @property
    def month_usd(self) -> float:
        """Dollars in 730 hours."""
        return self.cost / MICRO / self.span_s * MONTH_S

    def served(self, workload: str) -> Served:
        """What became of one workload. KeyError."""
        return next(served for served in self.outcome.served if served.workload == workload)

    def endpoint(self, workload: str) -> Serving:
        """Who serves it. StopIteration for an unknown one."""
        return next(endpoint for endpoint in self.architecture.endpoints if workload in endpoint.workloads)


class Step(Struct, frozen=True, kw_only=True):
    """One step of the way: with so much more freedom, so much is spent. `kept`: all SLOs are."""

    name: str
    cost: int  # micro-dollars, over the simulated time
    kept: bool


class Miss(Struct, frozen=True, kw_only=True):
    """An SLO that nothing that was tried keeps, and how near the plan comes. `proof`: why nobody can; "" where somebody
    perhaps could."""

    workload: str
    slo: Slo
    within: float  # part of the requests
    at_kept_s: float  # the latency that `slo.kept` of all requests are within; infinite where so many fail
    proof: str = ""


class Bound(Struct, frozen=True, kw_only=True):
    """What the same load would cost whoever knew the future, on the instances of the plan."""

    cost: int  # micro-dollars, over the simulated time
    of: int  # of what the plan costs, those endpoints that there is a bound for
    note: str = ""


class Committed(Struct, frozen=True, kw_only=True):
    """A commitment on the plan's baseline. Dollars an hour; `month_usd` with it."""

    usd_per_hour: float
    discount: float
    term: str
    month_usd: float
    saves_month_usd: float
    note: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """The answer. `before` is None where nothing is there yet."""

    scenario: str
    region: str
    where: str
    workloads: tuple[Workload, ...]
    before: Side | None
    after: Side
    steps: tuple[Step, ...]
    misses: tuple[Miss, ...]
    simulated: int
    spared: int  # endpoints that bounds ruled out before they were simulated
    bound: Bound | None = None
    committed: Committed | None = None
    migration_usd: float | None = None
    settings: tuple[Setting, ...] = ()  # that somebody has made, and what becomes of them
    notes: tuple[str, ...] = ()
    is_stopped: bool = False  # by Ctrl-C: `notes` say what that means

    @property
    def saves_month_usd(self) -> float:
        """Dollars in 730 hours, a commitment included; 0 where there is nothing to compare with."""
        if self.before is None:
            return 0.0
        return self.before.month_usd - self.month_usd

    @property
    def month_usd(self) -> float:
        """What the plan costs in 730 hours."""
        return self.committed.month_usd if self.committed is not None else self.after.month_usd

    @property
    def break_even_days(self) -> float | None:
        """When the migration is paid for; None where it is not known what it costs, or it never is."""
        if self.migration_usd is None or self.saves_month_usd <= 0:
            return None
        return self.migration_usd / (self.saves_month_usd * DAY_S / MONTH_S)


def no_proof(_workload: str) -> str:
    """Nothing is proved."""
    return ""


def misses_of(
    workloads: Sequence[Workload], outcome: Outcome, proof: Callable[[str], str] = no_proof
) -> tuple[Miss, ...]:
    """The SLOs that were not kept. `proof`: of a workload, by name, that nobody could; or ""."""
    by_name = {served.workload: served for served in outcome.served}
    found = []
    for workload in workloads:
        served, slo = by_name[workload.name], workload.slo
        if slo is None or served.within_slo is None or not served.requests or served.within_slo >= slo.kept - 1e-12:
            continue
        at_kept_s = quantile_of_all(served, slo.kept)
        why = proof(workload.name)
        found.append(Miss(workload=workload.name, slo=slo, within=served.within_slo, at_kept_s=at_kept_s, proof=why))
    return tuple(found)


def quantile_of_all(served: Served, part: float) -> float:
    """The latency that this part of all requests is within, failures and refusals being infinitely slow."""
    from trimtab.sim.latency import quantile

    wanted = part * served.requests
    if not served.answered or wanted > served.answered:
        return float("inf")
    return quantile(served.histogram, min(1.0, wanted / served.answered))


def document(plan: Plan) -> dict[str, Any]:
    """As JSON."""
    return {
        "scenario": plan.scenario,
        "region": plan.region,
        "on": plan.where,
        "keeps_every_slo": not plan.misses,
        "before": _side(plan, plan.before),
        "after": _side(plan, plan.after),
        "steps": [
            {"name": step.name, "micro_usd": step.cost, "month_usd": _month(plan, step.cost), "keeps_slos": step.kept}
            for step in plan.steps
        ],
        "saves_month_usd": round(plan.saves_month_usd, 6),
        "migration_usd": plan.migration_usd,
        "break_even_days": plan.break_even_days,
        "misses": [
            {
                "workload": miss.workload,
                "within_s": miss.slo.within_s,
                "wanted": miss.slo.kept,
                "reached": miss.within,
                "latency_at_wanted_s": miss.at_kept_s if miss.at_kept_s < float("inf") else None,
                "proof": miss.proof or None,
            }
            for miss in plan.misses
        ],
        "clairvoyant": None
        if plan.bound is None
        else {"micro_usd": plan.bound.cost, "of_micro_usd": plan.bound.of, "note": plan.bound.note},
        "commitment": None
        if plan.committed is None
        else {name: getattr(plan.committed, name) for name in plan.committed.__struct_fields__},
        "is_stopped": plan.is_stopped,
        "simulated": plan.simulated,
        "ruled_out": plan.spared,
        "settings": settings.document(plan.settings),
        "notes": list(plan.notes),
    }


def _month(plan: Plan, cost: int) -> float:
    return round(cost / MICRO / plan.after.span_s * MONTH_S, 6)


def _side(plan: Plan, side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "architecture": side.architecture.name,
        "micro_usd": side.cost,
        "simulated_s": side.span_s,
        "month_usd": round(side.month_usd, 6),
        "endpoints": [endpoint_document(endpoint) for endpoint in side.architecture.endpoints],
        "workloads": [_served(side.served(workload.name)) for workload in plan.workloads],
    }


def endpoint_document(endpoint: Serving) -> dict[str, Any]:
    """One endpoint; policies, alarms and scheduled actions as AWS's calls take them."""
    fields = {
        name: getattr(endpoint, name)
        for name in endpoint.__struct_fields__
        if name not in ("policies", "alarms", "schedule") and getattr(endpoint, name) not in ("", 0, None, (), 0.0)
    }
    fields["min_replicas"] = endpoint.min_replicas
    if endpoint.schedule:
        fields["schedule"] = [action_document(action) for action in endpoint.schedule]
    if endpoint.alarms:
        fields["alarms"] = [{"policy": alarm.policy} | watched_document(alarm.watched) for alarm in endpoint.alarms]
    return fields | {"policies": [configuration_of(policy) for policy in endpoint.policies]}


def _served(served: Served) -> dict[str, Any]:
    names = ("requests", "answered", "refused", "failed", "cold", "within_slo", "p50_s", "p95_s", "p99_s", "max_s")
    return {"workload": served.workload} | {name: getattr(served, name) for name in names}
