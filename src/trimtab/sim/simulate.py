"""The simulator: a scenario's workloads against one architecture, request by request, under the live policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from trimtab.errors import Invalid
from trimtab.sim.world import Architecture, Mode, Outcome, Scenario, Served, Serving, Used, Workload

Progress = Callable[[float], None]
"""Is told how much of the run is done, 0 to 1."""


class Simulates(Protocol):
    """One mode's simulation: what became of an endpoint's requests, one `Served` a workload, and what it has used.

    All endpoints of a run begin and end with the scenario.
    """

    def __call__(
        self,
        scenario: Scenario,
        serving: Serving,
        workloads: Sequence[Workload],
        *,
        span: tuple[float, float],
        seed: int,
        progress: Progress,
    ) -> tuple[tuple[Served, ...], Used]: ...


def _replicas() -> Simulates:
    from trimtab.sim.replicas.endpoint import simulate_replicas

    return simulate_replicas


def _serverless() -> Simulates:
    from trimtab.sim.serverless.endpoint import simulate_serverless

    return simulate_serverless


def _models() -> Simulates:
    from trimtab.sim.models.endpoint import simulate_models

    return simulate_models


def _batch() -> Simulates:
    from trimtab.sim.replicas.batch import simulate_batch

    return simulate_batch


MODES: dict[Mode, Callable[[], Simulates]] = {
    Mode.REAL_TIME: _replicas,
    Mode.ASYNC: _replicas,
    Mode.SERVERLESS: _serverless,
    Mode.MULTI_MODEL: _models,
    Mode.BATCH: _batch,
}
"""How each mode is simulated; imported when it is needed."""


def simulate(
    scenario: Scenario, architecture: Architecture, *, seed: int | None = None, progress: Progress | None = None
) -> Outcome:
    """What becomes of the scenario's workloads, and what the architecture's endpoints use for that.

    `seed`: that of the scenario without. Chance is each workload's own: architectures that are compared see the same
    requests. Invalid where the architecture does not serve each workload once, or has what cannot be simulated.
    """
    chance = scenario.seed if seed is None else seed
    known = {workload.name: workload for workload in scenario.workloads}
    _check(architecture, known)
    start_s = min(workload.arrivals.start_s for workload in scenario.workloads)
    end_s = max(workload.arrivals.end_s for workload in scenario.workloads)
    served: list[Served] = []
    used: list[Used] = []
    count = len(architecture.endpoints)
    for number, serving in enumerate(architecture.endpoints):
        simulates = MODES[serving.mode]()

        def told(part: float, number: int = number) -> None:
            if progress is not None:
                progress((number + part) / count)

        workloads = [serving.served(known[name]) for name in serving.workloads]
        of_each, of_endpoint = simulates(
            scenario, serving, workloads, span=(start_s, end_s), seed=chance, progress=told
        )
        served += of_each
        used.append(of_endpoint)
    order = {name: place for place, name in enumerate(known)}
    served.sort(key=lambda one: order[one.workload])
    return Outcome(architecture=architecture.name, start_s=start_s, end_s=end_s, served=tuple(served), used=tuple(used))


def _check(architecture: Architecture, known: dict[str, Workload]) -> None:
    if not known:
        raise Invalid("A scenario has one workload at least.")
    names = [name for serving in architecture.endpoints for name in serving.workloads]
    for name in names:
        if name not in known:
            raise Invalid(f"Architecture {architecture.name} serves {name}, which is no workload of the scenario.")
    for name in known:
        if names.count(name) != 1:
            times = "not" if name not in names else f"{names.count(name)} times"
            raise Invalid(f"Architecture {architecture.name} must serve workload {name} once; it is {times} served.")
    for serving in architecture.endpoints:
        if not serving.workloads:
            raise Invalid(f"Endpoint {serving.name} of architecture {architecture.name} serves nobody.")
        if serving.mode not in MODES:
            raise Invalid(f"Endpoints of mode {serving.mode} cannot be simulated.")


def chance_of(seed: int, name: str) -> np.random.Generator:
    """Chance that belongs to an endpoint."""
    from zlib import crc32

    return np.random.default_rng([seed & 0xFFFFFFFF, crc32(name.encode())])
