"""What an audit's findings come to together. Pure.

Several findings may be about the same endpoint (give it a policy; or delete it): their savings do not add up. So only
those count that are of different things, the best first: what is told is what can be had, not the sum of all offers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from trimtab.advisor.finding import Finding


class Totals(Struct, frozen=True, kw_only=True):
    """Micro-dollars a month. `counted` are the findings that `saves` is the sum of; `costs` is of missing instances."""

    saves: int
    costs: int
    counted: tuple[Finding, ...]
    costing: tuple[Finding, ...]
    besides: tuple[Finding, ...]  # they save, too, but of what a counted one saves already
    unpriced: tuple[Finding, ...]


def totals(findings: Iterable[Finding]) -> Totals:
    """The best savings that do not touch each other, and what mending the rest costs."""
    found = list(findings)
    saving = [one for one in found if (one.saves_micro_usd_per_month or 0) > 0]
    costing = [one for one in found if (one.saves_micro_usd_per_month or 0) < 0]
    counted = _apart(saving)
    taken = {one.id for one in counted}
    return Totals(
        saves=sum(saved(one) for one in counted),
        costs=-sum(saved(one) for one in costing),
        counted=tuple(counted),
        costing=tuple(costing),
        besides=tuple(one for one in saving if one.id not in taken),
        unpriced=tuple(one for one in found if one.saves_micro_usd_per_month is None),
    )


def saved(finding: Finding) -> int:
    """Micro-dollars a month; 0 where it is not known."""
    return finding.saves_micro_usd_per_month or 0


def of(finding: Finding) -> frozenset[str]:
    """The resources whose cost the saving is a part of."""
    return frozenset(finding.covers or (finding.resource,))


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The most dollars first, what costs after what is free, the rest by kind and name."""
    return sorted(findings, key=lambda one: (-saved(one), one.kind, one.resource))


def _apart(saving: Sequence[Finding]) -> list[Finding]:
    """Findings of different things. One that is of many is taken where it saves more than all that it is taken for."""
    singles: dict[str, Finding] = {}
    for one in ordered(saving):
        if len(of(one)) == 1:
            singles.setdefault(next(iter(of(one))), one)
    taken: set[str] = set()
    counted = []
    for one in ordered(saving):
        if len(of(one)) > 1 and not of(one) & taken:
            instead = sum(saved(singles[name]) for name in of(one) if name in singles)
            if saved(one) >= instead:
                counted.append(one)
                taken |= of(one)
    counted += [one for name, one in singles.items() if name not in taken]
    return ordered(counted)
