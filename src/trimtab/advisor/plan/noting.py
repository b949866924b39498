"""What a reader of a plan has to know: what was taken for granted, left out, and why."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.advisor.plan.limits import START_S, Limits, forbidden
from trimtab.advisor.plan.search import Searcher
from trimtab.advisor.plan.words import names_of
from trimtab.sim.world import Mode, Scenario, Workload


def notes_of(scenario: Scenario, searcher: Searcher, limits: Limits) -> list[str]:
    """What a reader has to know of what the plan has taken for granted, or left out."""
    before = scenario.architectures[0].endpoints if scenario.architectures else ()
    notes = [
        f"{endpoint.name}: no price of provisioned concurrency is known, so the bill is without it"
        for endpoint in before
        if endpoint.provisioned
    ]
    if others := ", ".join(one.name for one in scenario.architectures[1:]):
        notes.append(
            f"what there is is the file's first architecture; {others}: not looked at (`trimtab simulate` does)"
        )
    if not limits.start_s:
        notes.append(
            "how long an instance takes to start is not told by any endpoint:"
            f" {START_S[limits.where]:g} s and the load of its model are assumed (--start)"
        )
    late = ", ".join(one.name for one in scenario.workloads if one.may_wait and one.name in searcher.struck)
    if late and Mode.BATCH in limits.modes:
        notes.append(f"{late}: batch was not tried, as faults of it cannot be simulated")
    notes += _not_tried(scenario.workloads, limits)
    notes += [f"{name} has no price in {scenario.region} and was left out" for name in sorted(searcher.unpriced)]
    return notes


def _not_tried(workloads: Sequence[Workload], limits: Limits) -> list[str]:
    """Modes that were not tried, by the reason: whoever knows better can say so in the scenario."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for workload in workloads:
        reasons: dict[str, list[str]] = {}
        for mode in limits.modes:
            if (mode is not Mode.MULTI_MODEL or len(workloads) > 1) and (why := forbidden(workload, mode)):
                reasons.setdefault(why, []).append(str(mode))
        for why, modes in reasons.items():
            found.setdefault((why, tuple(modes)), []).append(workload.name)
    return [f"{names_of(names)}: not tried as {' or '.join(modes)}: {why}" for (why, modes), names in found.items()]
