"""A commitment on what the plan always needs. SageMaker Savings Plans discount dollars an hour, whatever they buy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.advisor.commitments import YEAR_H, Commitment, sized
from trimtab.advisor.plan.result import MONTH_S, Committed, Plan
from trimtab.advisor.plan.trials import Pricing
from trimtab.advisor.prices.tables import discounts
from trimtab.errors import Invalid
from trimtab.sim.load import Floats
from trimtab.sim.world import Mode, Outcome, Used

_HOUR_S: Final = 3600.0
_DAY_H: Final = 24
_MONTH_H: Final = MONTH_S / _HOUR_S
_USUAL: Final = ("ec2", "1yr", "no-upfront")


def with_commitment(plan: Plan, pricing: Pricing, discount: float, *, term_years: int = 1, source: str = "") -> Plan:
    """The plan with the commitment that saves most of what it needs on demand; without one, where none is safe.

    `discount`: what committed dollars are cheaper by, 0 to 1. Batch jobs and serverless inference are covered by such
    plans, too, but are not always needed: they are left on demand. Spot capacity is not covered. Invalid for a
    discount out of range.
    """
    usage = hourly_usd(plan.after.outcome, pricing)
    if len(usage) < _DAY_H:
        note = f"no commitment was sized: it takes a day of requests at least, and there are {len(usage)} hours"
        return replace(plan, notes=(*plan.notes, note))
    found = sized(usage, discount, term_h=term_years * YEAR_H)
    if found.units <= 0:
        return replace(plan, notes=(*plan.notes, "no commitment: none saves something in 95 of 100 futures"))
    return replace(plan, committed=_committed(plan, usage, found, term_years, source))


def _committed(plan: Plan, usage: Floats, found: Commitment, term_years: int, source: str) -> Committed:
    """What it saves in an average month of the term, by the futures that it was sized on."""
    saves_month_usd = float(usage.mean()) * found.saves * _MONTH_H
    note = (
        f"It covers {found.covers:.0%} of what is used, saves {found.saves:.1%} on average and at least"
        f" {found.saves_at_least:.1%} in 95 of 100 futures drawn from {found.history_h} hours."
    )
    return Committed(
        # Dollars that are paid: a commitment is told after its discount.
        usd_per_hour=found.units * (1 - found.discount),
        discount=found.discount,
        term=f"{term_years} year{'s' if term_years > 1 else ''}, {found.discount:.0%} off",
        month_usd=plan.after.month_usd - saves_month_usd,
        saves_month_usd=saves_month_usd,
        note=" ".join(part for part in (note, found.note, source) if part),
    )


def usual_discount() -> tuple[float, str]:
    """A year, nothing up front: what that takes off, and where the figure is from."""
    found = next(one for one in discounts() if (one.applies_to, one.term, one.payment) == _USUAL)
    return float(found.off), (
        f"The discount is EC2's average for a year with nothing up front ({found.as_of}): of SageMaker Savings Plans no"
        " rate by type is known. Give yours: --discount."
    )


def hourly_usd(outcome: Outcome, pricing: Pricing) -> Floats:
    """Dollars on demand in each whole hour, of all endpoints on instances. Invalid where a price is missing."""
    hours = int((outcome.end_s - outcome.start_s) / _HOUR_S + 1e-9)
    total: Floats = np.zeros(hours)
    for used in outcome.used:
        if used.mode in (Mode.SERVERLESS, Mode.BATCH) or used.is_spot or not used.replica_s:
            continue
        usd = pricing.usd_per_hour(used.instance_type, used.mode, is_spot=used.is_spot)
        if usd is None:
            raise Invalid(f"There is no price of {used.instance_type}.")
        total += usd * _replicas_by_hour(used, hours)
    return total


def _replicas_by_hour(used: Used, hours: int) -> Floats:
    """Mean replicas of each hour, in the shape of those that were ready, so that they sum to what is paid for."""
    series = used.series
    flat: Floats = np.full(hours, used.replica_s / max(1, hours) / _HOUR_S)
    if series is None or not len(series.ready):
        return flat
    shape = _by_hour(series.ready, series.step_s, hours)
    if not float(shape.sum()):
        return flat
    made: Floats = shape * (used.replica_s / (float(shape.sum()) * _HOUR_S))
    return made


def _by_hour(values: Sequence[float] | Floats, step_s: float, hours: int) -> Floats:
    """Means over hours of values that hold for a step each."""
    edges = np.arange(len(values) + 1) * step_s
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.asarray(values)) * step_s)])
    at = np.interp(np.arange(hours + 1) * _HOUR_S, edges, sums)
    made: Floats = np.diff(at) / _HOUR_S
    return made
