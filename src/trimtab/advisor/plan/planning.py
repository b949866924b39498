"""From a scenario to a plan: stages of more and more freedom, each beginning with what the one before it found."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.advisor.plan.demand import Demand, demands_of
from trimtab.advisor.plan.keeping import ON_INSTANCES, folded, unfolded
from trimtab.advisor.plan.ladders import Place
from trimtab.advisor.plan.limits import STAGES, Freedom, Limits
from trimtab.advisor.plan.noting import notes_of
from trimtab.advisor.plan.pace import WHOLE, Pace, kind_of
from trimtab.advisor.plan.result import Plan, Side, Step, misses_of, no_proof
from trimtab.advisor.plan.search import Searcher, Sought, is_event, total
from trimtab.advisor.plan.settings import settings_of
from trimtab.advisor.plan.sharing import Cluster, merged
from trimtab.advisor.plan.stretch import DAY_S, busiest, cut
from trimtab.advisor.plan.telling import Progress, Telling
from trimtab.advisor.plan.trials import Pricing, SimulateFn, Trial, Trials, cores, struck
from trimtab.errors import Invalid
from trimtab.sim.world import Architecture, Outcome, Scenario, Served, Serving, Slo, Workload

PLANNED: Final = "plan"
WAIT_S: Final = 3600.0  # what may wait, and says not for how long
_KEPT: Final = 0.99


def plan(
    scenario: Scenario,
    pricing: Pricing,
    simulate: SimulateFn,
    limits: Limits,
    *,
    slo: Slo | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The cheapest architecture that keeps every SLO, or the one that comes nearest.

    The scenario's first architecture is what there is. `slo` holds for workloads that have none of their own. Those
    that then have none must not be slower than they are now. Invalid for what cannot be planned, which says why.

    Ctrl-C ends it with what was found until then (`Plan.is_stopped`); with KeyboardInterrupt where that is nothing.
    """
    _check(scenario)
    given, there = scenario, scenario.architectures[0] if scenario.architectures else None
    scenario = folded(replace(scenario, is_coarse=True))
    before = scenario.architectures[0] if scenario.architectures else None
    pace = Pace(workers or cores())
    tell = Telling(progress, pace)
    known: list[Trial] = []
    if before is not None and slo is None and any(workload.slo is None for workload in scenario.workloads):
        tell.step("simulating what there is")
        pace.coming[WHOLE], pace.is_open = len(before.endpoints), True
        told = tell.trials(is_whole=True)
        with Trials(scenario, pricing, simulate, workers=workers, told=told, whole=True) as trials:
            known = trials.of(before.endpoints)
    scenario, notes = with_slos(scenario, known, slo)
    limits = _limits(limits, before)
    tell.step("reading the workloads")
    demands = demands_of(scenario.workloads, scenario.seed)
    days = _expect(pace, scenario, demands, before, is_known=bool(known))
    told = tell.trials(days, is_whole=days > 1)
    with Trials(scenario, pricing, simulate, workers=workers, told=told, whole=True) as trials:
        trials.know(known)
        if before is not None:
            tell.step("simulating what there is")
            known = trials.of(before.endpoints)
        searcher = _searcher(trials, demands, limits, before, pace)
        inner, stages = _compared(searcher, simulate, before, workers, tell)
        found = _found(searcher, inner, before, stages, tell)
        notes += _noted(found, is_on_stretch=inner is not searcher)
    after = _unfolded(_side(PLANNED, found.after, scenario, pricing), there)
    notes += notes_of(given, searcher, limits)
    slos = {workload.name: workload.slo for workload in scenario.workloads}
    return Plan(
        scenario=scenario.name,
        region=scenario.region,
        where=limits.where,
        workloads=tuple(replace(workload, slo=slos[workload.name]) for workload in given.workloads),
        before=_unfolded(_side(before.name, found.before, scenario, pricing), there) if before is not None else None,
        after=after,
        steps=found.steps,
        misses=misses_of(scenario.workloads, after.outcome, searcher.proof if not found.is_stopped else no_proof),
        simulated=trials.simulated,
        spared=searcher.pruned,
        settings=settings_of(there, after.architecture),
        notes=tuple(notes),
        is_stopped=found.is_stopped,
    )


