"""Whether an SLO is out of anybody's reach: proved on the requests themselves, before anything is simulated.

An SLO is beyond an instance type where even somebody who knew every request beforehand could not keep it there: more
requests than it allows take longer by themselves, or more work is due than the most replicas can do (`sim.oracle`).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, isinf
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.advisor.plan.demand import busy, most_busy
from trimtab.advisor.plan.keeping import SCALED
from trimtab.advisor.plan.ladders import Place, Way
from trimtab.advisor.plan.limits import Limits
from trimtab.errors import TrimtabError
from trimtab.sim.load import Floats
from trimtab.sim.oracle.bound import bound_of
from trimtab.sim.replicas.station import feed, work_on
from trimtab.sim.world import Mode, Serving, Slo, Workload

_DRAWN: Final = 0.005  # parts of a distribution that are drawn evenly: no type is left out by their rounding
_DRAWS: Final = (np.arange(1000) + 0.5) / 1000
_NEAR: Final = 1.03  # times the least that is possible: a histogram's bins are 1.2 % wide, and some requests queue
_ANY: Final = 1_000_000  # replicas: environments of a serverless endpoint are not counted


class Reach(Struct, frozen=True, kw_only=True):
    """What can be had of one workload on one instance type ("": serverless).

    `is_beyond`: nobody keeps its SLO there. `quickest_s`: what the requests that must be kept take at least, if none
    of them ever waited.
    """

    is_beyond: bool
    quickest_s: float


def reach_of(workload: Workload, instance_type: str, limits: Limits, seed: int) -> Reach:
    """Of the requests that `simulate` draws by this seed. A workload without an SLO is within reach."""
    if workload.slo is None:
        return Reach(is_beyond=False, quickest_s=0.0)
    serving = Serving(
        name="any",
        mode=Mode.REAL_TIME,
        workloads=(workload.name,),
        instance_type=instance_type,
        min_replicas=0,
        max_replicas=limits.max_replicas if instance_type else _ANY,
    )
    try:
        is_beyond = isinf(bound_of(workload, serving, seed=seed).replica_s)
    except TrimtabError:  # an SLO that the oracle has nothing to say of
        is_beyond = False
    return Reach(is_beyond=is_beyond, quickest_s=_quickest_s(workload, instance_type, seed) if is_beyond else 0.0)


def _quickest_s(workload: Workload, instance_type: str, seed: int) -> float:
    """The longest of the requests that must be kept, were they the shortest ones."""
    assert workload.slo is not None
    work = work_on(workload, instance_type)
    requests = sum(len(at_s) for at_s, _, _ in feed([workload], [work], seed))
    spare = floor((1 - workload.slo.kept) * requests + 1e-9) + 1
    longest: Floats = np.empty(0)
    for _, takes_s, _ in feed([workload], [work], seed):
        longest = np.concatenate([longest, takes_s])
        if len(longest) > spare:
            longest = np.partition(longest, len(longest) - spare)[len(longest) - spare :]
    return float(longest.min(initial=np.inf)) if len(longest) else 0.0


class Reaches:
    """What is within reach of places, each workload looked at once. It is only looked at where that is doubtful."""

    def __init__(self, limits: Limits, seed: int) -> None:
        self._limits = limits
        self._seed = seed
        self._known: dict[tuple[str, str], Reach] = {}

    def may_keep(self, place: Place, instance_type: str) -> bool:
        """Whether the SLOs can perhaps be kept there."""
        if not _is_quick_enough(place, instance_type):
            return False
        works = place.works(instance_type)
        assert works is not None  # a way is made of nothing else
        if not instance_type or most_busy(busy(place.demands, works), 1) <= self._limits.max_replicas:
            return True
        return not self._is_beyond(place, instance_type)

    def nearest(self, place: Place, ordered: list[Way]) -> list[Way]:
        """Of ways none of which is likely to keep the SLOs: where that is proved of all, those that come nearest, on
        replicas that are always there; else all of them."""
        types = dict.fromkeys(way.rungs[0].instance_type for way in ordered)
        if not all(self._is_beyond(place, one) for one in types):
            return ordered
        late = {one: max(1.0, *(self._late(workload, one) for workload in place.workloads)) for one in types}
        near = min(late.values(), default=1.0) * _NEAR
        found = [Way(way.name, way.rungs, near) for way in ordered if late[way.rungs[0].instance_type] <= near]
        return [way for way in found if _is_fixed(way.rungs[0])] or found

    def proof(self, place: Place, instance_types: Iterable[str]) -> str:
        """Why nobody keeps the SLO of the place's one workload on any of these; "" where that is not proved."""
        types = dict.fromkeys(instance_types)
        if not types or any(self.may_keep(place, one) or not self._is_beyond(place, one) for one in types):
            return ""
        (workload,) = place.workloads
        assert workload.slo is not None
        quickest_s, where = min((self._reach(workload, one).quickest_s, one) for one in types)
        return _words(workload.slo, quickest_s, where, self._limits.max_replicas)

    def _is_beyond(self, place: Place, instance_type: str) -> bool:
        return any(self._reach(workload, instance_type).is_beyond for workload in place.workloads)

    def _late(self, workload: Workload, instance_type: str) -> float:
        """How many times as long as its SLO says the requests that must be kept take there, at least."""
        slo = workload.slo
        return self._reach(workload, instance_type).quickest_s / slo.within_s if slo is not None else 1.0

    def _reach(self, workload: Workload, instance_type: str) -> Reach:
        key = (workload.name, instance_type)
        if key not in self._known:
            self._known[key] = reach_of(workload, instance_type, self._limits, self._seed)
        return self._known[key]


def _is_quick_enough(place: Place, instance_type: str) -> bool:
    """Whether requests are quick enough on such instances for the SLOs, if they never waited; as their distribution
    says."""
    works = place.works(instance_type) or {}
    slos = [(workload.slo, works.get(workload.name)) for workload in place.workloads]
    return all(
        slo is None or work is None or float((work.service_s(_DRAWS) <= slo.within_s).mean()) >= slo.kept - _DRAWN
        for slo, work in slos
    )


def _is_fixed(serving: Serving) -> bool:
    return serving.mode in SCALED and not serving.policies and not serving.schedule


def _words(slo: Slo, quickest_s: float, instance_type: str, most: int) -> str:
    from trimtab.advisor.plan.words import seconds

    if quickest_s <= slo.within_s:
        return f"more comes than {most} replicas can work off in time, whoever knew it all beforehand (--max-replicas)"
    where = instance_type or "serverless environments"
    return f"if none ever waited, {slo.kept * 100:.4g}% would take {seconds(quickest_s)}, on {where} as the quickest"
