"""Endpoints that are replicas: real-time, and asynchronous ones, whose requests may wait for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trimtab.policies.scaling.decisions import Decision
from trimtab.resources.cost import Part
from trimtab.sim.kernels import books as b
from trimtab.sim.latency import quantile
from trimtab.sim.replicas.standing import Standing
from trimtab.sim.replicas.station import Station, feed, work_on
from trimtab.sim.scaling.scaled import Scaled, coarse_s
from trimtab.sim.world import Mode, Scenario, Series, Served, Serving, Used, Workload

if TYPE_CHECKING:
    from trimtab.sim.simulate import Progress


def simulate_replicas(
    scenario: Scenario,
    serving: Serving,
    workloads: Sequence[Workload],
    *,
    span: tuple[float, float],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Served, ...], Used]:
    """See `simulate.Simulates`. Requests that have come by the end are still answered by the replicas there are."""
    start_s, end_s = span
    works = [work_on(one, serving.instance_type) for one in workloads]
    is_async = serving.mode is Mode.ASYNC
    station = Station(serving, workloads, feed(workloads, works, seed), start_s, waits=is_async)
    run = ran(scenario, serving, station, span, seed, progress)
    parts = parts_of(station)
    if not is_async:
        station.finish(end_s + serving.timeout_s)
    answers = tuple(served(station, row, one) for row, one in enumerate(workloads))
    return answers, used(serving, station, workloads, parts, decisions=tuple(run.decisions), series=run.curves.series())


def ran(
    scenario: Scenario, serving: Serving, station: Standing, span: tuple[float, float], seed: int, progress: Progress
) -> Scaled:
    """The endpoint under its policies and the scenario's faults, run to the end."""
    from trimtab.sim.simulate import chance_of

    start_s, end_s = span
    run = Scaled(
        serving, station, end_s,
        faults=scenario.faults_of(serving),
        chance=chance_of(seed, serving.name),
        look_s=coarse_s(serving.start_s) if scenario.is_coarse else None,
        told=lambda now_s: progress((now_s - start_s) / max(end_s - start_s, 1e-9)),
    )  # fmt: skip
    run.run()
    return run


def used(
    serving: Serving,
    station: Standing,
    workloads: Sequence[Workload],
    parts: dict[Part, float],
    *,
    loads: int = 0,
    evictions: int = 0,
    decisions: tuple[Decision, ...] = (),
    series: Series | None = None,
) -> Used:
    """What an endpoint of replicas has used, by its books."""
    return Used(
        endpoint=serving.name,
        mode=serving.mode,
        instance_type=serving.instance_type,
        is_spot=serving.is_spot,
        replica_s=sum(parts.values()),
        billed_gb_s=0.0,
        provisioned_gb_s=0.0,
        request_bytes=bytes_of(station, workloads),
        requests=int(station.books.counts[:, b.REQUESTS].sum()),
        loads=loads,
        evictions=evictions,
        parts=parts,
        decisions=decisions,
        series=series,
    )


def parts_of(station: Standing) -> dict[Part, float]:
    """Replica-seconds so far, by what they were for."""
    seconds = station.books.f
    alive_s = float(seconds[b.READY_S] + seconds[b.DRAINING_S])
    busy_s, idle_s = station.busy_s, station.idle_s()
    worked_s = float(seconds[b.WORKED_S])
    retries_s = busy_s * min(1.0, float(seconds[b.WASTED_S]) / worked_s) if worked_s > 0 else 0.0
    parts = {
        Part.SERVING: busy_s - retries_s,
        Part.HEADROOM: max(0.0, alive_s - busy_s - idle_s),
        Part.IDLE: idle_s,
        Part.COLD_STARTS: float(seconds[b.STARTING_S]),
        Part.RETRIES: retries_s,
    }
    return {part: seconds_of for part, seconds_of in parts.items() if seconds_of > 0}


def served(station: Standing, row: int, workload: Workload) -> Served:
    """What became of the workload in this row of the station's books."""
    books = station.books
    counts, histogram = books.counts[row], books.histogram[row].copy()
    requests, answered = int(counts[b.REQUESTS]), int(counts[b.ANSWERED])
    refused, failed = int(counts[b.REFUSED]), int(counts[b.FAILED])
    kept = int(counts[b.KEPT]) / requests if requests else 1.0
    longest_s = float(books.sums[row, b.MAX_S])
    p50_s, p95_s, p99_s = (min(quantile(histogram, part), longest_s) for part in (0.5, 0.95, 0.99))
    return Served(
        workload=workload.name,
        requests=requests,
        answered=answered,
        refused=refused,
        failed=failed,
        waiting=requests - answered - refused - failed,
        cold=int(counts[b.COLD]),
        within_slo=None if workload.slo is None else kept,
        mean_s=float(books.sums[row, b.SUM_S]) / answered if answered else 0.0,
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        max_s=longest_s,
        histogram=histogram,
    )


def bytes_of(station: Standing, workloads: Sequence[Workload]) -> float:
    """In and out, of all that were taken in and answered."""
    counts = station.books.counts
    came = counts[:, b.REQUESTS] * np.array([one.request_bytes for one in workloads], dtype=np.float64)
    went = counts[:, b.ANSWERED] * np.array([one.answer_bytes for one in workloads], dtype=np.float64)
    return float(came.sum() + went.sum())
