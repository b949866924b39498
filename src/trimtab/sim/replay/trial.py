"""One variant and a load that came to it: what rules would have made of it, or what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Forecast, Scheduled
from trimtab.sim.kernels.books import DRAINING_S, READY_S, STARTING_S
from trimtab.sim.replicas.endpoint import served
from trimtab.sim.replicas.sampling import Curves
from trimtab.sim.replicas.station import Station, feed
from trimtab.sim.scaling.scaled import Note, Scaled
from trimtab.sim.world import Arrivals, Mode, Series, Served, Serving, Slo, Work, Workload

SLOW_S: Final = 0.2
_ENDS_S: Final = 60.0  # so long after the end replicas still answer what has come
_ANY: Final = "*"
_ALL: Final = 1 << 60  # requests that may wait


class Machine(Struct, frozen=True, kw_only=True):
    """What a variant's replicas are like."""

    work_s: float  # that a request takes a replica
    start_s: float = 0.05  # from a decision until the replica takes requests
    slots: int = 1  # requests that a replica works on at the same time, none of them slower for it


class Trial(Struct, frozen=True, kw_only=True):
    """What became of it. Nobody gives up, so what has no answer still waits."""

    served: Served  # its objective is SLOW_S
    replica_s: float  # seconds of replicas, from order to end
    least: int  # replicas that were ordered
    most: int
    decisions: tuple[Decision, ...]  # that changed capacity
    series: Series

    @property
    def slow(self) -> int:
        """Requests that took longer than SLOW_S, or still wait."""
        return self.served.requests - round(self.served.requests * (self.served.within_slo or 0.0))


def under_rules(
    arrivals: Arrivals,
    rules: Rules,
    machine: Machine,
    *,
    replicas: int | None = None,
    given: Sequence[Scheduled | Forecast] = (),
    note: Note | None = None,
    seed: int = 0,
) -> Trial:
    """Let requests come to `replicas` (without: the target's minimum) scaled by `rules`.

    `given`: what came from outside, at its own times. `note` is told each step of the reducer, as a journal is. Invalid
    for a metric that the simulator has not, and where numba is not installed.
    """
    first = rules.target.min_capacity if replicas is None else replicas
    serving, workload, station = _variant(arrivals, machine, first, seed)
    run = Scaled(
        serving, station, arrivals.end_s, rules=rules, given=given, note=note, chance=np.random.default_rng(seed)
    )
    run.run()
    counts = [first, *(decision.wanted for decision in run.decisions)]
    return _trial(station, workload, run.curves, counts, run.decisions, arrivals.end_s)


def under_orders(
    arrivals: Arrivals, machine: Machine, *, replicas: int, orders: Sequence[tuple[float, int]], seed: int = 0
) -> Trial:
    """The same, where capacity is what somebody ordered: moments and replicas, in order."""
    _, workload, station = _variant(arrivals, machine, replicas, seed)
    curves, waiting, end_s = Curves(station, arrivals.start_s, arrivals.end_s), list(orders), arrivals.end_s
    station.add(replicas)
    curves.wants(replicas)
    while station.now_s < end_s:
        due_s = waiting[0][0] if waiting else inf
        station.run(max(station.now_s, min(station.next_s, due_s, curves.next_s, end_s)))
        if station.next_s <= station.now_s:
            station.turn()
        if curves.next_s <= station.now_s:
            curves.cut()
        while waiting and waiting[0][0] <= station.now_s:
            _, wanted = waiting.pop(0)
            station.scale(wanted)
            curves.wants(wanted)
    counts = [replicas, *(wanted for at_s, wanted in orders if at_s <= end_s)]
    return _trial(station, workload, curves, counts, (), end_s)


def _variant(arrivals: Arrivals, machine: Machine, replicas: int, seed: int) -> tuple[Serving, Workload, Station]:
    work = Work(quantiles_s=(machine.work_s,), slots=machine.slots)
    workload = Workload(name="load", arrivals=arrivals, work={_ANY: work}, slo=Slo(within_s=SLOW_S))
    serving = Serving(
        name="variant", mode=Mode.REAL_TIME, workloads=(workload.name,), instance_type=_ANY, min_replicas=replicas,
        max_replicas=replicas, start_s=machine.start_s, queue=_ALL, timeout_s=inf,
    )  # fmt: skip
    requests = feed([workload], [work], seed)
    return serving, workload, Station(serving, [workload], requests, arrivals.start_s, waits=False)


def _trial(
    station: Station,
    workload: Workload,
    curves: Curves,
    counts: Sequence[int],
    decisions: Sequence[Decision],
    end_s: float,
) -> Trial:
    seconds = station.books.f
    replica_s = float(seconds[READY_S] + seconds[STARTING_S] + seconds[DRAINING_S])
    station.finish(end_s + _ENDS_S)
    return Trial(
        served=served(station, 0, workload), replica_s=replica_s, least=min(counts), most=max(counts),
        decisions=tuple(decisions), series=curves.series(),
    )  # fmt: skip