def _expect(
    pace: Pace, scenario: Scenario, demands: Mapping[str, Demand], before: Architecture | None, *, is_known: bool
) -> float:
    """What is to come, as far as it can be known; and how many days a scenario lasts whose candidates are compared on
    one, 1 for others."""
    containers = [workload.container for workload in scenario.workloads]
    pace.is_open = len(set(containers)) < len(containers)
    pace.coming.clear()
    if busiest(scenario, demands) is None:
        return 1.0
    present = len(before.endpoints) if before is not None else 0
    pace.coming[WHOLE] = (present or len(containers)) + (0 if is_known else present)
    return next(iter(demands.values())).span_s / DAY_S


def _noted(found: _Found, *, is_on_stretch: bool) -> list[str]:
    if not found.is_stopped:
        told = "candidates were compared on the busiest day; what was chosen was tried on all of it"
        return [told] if is_on_stretch else []
    told = "stopped before the end: this is the best of what had been tried by then"
    return [f"{told}, and all figures are of the busiest day alone" if is_on_stretch else told]


def _searcher(
    trials: Trials, demands: Mapping[str, Demand], limits: Limits, before: Architecture | None, pace: Pace
) -> Searcher:
    endpoints = before.endpoints if before is not None else ()
    hit = frozenset(name for _, names in struck(trials.scenario) for name in names)
    return Searcher(trials, demands, limits, present=endpoints, struck=hit, pace=pace)


def _unfolded(side: Side, there: Architecture | None) -> Side:
    endpoints = tuple(unfolded(one, there) for one in side.architecture.endpoints)
    return replace(side, architecture=replace(side.architecture, endpoints=endpoints))


def _side(name: str, trials: Sequence[Trial], scenario: Scenario, pricing: Pricing) -> Side:
    """The architecture of these endpoints. They share nothing: what became of each alone is what becomes of all."""
    order = {workload.name: place for place, workload in enumerate(scenario.workloads)}
    trials = sorted(trials, key=lambda trial: min(order[name] for name in trial.serving.workloads))
    served = sorted((one for trial in trials for one in trial.outcome.served), key=lambda one: order[one.workload])
    outcome = Outcome(
        architecture=name,
        start_s=min(trial.outcome.start_s for trial in trials),
        end_s=max(trial.outcome.end_s for trial in trials),
        served=tuple(served),
        used=tuple(used for trial in trials for used in trial.outcome.used),
    )
    endpoints = tuple(trial.serving for trial in trials)
    return Side(
        architecture=Architecture(name=name, endpoints=endpoints), outcome=outcome, cost=pricing.micro_usd(outcome)
    )


def _check(scenario: Scenario) -> None:
    if not scenario.workloads:
        raise Invalid("The scenario has no workload: there is nothing to plan for.")
    names = [workload.name for workload in scenario.workloads]
    if len(set(names)) < len(names):
        raise Invalid("Two workloads of the scenario have the same name.")
    for workload in scenario.workloads:
        if not workload.work:
            raise Invalid(f"The workload {workload.name} does not say what a request takes (work).")


def _limits(limits: Limits, before: Architecture | None) -> Limits:
    """Memory for models as endpoints that are there have it, and the longest of their start times for new ones."""
    endpoints = before.endpoints if before is not None else ()
    known = dict(limits.model_bytes)
    for endpoint in endpoints:
        if endpoint.models_bytes:
            known[endpoint.instance_type] = max(endpoint.models_bytes, 0)
    start_s = limits.start_s or max(
        (endpoint.start_s for endpoint in endpoints if endpoint.mode in ON_INSTANCES), default=0.0
    )
    return replace(limits, model_bytes=known, start_s=start_s)


def with_slos(scenario: Scenario, now: Sequence[Trial], given: Slo | None) -> tuple[Scenario, list[str]]:
    """The scenario, each workload with an SLO; and what was assumed. Invalid where there is nothing to go by."""
    made, notes = [], []
    served = {one.workload: one for trial in now for one in trial.outcome.served}
    for workload in scenario.workloads:
        slo = workload.slo or given
        if slo is None:
            slo, note = _assumed(workload, served.get(workload.name))
            notes.append(note)
        made.append(replace(workload, slo=slo))
    return replace(scenario, workloads=tuple(made)), notes


