"""Endpoints tried: each simulated alone on the real arrivals, priced, and held against the SLOs of whom it serves.

Endpoints share nothing, so what one costs and how it answers does not depend on the others: an architecture is the sum
of its endpoints, and each of them needs to be simulated once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import active_children, get_context
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trimtab.advisor.plan.result import quantile_of_all
from trimtab.engines.local import strays
from trimtab.sim.latency import part_within
from trimtab.sim.world import Architecture, Arrivals, Chunk, Fault, Mode, Outcome, Scenario, Served, Serving, Workload

SimulateFn = Callable[[Scenario, Architecture], Outcome]
_NEARLY: Final = 1e-12
_OF_REPLICAS: Final = ("kill", "spot")
_ALONE_S: Final = 10.0  # of work, before other processes are worth their start


class Pricing(Protocol):
    """What things cost, in one region."""

    def usd_per_hour(self, instance_type: str, mode: Mode, *, is_spot: bool = False) -> float | None:
        """Of one instance; None: not known."""
        ...

    def usd_per_serverless_s(self, memory_mb: int) -> float | None:
        """Of an environment of so much memory that works; None: not known."""
        ...

    def micro_usd(self, outcome: Outcome) -> int:
        """What all of it costs. Invalid where something has no price."""
        ...


class Lasting(Struct, frozen=True):
    """The same arrivals in a longer time: an endpoint is paid for whether or not somebody asks."""

    arrivals: Arrivals
    start_s: float
    end_s: float

    def chunks(self, seed: int) -> Iterator[Chunk]:
        """See Arrivals."""
        return self.arrivals.chunks(seed)


class Trial(Struct, frozen=True, kw_only=True):
    """One endpoint and what became of it.

    `miss`: by what part of requests an SLO is missed, at most; 0: all are kept. `late`: then, how many times as long
    an SLO would have to allow; infinite where too many requests fail.
    """

    serving: Serving
    cost: int  # micro-dollars, over the simulated time
    miss: float
    late: float
    outcome: Outcome

    @property
    def kept(self) -> bool:
        """Whether every SLO is."""
        return self.miss <= _NEARLY

    @property
    def rank(self) -> tuple[float, float, int]:
        """Smaller is better: those that keep the SLOs by cost, then the others by how near they come, to two digits."""
        if self.kept:
            return (0.0, 0.0, self.cost)
        return (float(f"{self.late:.2g}"), round(self.miss, 3), self.cost)


def missed_by(served: Served, workload: Workload) -> float:
    """The part of all requests that should have been within the SLO and was not; 0 without an SLO, or requests."""
    slo = workload.slo
    if slo is None or served.within_slo is None or not served.requests:
        return 0.0
    return max(0.0, slo.kept - served.within_slo)


def late_by(served: Served, workload: Workload) -> float:
    """How many times as long as its SLO says `kept` of the requests take; 1 where it is kept."""
    slo = workload.slo
    if slo is None or missed_by(served, workload) <= _NEARLY:
        return 1.0
    return max(1.0, quantile_of_all(served, slo.kept) / slo.within_s)


def alone(scenario: Scenario, serving: Serving) -> Scenario:
    """The same world, as long as it is, with those workloads only that this endpoint serves.

    A fault of the architecture that there is hits whatever endpoint serves the same workloads in its place, if it is
    of a kind that this has: there is no replica of a serverless endpoint to kill.
    """
    start_s = min(workload.arrivals.start_s for workload in scenario.workloads)
    end_s = max(workload.arrivals.end_s for workload in scenario.workloads)
    return replace(
        scenario,
        workloads=tuple(
            replace(workload, arrivals=Lasting(workload.arrivals, start_s, end_s))
            for workload in scenario.workloads
            if workload.name in serving.workloads
        ),
        architectures=(),
        faults=tuple(
            replace(fault, endpoint=serving.name)
            for fault, names in struck(scenario)
            if (fault.endpoint == serving.name or not names.isdisjoint(serving.workloads))
            and not (serving.mode is Mode.SERVERLESS and fault.kind in _OF_REPLICAS)
        ),
    )


def struck(scenario: Scenario) -> list[tuple[Fault, frozenset[str]]]:
    """Faults, and the workloads of the endpoint that each of them hits now."""
    served = {
        endpoint.name: frozenset(endpoint.workloads)
        for architecture in scenario.architectures
        for endpoint in architecture.endpoints
    }
    return [(fault, served.get(fault.endpoint, frozenset())) for fault in scenario.faults]


def _judged(served: Served, workload: Workload) -> Served:
    """By an SLO that was not known when it was simulated: as its histogram tells, 1 % too strictly at most."""
    slo = workload.slo
    if slo is None or served.within_slo is not None:
        return served
    within = part_within(served.histogram, slo.within_s) * served.answered / served.requests if served.requests else 1.0
    return replace(served, within_slo=within)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


class Trials(AbstractContextManager["Trials"]):
    """Simulates what it is asked for, in as many processes as there are cores; nothing twice."""

    def __init__(
        self,
        scenario: Scenario,
        pricing: Pricing,
        simulate: SimulateFn,
        *,
        workers: int | None = None,
        told: Callable[[Serving, float], None] | None = None,
        whole: bool = False,
    ) -> None:
        """`told` hears of each endpoint that was simulated, and how many seconds that took. `whole`: outcomes are kept
        with what only plots need; else without, as there may be thousands."""
        self.scenario = scenario
        self.pricing = pricing
        self.workloads = {workload.name: workload for workload in scenario.workloads}
        self.simulated = 0
        self._simulate = simulate
        self._workers = workers or cores()
        self._told = told
        self._is_whole = whole
        self._done: dict[bytes, Trial] = {}
        self._pool: ProcessPoolExecutor | None = None
        self._strangers: frozenset[int | None] = frozenset()  # processes of this one that are not the pool's
        self._spent_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            self.stop()
        elif self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def stop(self) -> None:
        """Give up what is being simulated: its processes end at once. What was found stays."""
        if self._pool is None:
            return
        for child in active_children():
            if child.pid not in self._strangers:
                child.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def of(self, servings: Sequence[Serving]) -> list[Trial]:
        """One for each, in order. Invalid where something cannot be simulated or has no price."""
        keys = [_bytes(serving) for serving in servings]
        new = {key: serving for key, serving in zip(keys, servings, strict=True) if key not in self._done}
        for (key, serving), (outcome, took_s) in zip(new.items(), self._outcomes(list(new.values())), strict=True):
            self._done[key] = self._trial(serving, outcome)
            self.simulated += 1
            if self._told is not None:
                self._told(serving, took_s)
        return [self._done[key] for key in keys]

    def known(self, serving: Serving) -> Trial | None:
        """What was found of it; None where it was not simulated."""
        return self._done.get(_bytes(serving))

    def know(self, trials: Sequence[Trial]) -> None:
        """Endpoints that were simulated on the same requests, when perhaps no SLO was known yet."""
        for trial in trials:
            served = tuple(_judged(one, self.workloads[one.workload]) for one in trial.outcome.served)
            self._done[_bytes(trial.serving)] = self._trial(trial.serving, replace(trial.outcome, served=served))
            self.simulated += 1

    def _outcomes(self, servings: Sequence[Serving]) -> Iterator[tuple[Outcome, float]]:
        """In order: here until the work is worth other processes, then in these, as many at a time as there are."""
        here = 0
        while here < len(servings) and self._is_for_one(len(servings) - here):
            yield self._here(servings[here])
            here += 1
        if here == len(servings):
            return
        if self._pool is None:
            # Not forked: this process may have threads. Each gets the scenario once.
            given = (self._simulate, self.scenario, self._is_whole)
            self._strangers = frozenset(child.pid for child in active_children())
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), initializer=_begin, initargs=given)
        yield from self._pool.map(_in_pool, servings[here:])

    def _is_for_one(self, left: int) -> bool:
        """Whether so many are simulated in this process."""
        return self._workers == 1 or left < 2 or (self._pool is None and self._spent_s < _ALONE_S)

    def _here(self, serving: Serving) -> tuple[Outcome, float]:
        began_s = time.process_time()
        found = _timed(self._simulate, self.scenario, self._is_whole, serving)
        self._spent_s += time.process_time() - began_s
        return found

    def _trial(self, serving: Serving, outcome: Outcome) -> Trial:
        misses = [missed_by(served, self.workloads[served.workload]) for served in outcome.served]
        lates = [late_by(served, self.workloads[served.workload]) for served in outcome.served]
        return Trial(
            serving=serving,
            cost=self.pricing.micro_usd(outcome),
            miss=max(misses, default=0.0),
            late=max(lates, default=1.0),
            outcome=outcome,
        )


def _bytes(serving: Serving) -> bytes:
    return msgspec.msgpack.encode(serving)


def _one(simulate: SimulateFn, scenario: Scenario, whole: bool, serving: Serving) -> Outcome:
    """Simulated; with what plots need where that is said."""
    outcome = simulate(alone(scenario, serving), Architecture(name=serving.name, endpoints=(serving,)))
    kept = (replace(used, decisions=(), series=used.series if whole else None) for used in outcome.used)
    return replace(outcome, used=tuple(kept))


_given: tuple[SimulateFn, Scenario, bool] | None = None


def _begin(simulate: SimulateFn, scenario: Scenario, whole: bool) -> None:
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for whoever waits for the answers
    strays.end_with_parent(True)  # who waits for the next candidate hears nothing of a plan that was killed
    _given = (simulate, scenario, whole)


def _in_pool(serving: Serving) -> tuple[Outcome, float]:
    assert _given is not None
    return _timed(*_given, serving)


def _timed(simulate: SimulateFn, scenario: Scenario, whole: bool, serving: Serving) -> tuple[Outcome, float]:
    began_s = time.monotonic()
    outcome = _one(simulate, scenario, whole, serving)
    return outcome, time.monotonic() - began_s
