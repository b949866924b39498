"""The search: for each group of workloads the cheapest endpoint that keeps their SLOs, ways tried side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from trimtab.advisor.plan.bounds import floor_of
from trimtab.advisor.plan.demand import Demand
from trimtab.advisor.plan.guess import SLACK, cost_of, likely
from trimtab.advisor.plan.ladders import Place, Search, Way, climb, ways
from trimtab.advisor.plan.limits import STAGES, Freedom, Limits
from trimtab.advisor.plan.naming import name_of
from trimtab.advisor.plan.pace import Pace, kind_of
from trimtab.advisor.plan.polishing import polish
from trimtab.advisor.plan.reach import Reaches
from trimtab.advisor.plan.signals import Signal, signal_of
from trimtab.advisor.plan.trials import Trial, Trials
from trimtab.sim.world import Mode, Serving

_ANY_COST: Final = 2**63
_AT_ONCE: Final = 2  # ways of one place: whatever the machine, so that a plan is the same on each


class Sought(Struct):
    """One place whose best endpoint is looked for."""

    place: Place
    waiting: list[Way]  # likely ones first
    best: Trial | None = None
    below: int = _ANY_COST  # micro-dollars: what costs as much is of no use
    tried: int = 0
    pruned: int = 0

    @property
    def limit(self) -> int:
        """What a trial must cost less than."""
        return min(self.below, self.best.cost) if self.best is not None and self.best.kept else self.below

    def take(self, trial: Trial) -> None:
        """Whichever is better."""
        if self.best is None or trial.rank < self.best.rank:
            self.best = trial


class _Climb(Struct):
    """A search that is under way. `kind` of its way, where it counts for the pace; `serving`: what it asks for."""

    one: Sought
    search: Search
    kind: str
    serving: Serving | None = None


class Searcher:
    """Looks for endpoints among what limits and a freedom allow."""

    def __init__(
        self,
        trials: Trials,
        demands: Mapping[str, Demand],
        limits: Limits,
        *,
        present: Sequence[Serving] = (),
        struck: frozenset[str] = frozenset(),
        pace: Pace | None = None,
    ) -> None:
        """`present`: the endpoints that there are. `struck`: workloads that faults hit, at some time. `pace` is kept up
        to date. `is_stopped`: Ctrl-C has ended the search."""
        self.trials = trials
        self.workloads = trials.workloads
        self.demands = demands
        self.limits = limits
        self.present = tuple(present)
        self.struck = struck
        self.pace = pace or Pace(1)
        self.is_stopped = False
        self.pruned = 0
        self._climbed: set[tuple[str, str]] = set()
        self.unpriced: set[str] = set()
        self._reaches = Reaches(limits, trials.scenario.seed)

    def place(self, names: Sequence[str], before: Serving | None = None) -> Place:
        """The place of a group. Its name says who is in it."""
        ordered = tuple(sorted(names))
        return Place(
            name=before.name if before is not None else name_of(ordered),
            workloads=tuple(self.workloads[name] for name in ordered),
            demands={name: self.demands[name] for name in ordered},
            before=before,
            present=tuple(one for one in self.present if not set(one.workloads).isdisjoint(ordered)),
        )

    def floor(self, serving: Serving) -> int | None:
        """The least that it can cost; None: not known."""
        return floor_of(serving, self.workloads, self.demands, self.trials.pricing)

    def ways(self, place: Place, freedom: Freedom) -> list[Way]:
        """All that are allowed, by what their likely rung is guessed to cost; those that take long to simulate last.

        Without those that nobody could keep the SLOs by; where all are such, the few that come nearest."""
        ordered = self._ordered(place, freedom)
        able = [way for way in ordered if self._reaches.may_keep(place, way.rungs[0].instance_type)]
        return able or self._reaches.nearest(place, ordered)

    def _ordered(self, place: Place, freedom: Freedom) -> list[Way]:
        found: list[tuple[bool, float, bool, str, Way]] = []  # of equals, those without a policy come first
        for mode in self.modes(place, freedom):
            for instance_type in ("",) if mode is Mode.SERVERLESS else self.types(place, freedom):
                for way in ways(place, mode, instance_type, self.limits):
                    guessed = self.guess(way, place)
                    if guessed is None:
                        self.unpriced.add(instance_type or "serverless inference")
                    else:
                        rung = way.rungs[0]
                        found.append((is_event(rung), guessed, bool(rung.policies), way.name, way))
        return [way for *_, way in sorted(found, key=lambda one: one[:4])]

    def proof(self, name: str) -> str:
        """Why nothing that is allowed keeps the SLO of this workload; "" where that is not proved."""
        place = self.place((name,))
        types = [way.rungs[0].instance_type for way in self._ordered(place, STAGES[-1][1])]
        return self._reaches.proof(place, types)

    def guess(self, way: Way, place: Place) -> float | None:
        """What its likely rung costs, about; None: not known."""
        works = place.works(way.rungs[0].instance_type)
        assert works is not None
        rung = way.rungs[likely(way.rungs, place.demands, works)]
        return cost_of(rung, place.demands, works, self.trials.pricing)

    def modes(self, place: Place, freedom: Freedom) -> tuple[Mode, ...]:
        """That may be tried."""
        if len(place.workloads) > 1:
            return (place.before.mode if place.before is not None else Mode.MULTI_MODEL,)
        if place.before is not None and not freedom.modes:
            return (place.before.mode,)
        # What faults do to batch runs cannot be simulated: it would look better than it is.
        left_out = {Mode.MULTI_MODEL} | ({Mode.BATCH} if not self.struck.isdisjoint(place.names) else set())
        return tuple(mode for mode in self.limits.modes if mode not in left_out)

    def types(self, place: Place, freedom: Freedom) -> tuple[str, ...]:
        """That may be tried, in alphabetical order."""
        if place.before is not None and not freedom.types and place.before.instance_type:
            return (place.before.instance_type,)
        named = {name for workload in place.workloads for name in workload.work if name.startswith("ml.")}
        named |= set(self.limits.types)
        if place.before is not None and place.before.instance_type:
            named.add(place.before.instance_type)
        allowed = set(self.limits.types) or named
        return tuple(sorted(name for name in named if name in allowed))

    def best(self, places: Sequence[Place], freedom: Freedom, known: Mapping[str, Trial] | None = None) -> list[Trial]:
        """For each place the best endpoint. `known`: what was found with less freedom, by the place's name.

        LookupError where there is no way of serving a place at all; KeyboardInterrupt where one came before any answer.
        """
        sought = [Sought(place, self.ways(place, freedom), (known or {}).get(place.name)) for place in places]
        self.seek(sought)
        found = []
        for one in sought:
            if one.best is None:
                if self.is_stopped:
                    raise KeyboardInterrupt
                raise LookupError(", ".join(one.place.names))
            found.append(one.best)
        return found

    def safer(self, place: Place, trial: Trial) -> Trial:
        """Of what breaks an SLO on these requests: the cheapest that keeps it, of the same mode, type and signal."""
        there = self.place(place.names, place.before)
        serving = trial.serving
        same = [
            way
            for way in ways(there, serving.mode, serving.instance_type, self.limits)
            if signal_of(way.rungs[0].policies) == signal_of(serving.policies)
        ]
        one = Sought(there, same, trial)
        self.seek([one])
        return one.best or trial

    def seek(self, sought: Sequence[Sought]) -> None:
        """Try the ways of all of them, the likely ones first, as many at a time as keep the cores busy.

        Ctrl-C ends this; what was found until then stays, and nothing more is tried (`is_stopped`).
        """
        if self.is_stopped:
            return
        try:
            self._seek(sought)
        except KeyboardInterrupt:
            self.stop()

    def polish(self, sought: Sequence[Sought]) -> None:
        """Change one thing at a time of what was found. Ctrl-C: see `seek`."""
        if self.is_stopped:
            return
        running: list[_Climb] = []
        try:
            for one in sought:
                if one.best is not None and one.best.kept:
                    search = polish(one.best, one.place, self.limits)
                    self._on(running, _Climb(one, search, ""), None, first=True)
            while running:
                self._turn(running)
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Nothing more is tried."""
        self.is_stopped = True
        self.trials.stop()

    def _seek(self, sought: Sequence[Sought]) -> None:
        running: list[_Climb] = []
        new = {id(way): self._is_new(one.place, way) for one in sought for way in one.waiting}
        while True:
            for one in sought:
                mine = sum(1 for other in running if other.one is one)
                while one.waiting and mine < _AT_ONCE:
                    way = one.waiting.pop(0)
                    kind = _kind(way) if new[id(way)] else ""
                    mine += self._on(running, _Climb(one, climb(way, one.place), kind), None, first=True)
            left = Counter(_kind(way) for one in sought for way in one.waiting if new[id(way)])
            left.update(other.kind for other in running)
            self.pace.waiting = left
            if not running:
                break
            self._turn(running)

    def _is_new(self, place: Place, way: Way) -> bool:
        """Whether nobody has climbed this way before: with less freedom, all the same was simulated."""
        key = (place.name, way.name)
        is_new = key not in self._climbed
        self._climbed.add(key)
        return is_new

    def coming(self, places: Sequence[Place], freedoms: Sequence[Freedom]) -> list[Counter[str]]:
        """With each of these freedoms, how many ways there are that those before it do not have, by kind."""
        seen: set[tuple[str, str]] = set()
        found: list[Counter[str]] = []
        for freedom in freedoms:
            each = {(place.name, way.name): way for place in places for way in self.ways(place, freedom)}
            found.append(Counter(_kind(way) for key, way in each.items() if key not in seen))
            seen |= each.keys()
        return found

    def _turn(self, running: list[_Climb]) -> None:
        """Simulate what each of them asks for, and let it go on."""
        asked = list(running)
        running.clear()
        try:
            found = self.trials.of([climb.serving for climb in asked if climb.serving is not None])
        except KeyboardInterrupt:
            for climb in asked:
                if climb.serving is not None and (trial := self.trials.known(climb.serving)) is not None:
                    climb.one.take(trial)
            raise
        for climb, trial in zip(asked, found, strict=True):
            climb.one.tried += 1
            climb.one.take(trial)
            self._on(running, climb, trial)

    def _on(self, running: list[_Climb], climb: _Climb, trial: Trial | None, *, first: bool = False) -> bool:
        """To the next endpoint that is worth a simulation. False: the search has ended."""
        try:
            serving = next(climb.search) if first else climb.search.send(trial)
            while not self._is_worth_it(climb.one, serving):
                climb.one.pruned += 1
                self.pruned += 1
                serving = climb.search.send(None)
        except StopIteration:
            if climb.kind:
                self.pace.ended(climb.kind)
            return False
        climb.serving = serving
        running.append(climb)
        return True

    def _is_worth_it(self, one: Sought, serving: Serving) -> bool:
        floor = self.floor(serving)
        if floor is None or floor >= one.limit:
            return False
        works = one.place.works(serving.instance_type)
        if works is None or one.limit == _ANY_COST:
            return works is not None
        guessed = cost_of(serving, one.place.demands, works, self.trials.pricing)
        slack = 1.0 if is_event(serving) else SLACK  # a guess knows nothing of the headroom that these keep
        return guessed is not None and slack * guessed < one.limit


def _kind(way: Way) -> str:
    return kind_of(is_event=is_event(way.rungs[0]))


def is_event(serving: Serving) -> bool:
    """Whether its first policy is told of every change."""
    return signal_of(serving.policies) == Signal.EVENT


def total(trials: Iterable[Trial]) -> int:
    """Micro-dollars."""
    return sum(trial.cost for trial in trials)