def _assumed(workload: Workload, served: Served | None) -> tuple[Slo, str]:
    if workload.may_wait:
        return Slo(within_s=WAIT_S, kept=_KEPT), f"{workload.name}: no SLO is given; its answers may take an hour"
    if served is None:
        raise Invalid(f"{workload.name} has no SLO, and no endpoint yet. Say what must be kept: --slo p99=1s")
    if not served.requests:
        raise Invalid(
            f"No request of {workload.name} was drawn: so few come that chance may leave none. Give an SLO"
            " (--slo p99=1s), another --seed, or more of its requests (an audit of more --days)."
        )
    if not served.answered:
        raise Invalid(f"Nothing of {workload.name} is answered now, so that says no SLO. Give one: --slo p99=1s")
    kept = _KEPT * served.answered / served.requests
    within_s = float(f"{served.p99_s * 1.02:.3g}")  # the histogram's bins are 1.2 % wide
    return (
        Slo(within_s=within_s, kept=kept),
        f"{workload.name}: no SLO is given; {kept:.2%} must be answered within {within_s:g} s, as now",
    )


Stage = tuple[str, list[Cluster]]


def _compared(
    whole: Searcher, simulate: SimulateFn, before: Architecture | None, workers: int | None, tell: Telling
) -> tuple[Searcher, list[Stage]]:
    """The stages, on the busiest day of a long scenario, else on all of it; and the searcher that found them."""
    stretch = cut(whole.trials.scenario, whole.demands)
    if stretch is None:
        return whole, _stages(whole, before, tell)
    told = tell.trials(next(iter(whole.demands.values())).span_s / DAY_S, is_whole=False)
    with Trials(stretch, whole.trials.pricing, simulate, workers=workers, told=told) as trials:
        demands = demands_of(stretch.workloads, stretch.seed)
        searcher = Searcher(trials, demands, whole.limits, present=whole.present, struck=whole.struck, pace=whole.pace)
        stages = _stages(searcher, before, tell)
        whole.trials.simulated += trials.simulated
        whole.pruned += searcher.pruned
        whole.unpriced |= searcher.unpriced
        return searcher, stages


def _stages(searcher: Searcher, before: Architecture | None, tell: Telling) -> list[Stage]:
    """What each stage finds for the endpoints that are there; the last one may join them.

    Those that were over before a Ctrl-C, and what the one had found that it ended; at least what there is.
    """
    if before is None:
        tell.step("searching")
        return [(PLANNED, _from_nothing(searcher))]
    places = [searcher.place(endpoint.workloads, endpoint) for endpoint in before.endpoints]
    trials = searcher.trials.of(before.endpoints)
    known = {place.name: trial for place, trial in zip(places, trials, strict=True)}
    coming = searcher.coming(places, [freedom for _, freedom in STAGES if not freedom.sharing])
    stages: list[Stage] = []
    for number, (name, freedom) in enumerate(STAGES):
        tell.step(f"searching: {name}")
        searcher.pace.later = sum(coming[number + 1 :], Counter())
        try:
            found = _stage(searcher, places, known, freedom)
        except KeyboardInterrupt:
            searcher.stop()
            if stages:
                break
            found = [Cluster(place, known[place.name]) for place in places]  # what there is is known
        known = known if freedom.sharing else {cluster.place.name: cluster.trial for cluster in found}
        stages.append((name, found))
        if searcher.is_stopped:
            break
    searcher.pace.is_open = False
    return stages


def _stage(searcher: Searcher, places: Sequence[Place], known: dict[str, Trial], freedom: Freedom) -> list[Cluster]:
    if freedom.sharing:
        return _shared(searcher, places, known, freedom)
    trials = searcher.best(places, freedom, known)
    return [Cluster(place, trial) for place, trial in zip(places, trials, strict=True)]


class _Found(Struct, frozen=True):
    """What there is, what is planned, and what each stage costs. `is_stopped`: by Ctrl-C, so that these are of the
    requests that candidates are compared on."""

    before: list[Trial]
    after: list[Trial]
    steps: tuple[Step, ...]
    is_stopped: bool = False


