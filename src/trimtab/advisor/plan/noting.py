"""What a reader of a plan has to know: what was taken for granted, left out, and why."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.advisor.plan.demand import ANY_TYPE
from trimtab.advisor.plan.limits import START_S, Limits, forbidden
from trimtab.advisor.plan.search import Searcher
from trimtab.advisor.plan.signals import Where
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
    patient = [one.name for one in scenario.workloads if one.may_wait]
    if patient and limits.where is Where.TRIMTAB and Mode.BATCH not in limits.modes:
        notes.append(f"{names_of(patient)}: not tried as batch: trimtab has no transform jobs (--on aws plans them)")
    notes += _not_tried(scenario.workloads, limits)
    notes += _types_not_tried(scenario, limits)
    notes += [f"{name} has no price in {scenario.region} and was left out" for name in sorted(searcher.unpriced)]
    return notes


def _not_tried(workloads: Sequence[Workload], limits: Limits) -> list[str]:
    """Modes that were not tried, by the reason: whoever knows better can say so in the scenario."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for workload in workloads:
        reasons: dict[str, list[str]] = {}
        for mode in limits.modes:
            if (mode is not Mode.MULTI_MODEL or len(workloads) > 1) and (why := _why_not(workload, mode)):
                reasons.setdefault(why, []).append(str(mode))
        for why, modes in reasons.items():
            found.setdefault((why, tuple(modes)), []).append(workload.name)
    return [f"{names_of(names)}: not tried as {' or '.join(modes)}: {why}" for (why, modes), names in found.items()]


def _why_not(workload: Workload, mode: Mode) -> str:
    why = forbidden(workload, mode)
    if not why and mode is Mode.SERVERLESS and ANY_TYPE not in workload.work:
        return f'how long its requests take there is not known (`work: {{"{ANY_TYPE}": ...}}`)'
    return why


def _types_not_tried(scenario: Scenario, limits: Limits) -> list[str]:
    """Instance types that were not tried, though somebody asked for them, or might: nobody knows how fast they are."""
    runs_on = {
        name: endpoint.instance_type
        for endpoint in (scenario.architectures[0].endpoints if scenario.architectures else ())
        for name in endpoint.workloads
    }
    found: dict[str, list[str]] = {}
    for workload in scenario.workloads:
        if why := _types_unknown(workload, runs_on.get(workload.name, ""), limits):
            found.setdefault(why, []).append(workload.name)
    return [f"{names_of(names)}: {why}" for why, names in found.items()]


def _types_unknown(workload: Workload, runs_on: str, limits: Limits) -> str:
    if limits.types:
        unknown = [] if ANY_TYPE in workload.work else [name for name in limits.types if name not in workload.work]
        what = names_of(unknown)
        return f"not tried on {what}: how long its requests take there is not known (`work`)" if unknown else ""
    known = {name for name in workload.work if name != ANY_TYPE} | {runs_on} - {""}
    if len(known) != 1:
        return ""
    more = "; --instance-type NAME tries another, taken to be as fast" if ANY_TYPE in workload.work else ""
    return f"tried on no instance type but {known.pop()}, as how fast it is on others is not known{more}"
