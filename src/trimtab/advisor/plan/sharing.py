"""Fewer endpoints: which workloads share one, found by merging what saves most, again and again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from trimtab.advisor.plan.ladders import Place, Way
from trimtab.advisor.plan.limits import Freedom, forbidden
from trimtab.advisor.plan.search import Searcher, Sought
from trimtab.advisor.plan.signals import Signal, signal_of
from trimtab.advisor.plan.trials import Trial
from trimtab.sim.world import Mode

_AT_ONCE: Final = 4  # pairs that are tried in a round
_TYPES: Final = 2  # instance types that a shared endpoint is tried on: those that can be cheapest


class Cluster(Struct, frozen=True):
    """Workloads with one endpoint, and the best that was found for them."""

    place: Place
    trial: Trial


def may_share(cluster: Cluster) -> bool:
    """Whether all that it serves could be on a multi-model endpoint; and is served well, at a cost to be less than."""
    return cluster.trial.kept and not any(forbidden(workload, Mode.MULTI_MODEL) for workload in cluster.place.workloads)


def merged(clusters: Sequence[Cluster], searcher: Searcher) -> list[Cluster]:
    """Merge clusters of one container while that saves money; then try whole containers at once, too."""
    current = list(clusters)
    failed: set[tuple[str, ...]] = set()
    while True:
        found = _round(current, searcher, failed)
        if not found:
            break
        gone: set[str] = set()
        for first, second, made in found:
            if gone.isdisjoint((first.place.name, second.place.name)):
                gone |= {first.place.name, second.place.name}
                current = [c for c in current if c.place.name not in (first.place.name, second.place.name)] + [made]
    return _whole(clusters, current, searcher)


def _round(
    current: Sequence[Cluster], searcher: Searcher, failed: set[tuple[str, ...]]
) -> list[tuple[Cluster, Cluster, Cluster]]:
    """The pairs that save, the most first; none once the search is stopped."""
    if searcher.is_stopped:
        return []
    able = [cluster for cluster in current if may_share(cluster)]
    hopes: list[tuple[float, Cluster, Cluster, Sought]] = []
    for first, second in itertools.combinations(able, 2):
        if first.place.workloads[0].container != second.place.workloads[0].container:
            continue
        together = _together((first, second), searcher)
        if together.place.names in failed or not together.waiting:
            continue
        guesses = [guess for way in together.waiting if (guess := searcher.guess(way, together.place)) is not None]
        hope = together.below - min(guesses)
        if hope > 0:
            hopes.append((hope, first, second, together))
    hopes.sort(key=lambda one: (-one[0], one[3].place.name))
    tried = hopes[:_AT_ONCE]
    searcher.seek([together for _, _, _, together in tried])
    found = []
    for _, first, second, together in tried:
        best = together.best
        if best is not None and best.kept and best.cost < together.below:
            found.append((together.below - best.cost, first, second, Cluster(together.place, best)))
        else:
            failed.add(together.place.names)
    found.sort(key=lambda one: (-one[0], one[3].place.name))
    if not found and len(hopes) > len(tried):
        return _round(current, searcher, failed)  # those that failed are remembered: the next ones
    return [(first, second, made) for _, first, second, made in found]


def _together(clusters: Sequence[Cluster], searcher: Searcher) -> Sought:
    """One endpoint for all of them, to be found for less than they cost now."""
    place = searcher.place([name for cluster in clusters for name in cluster.place.names])
    found = searcher.ways(place, Freedom(types=True, modes=True, sharing=True))
    below = sum(cluster.trial.cost for cluster in clusters)
    return Sought(place, _likely(found, clusters), below=below)


def _likely(found: Sequence[Way], clusters: Sequence[Cluster]) -> list[Way]:
    """Fixed numbers, and the signals that the members do best with; on the types that can be cheapest."""
    signals = {signal_of(cluster.trial.serving.policies) for cluster in clusters} | {Signal.FIXED, Signal.EVENT}
    types: list[str] = []
    for way in found:
        name = way.rungs[0].instance_type
        if name not in types:
            types.append(name)
    kept = [way for way in found if signal_of(way.rungs[0].policies) in signals]
    return [way for way in kept if way.rungs[0].instance_type in types[:_TYPES]]


def _whole(before: Sequence[Cluster], current: list[Cluster], searcher: Searcher) -> list[Cluster]:
    """Everything of a container on one endpoint: what merging by pairs may miss."""
    if searcher.is_stopped:
        return current
    for container in sorted({cluster.place.workloads[0].container for cluster in before if may_share(cluster)}):
        mine = [c for c in before if may_share(c) and c.place.workloads[0].container == container]
        now = [c for c in current if may_share(c) and c.place.workloads[0].container == container]
        if len(mine) < 3 or len(now) == 1:
            continue
        together = _together(now, searcher)
        searcher.seek([together])
        best = together.best
        if best is not None and best.kept and best.cost < together.below:
            current = [c for c in current if c not in now] + [Cluster(together.place, best)]
    return current
