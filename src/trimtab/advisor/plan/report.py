"""The HTML report of a plan: what is paid, what would be, why, and what callers would notice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from trimtab.advisor.html.bars import Bar, bars_svg, waterfall
from trimtab.advisor.html.lines import Curve, lines_svg
from trimtab.advisor.html.page import page_of
from trimtab.advisor.plan import words
from trimtab.advisor.plan.result import MONTH_S, Plan, Side
from trimtab.advisor.plan.settings import lines
from trimtab.resources.cost import MICRO
from trimtab.sim.load import Floats
from trimtab.sim.world import Series

STEP_WORDS = {
    "scaling": "Scale the endpoints that are there",
    "instance types": "Other instance types",
    "modes": "Asynchronous, serverless, batch",
    "shared endpoints": "Share endpoints, and small changes",
}


def report(plan: Plan, at_s: float, *, program: str = "") -> str:
    """One HTML document that needs nothing but itself. `program`: what builds it, to be shown."""
    return page_of(
        "plan.html.j2",
        plan=plan,
        date=datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        words=words,
        bill=_bill(plan),
        charts=_charts(plan),
        rows=[_row(plan, workload.name) for workload in plan.workloads],
        endpoints=[(endpoint.name, words.how(endpoint), endpoint.workloads) for endpoint in _endpoints(plan.after)],
        before=[(endpoint.name, words.how(endpoint), endpoint.workloads) for endpoint in _endpoints(plan.before)],
        settings=lines(plan.settings),
        program=program,
    )


def _endpoints(side: Side | None) -> Sequence[Any]:
    return () if side is None else side.architecture.endpoints


def steps_of(plan: Plan) -> list[tuple[str, float]]:
    """Each step of the way: its name, and by how many dollars a month it changes the bill. Those of 0 are left out."""
    month = MONTH_S / plan.after.span_s / MICRO
    changes = [
        (STEP_WORDS.get(after.name, after.name), (after.cost - before.cost) * month)
        for before, after in pairwise(plan.steps)
    ]
    if plan.committed is not None:
        changes.append(("Commit to the baseline", -plan.committed.saves_month_usd))
    return [(name, change) for name, change in changes if abs(change) >= 0.005]


def _bill(plan: Plan) -> Markup:
    if plan.before is None:
        return Markup("")
    first = Bar("A month, as it is now", 0.0, plan.before.month_usd, words.dollars(plan.before.month_usd), "now")
    steps = [(name, change, ("+" if change > 0 else "") + words.dollars(change)) for name, change in steps_of(plan)]
    return bars_svg("The month's bill", waterfall(first, steps, ("A month, as planned", words.dollars(plan.month_usd))))


def _charts(plan: Plan) -> list[tuple[str, Markup]]:
    """Requests and replicas of everything over time, before and after; latencies of each workload's endpoint."""
    found = []
    sides = [(side, tone, name) for side, tone, name in _sides(plan) if _series(side)]
    if not sides:
        return []
    after = _series(plan.after)
    step_s = after[0].step_s if after else 1.0
    if after:
        requests = _sum([series.requests for series in after])
        found.append(
            ("Requests", lines_svg("Requests", "per second", step_s, [Curve("requests", list(requests), "caution")]))
        )
    curves = [Curve(name, list(_sum([series.ready for series in _series(side)])), tone) for side, tone, name in sides]
    found.append(("Replicas that are ready", lines_svg("Replicas", "replicas", step_s, curves)))
    slowest = [Curve(name, list(_most([series.p99_s for series in _series(side)])), tone) for side, tone, name in sides]
    found.append(
        ("99th percentile of latency, of the slowest endpoint", lines_svg("Latency", "seconds", step_s, slowest))
    )
    return [(title, chart) for title, chart in found if chart]


def _sides(plan: Plan) -> list[tuple[Side, str, str]]:
    before = [(plan.before, "now", "now")] if plan.before is not None else []
    return [*before, (plan.after, "after", "planned")]


def _series(side: Side) -> list[Series]:
    return [used.series for used in side.outcome.used if used.series is not None]


def _sum(each: Sequence[Floats]) -> Floats:
    longest = max(len(values) for values in each)
    total: Floats = np.zeros(longest)
    for values in each:
        total[: len(values)] += np.nan_to_num(values)
    return total


def _most(each: Sequence[Floats]) -> Floats:
    longest = max(len(values) for values in each)
    largest: Floats = np.full(longest, -np.inf)
    for values in each:
        largest[: len(values)] = np.fmax(largest[: len(values)], values)
    return np.where(np.isfinite(largest), largest, np.nan)


def _row(plan: Plan, name: str) -> dict[str, Any]:
    workload = next(workload for workload in plan.workloads if workload.name == name)
    return {
        "name": name,
        "slo": words.slo_words(workload.slo),
        "before": words.row(plan.before, workload) if plan.before is not None else None,
        "after": words.row(plan.after, workload),
    }
