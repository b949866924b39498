"""A world that can be worked out by hand: requests that come evenly, and a simulator in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from msgspec import Struct

from trimtab.resources.cost import Part
from trimtab.sim.latency import histogram_of
from trimtab.sim.load import Floats
from trimtab.sim.world import (
    Architecture,
    Chunk,
    Mode,
    Outcome,
    Scenario,
    Served,
    Serving,
    Slo,
    Used,
    Work,
    Workload,
)

HOUR_S = 3600.0
USD = {"ml.small": 0.1, "ml.large": 0.35}


class Even(Struct, frozen=True):
    """`counts[i]` requests in the hour i, evenly."""

    counts: tuple[int, ...]

    start_s: float = 0.0

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.counts) * HOUR_S

    def chunks(self, seed: int) -> Iterator[Chunk]:
        for hour, count in enumerate(self.counts):
            at_s = self.start_s + hour * HOUR_S + np.arange(count) * (HOUR_S / max(1, count))
            yield Chunk(at_s, np.full(count, 0.5))


def a_workload(name: str = "fraud", counts: tuple[int, ...] = (3600,) * 24, **more: object) -> Workload:
    work = {"ml.small": Work(quantiles_s=(1.0,)), "ml.large": Work(quantiles_s=(0.25,))}
    work["*"] = work["ml.small"]
    given = {"work": work, "slo": Slo(within_s=2.0), "memory_bytes": 2**30, "load_s": 1.0} | more
    return Workload(name=name, arrivals=Even(counts), **given)  # type: ignore[arg-type]


def an_endpoint(name: str = "fraud", **more: object) -> Serving:
    given = {
        "mode": Mode.REAL_TIME, "workloads": (name,), "instance_type": "ml.large", "min_replicas": 4, "max_replicas": 4,
    } | more  # fmt: skip
    return Serving(name=name, **given)  # type: ignore[arg-type]


def a_scenario(*workloads: Workload, before: tuple[Serving, ...] = (), **more: object) -> Scenario:
    architectures = (Architecture(name="before", endpoints=before),) if before else ()
    return Scenario(name="test", workloads=workloads, architectures=architectures, **more)  # type: ignore[arg-type]


class Prices:
    """By the hour for two types, and serverless for nobody."""

    def usd_per_hour(self, instance_type: str, mode: Mode, *, is_spot: bool = False) -> float | None:
        return USD.get(instance_type)

    def usd_per_serverless_s(self, memory_mb: int) -> float | None:
        return memory_mb / 1024 * 2e-5

    def micro_usd(self, outcome: Outcome) -> int:
        return sum(
            round(used.replica_s * USD.get(used.instance_type, 0.0) / 3600 * 1e6 + used.billed_gb_s * 2e-5 * 1e6)
            for used in outcome.used
        )


def simulate(scenario: Scenario, architecture: Architecture) -> Outcome:
    """Each hour by itself: as many replicas as the bounds and the work of the hour ask for; too few keep no SLO.

    Of a policy's target only its effect on the number is modelled. Requests of a shared endpoint find their model
    loaded when it is pinned, or when all models fit.
    """
    by_name = {workload.name: workload for workload in scenario.workloads}
    start_s = min(workload.arrivals.start_s for workload in scenario.workloads)
    end_s = max(workload.arrivals.end_s for workload in scenario.workloads)
    done = [_endpoint(serving, by_name, start_s, end_s) for serving in architecture.endpoints]
    return Outcome(
        architecture=architecture.name,
        start_s=start_s,
        end_s=end_s,
        served=tuple(served for each, _ in done for served in each),
        used=tuple(used for _, used in done),
    )


def _endpoint(
    serving: Serving, by_name: dict[str, Workload], start_s: float, end_s: float
) -> tuple[list[Served], Used]:
    hours = round((end_s - start_s) / HOUR_S)
    workloads = [by_name[name] for name in serving.workloads]
    works = [workload.work.get(serving.instance_type) or workload.work["*"] for workload in workloads]
    counts = [_counts(workload, start_s, hours) for workload in workloads]
    busy = sum(count * work.mean_s / HOUR_S for count, work in zip(counts, works, strict=True))
    replicas, billed_gb_s = _replicas(serving, busy), 0.0
    if serving.mode is Mode.SERVERLESS:
        billed_gb_s = float(busy.sum()) * HOUR_S * serving.memory_mb / 1024
        replicas = np.zeros(hours)
    served = [
        _served(serving, workload, work, count, replicas, busy, workloads)
        for workload, work, count in zip(workloads, works, counts, strict=True)
    ]
    used = Used(
        endpoint=serving.name, mode=serving.mode, instance_type=serving.instance_type, is_spot=False,
        replica_s=float(replicas.sum()) * HOUR_S, billed_gb_s=billed_gb_s, provisioned_gb_s=0.0, request_bytes=0.0,
        requests=sum(one.requests for one in served), loads=0, evictions=0, parts={Part.SERVING: 1.0},
    )  # fmt: skip
    return served, used


def _counts(workload: Workload, start_s: float, hours: int) -> Floats:
    made = np.zeros(hours)
    for chunk in workload.arrivals.chunks(0):
        np.add.at(made, ((chunk.at_s - start_s) // HOUR_S).astype(int), 1)
    return made


def _replicas(serving: Serving, busy: Floats) -> Floats:
    tracking = serving.policies[0].tracking if serving.policies else None
    if tracking is None:
        return np.full(len(busy), float(serving.min_replicas))
    share = min(1.0, tracking.target_value / (60.0 if tracking.predefined.endswith("PerInstance") else 1.0))
    return np.clip(np.array([ceil(value / share - 1e-9) for value in busy]), serving.min_replicas, serving.max_replicas)


def _served(
    serving: Serving, workload: Workload, work: Work, count: Floats, replicas: Floats, busy: Floats,
    workloads: list[Workload],
) -> Served:  # fmt: skip
    requests = int(count.sum())
    enough = np.ones(len(count), dtype=bool) if serving.mode is Mode.SERVERLESS else replicas >= busy
    is_cold = (
        serving.mode is Mode.MULTI_MODEL
        and workload.name not in serving.pinned
        and sum(one.memory_bytes for one in workloads) > serving.models_bytes
    )
    took_s = work.mean_s + (workload.load_s if is_cold else 0.0)
    prompt = int(count[enough].sum())
    good = prompt if workload.slo is None or took_s <= workload.slo.within_s else 0
    histogram = histogram_of(np.array([took_s, 1e4]), np.array([float(prompt), float(requests - prompt)]))
    return Served(
        workload=workload.name, requests=requests, answered=requests, refused=0, failed=0, waiting=0,
        cold=requests if is_cold else 0, within_slo=good / requests if requests and workload.slo else None,
        mean_s=took_s, p50_s=took_s, p95_s=took_s, p99_s=took_s, max_s=took_s, histogram=histogram,
    )  # fmt: skip
