"""A plan in words and short figures, for a terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Final

from trimtab.advisor.html.money import usd
from trimtab.advisor.plan.result import Miss, Plan, Side, quantile_of_all
from trimtab.advisor.plan.signals import signal_of
from trimtab.resources.cost import MICRO
from trimtab.sim.world import Mode, Serving, Slo, Workload

_NAMED: Final = 4  # workloads in a note


def dollars(amount_usd: float) -> str:
    """`$1,234`, `$12.30`, `$0.0042`."""
    return usd(round(amount_usd * MICRO))


def seconds(value_s: float) -> str:
    """`12 ms`, `1.25 s`, `3.0 min`, `2.0 h`, `14 days`, `never`."""
    if isinf(value_s):
        return "never"
    if value_s < 1:
        return f"{value_s * 1e3:.3g} ms"
    if value_s < 120:
        return f"{value_s:.3g} s"
    if value_s < 7200:
        return f"{value_s / 60:.1f} min"
    return f"{value_s / 3600:.1f} h" if value_s < 2 * 86_400 else f"{value_s / 86_400:.3g} days"


def names_of(names: Sequence[str]) -> str:
    """`a, b, c, d and 23 more`."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def slo_words(slo: Slo | None) -> str:
    """`99% within 1 s`."""
    return "-" if slo is None else f"{slo.kept * 100:.4g}% within {seconds(slo.within_s)}"


def how(endpoint: Serving) -> str:
    """`multi-model, ml.g4dn.xlarge x 1-4 (event)`."""
    if endpoint.mode is Mode.SERVERLESS:
        more = f" + {endpoint.provisioned} provisioned" if endpoint.provisioned else ""
        return f"serverless {endpoint.memory_mb} MB, at most {endpoint.max_concurrency}{more}"
    if endpoint.mode is Mode.BATCH:
        spot = " spot" if endpoint.is_spot else ""
        return f"batch {endpoint.instance_type}{spot} x {endpoint.min_replicas}, {endpoint.runs_at}"
    least, most = endpoint.min_replicas, endpoint.max_replicas
    count = str(least) if least == most else f"{least} to {most}"
    pins = f", {len(endpoint.pinned)} pinned" if endpoint.pinned else ""
    target = ""
    if endpoint.policies and (tracking := endpoint.policies[0].tracking) is not None:
        value = tracking.target_value
        target = f" at {value:,.0f}" if value >= 100 else f" at {value:.3g}"
    by = f"{signal_of(endpoint.policies)}{target}" if endpoint.policies or not endpoint.schedule else "by schedule"
    if endpoint.policies and endpoint.schedule:
        by += ", by schedule"
    spot = " spot" if endpoint.is_spot else ""
    return f"{endpoint.mode} {endpoint.instance_type}{spot} x {count} ({by}){pins}"


def row(side: Side, workload: Workload) -> tuple[str, ...]:
    """Endpoint, requests, p50, p95, p99, cold starts, within the SLO: of one workload on one side."""
    served = side.served(workload.name)
    within = "-" if served.within_slo is None else f"{served.within_slo * 100:.4g}%"
    percentiles = (quantile_of_all(served, 0.5), quantile_of_all(served, 0.95), quantile_of_all(served, 0.99))
    return (
        side.endpoint(workload.name).name,
        f"{served.requests:,}",
        *(seconds(value) if served.requests else "-" for value in percentiles),
        f"{served.cold:,}",
        f"{served.refused + served.failed:,}",
        within,
    )


ROW: Final = ("ENDPOINT", "REQUESTS", "P50", "P95", "P99", "COLD", "LOST", "WITHIN SLO")


def miss_words(miss: Miss) -> str:
    """That an SLO cannot be kept, and how near the plan comes."""
    part, wanted = f"{miss.within * 100:.4g}%", f"{miss.slo.kept * 100:.4g}%"
    said = f"nothing can keep {slo_words(miss.slo)}: {miss.proof}"
    if not miss.proof:
        said = f"nothing that was tried keeps {slo_words(miss.slo)}"
    return (
        f"{miss.workload}: {said}. Nearest: {part} within {seconds(miss.slo.within_s)}; {wanted} are answered within"
        f" {seconds(miss.at_kept_s)}."
    )


def verdict(plan: Plan) -> str:
    """The answer in a sentence."""
    now = f"{dollars(plan.month_usd)} a month"
    if plan.before is None:
        said = f"The cheapest that was found: {now}"
    elif plan.saves_month_usd > 0:
        share = plan.saves_month_usd / plan.before.month_usd if plan.before.month_usd else 0.0
        said = f"{now} instead of {dollars(plan.before.month_usd)}: {dollars(plan.saves_month_usd)} less ({share:.0%})"
    elif plan.saves_month_usd < 0:
        said = f"{now} instead of {dollars(plan.before.month_usd)}: what is there costs less, but breaks an SLO"
    else:
        said = f"{now}: nothing cheaper was found than what is there"
    return said + ("; every SLO is kept." if not plan.misses else f"; {len(plan.misses)} SLO(s) cannot be kept.")


def break_even(plan: Plan) -> str:
    """When a migration is paid for; "" where nobody said what it costs."""
    if plan.migration_usd is None:
        return ""
    days = plan.break_even_days
    if days is None:
        return f"A migration of {dollars(plan.migration_usd)} is never paid for: nothing is saved."
    return f"A migration of {dollars(plan.migration_usd)} is paid for after {days:,.0f} days."


def from_optimum(plan: Plan) -> str:
    """How far from what somebody who knew the future would pay; "" where there is no bound."""
    if plan.bound is None or not plan.bound.cost:
        return ""
    ratio = plan.bound.of / plan.bound.cost
    more = f" {plan.bound.note}" if plan.bound.note else ""
    return f"{ratio:.2f} x the least that anybody could pay who knew every request beforehand.{more}"