def _found(
    searcher: Searcher, inner: Searcher, before: Architecture | None, stages: Sequence[Stage], tell: Telling
) -> _Found:
    """What the stages have found, on all requests."""
    endpoints = before.endpoints if before is not None else ()
    if not inner.is_stopped:
        tell.step("trying what was chosen on all requests")
        _expect_last(searcher, stages)
        with contextlib.suppress(KeyboardInterrupt):
            steps, after = _steps(searcher, endpoints, stages)
            if not searcher.is_stopped:
                return _Found(searcher.trials.of(endpoints), after, tuple(steps))
        searcher.stop()
    now = inner.trials.of(endpoints)  # known since the search began
    steps = [_step("now", now)] if endpoints else []
    steps += [_step(name, [cluster.trial for cluster in clusters]) for name, clusters in stages if endpoints]
    return _Found(now, [cluster.trial for cluster in stages[-1][1]], tuple(steps), is_stopped=True)


def _expect_last(searcher: Searcher, stages: Sequence[Stage]) -> None:
    """So many are still to be simulated."""
    servings = [cluster.trial.serving for _, clusters in stages for cluster in clusters]
    new = {id(one): one for one in servings if searcher.trials.known(one) is None}
    searcher.pace.coming = Counter(kind_of(is_event=is_event(one), is_whole=True) for one in new.values())


def _steps(searcher: Searcher, endpoints: Sequence[Serving], stages: Sequence[Stage]) -> tuple[list[Step], list[Trial]]:
    """What each stage costs on all requests. What breaks an SLO there is made safer, by the same way of scaling."""
    steps: list[Step] = []
    if endpoints:
        steps.append(_step("now", searcher.trials.of(endpoints)))
    found: list[Trial] = []
    for name, clusters in stages:
        found = searcher.trials.of([cluster.trial.serving for cluster in clusters])
        found = [
            trial if trial.kept or not cluster.trial.kept else searcher.safer(cluster.place, trial)
            for cluster, trial in zip(clusters, found, strict=True)
        ]
        if endpoints:
            steps.append(_step(name, found))
    return steps, found


def _step(name: str, trials: Sequence[Trial]) -> Step:
    return Step(name=name, cost=total(trials), kept=all(trial.kept for trial in trials))


def _shared(searcher: Searcher, places: Sequence[Place], known: dict[str, Trial], freedom: Freedom) -> list[Cluster]:
    """The best of: as grouped now, and all apart; each with what merging saves."""
    grouped = [Cluster(place, known[place.name]) for place in places]
    chosen = [merged(grouped, searcher)]
    if any(len(place.workloads) > 1 for place in places):
        with contextlib.suppress(LookupError):
            chosen.append(merged(_apart(searcher, places, known, freedom), searcher))
    best = _polished(
        searcher, min(chosen, key=lambda clusters: (_misses(clusters), sum(cluster.trial.cost for cluster in clusters)))
    )
    return sorted(best, key=lambda cluster: cluster.place.name)


def _polished(searcher: Searcher, clusters: Sequence[Cluster]) -> list[Cluster]:
    """The same, each endpoint with what small changes save."""
    sought = [Sought(cluster.place, [], cluster.trial) for cluster in clusters]
    searcher.polish(sought)
    return [Cluster(one.place, one.best) for one in sought if one.best is not None]


def _misses(clusters: Sequence[Cluster]) -> float:
    return sum(cluster.trial.rank[0] for cluster in clusters if not cluster.trial.kept)


def _apart(searcher: Searcher, places: Sequence[Place], known: dict[str, Trial], freedom: Freedom) -> list[Cluster]:
    """Each workload by itself."""
    kept = [Cluster(place, known[place.name]) for place in places if len(place.workloads) == 1]
    singles = [searcher.place((name,)) for place in places if len(place.workloads) > 1 for name in place.names]
    return kept + [Cluster(place, trial) for place, trial in zip(singles, searcher.best(singles, freedom), strict=True)]


def _from_nothing(searcher: Searcher) -> list[Cluster]:
    freedom = STAGES[-1][1]
    places = [searcher.place((workload.name,)) for workload in searcher.workloads.values()]
    try:
        trials = searcher.best(places, freedom)
    except LookupError as error:
        raise Invalid(
            f"There is no way to serve {error}: no instance type that has both a price and a work of it. Name types "
            "in its `work` (ml.m5.large: 20ms), or with --instance-type; `trimtab instances` lists them."
        ) from error
    clusters = [Cluster(place, trial) for place, trial in zip(places, trials, strict=True)]
    return _polished(searcher, merged(clusters, searcher))
