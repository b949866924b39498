"""Multi-model endpoints: replicas under scaling policies, models in them under the live cache policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.resources.cost import Part
from trimtab.sim.models import hosting as h
from trimtab.sim.models.hosted import HostedStation
from trimtab.sim.replicas.endpoint import parts_of, ran, served, used
from trimtab.sim.replicas.station import feed, work_on
from trimtab.sim.world import Scenario, Served, Serving, Used, Workload

if TYPE_CHECKING:
    from trimtab.sim.simulate import Progress


def simulate_models(
    scenario: Scenario,
    serving: Serving,
    workloads: Sequence[Workload],
    *,
    span: tuple[float, float],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Served, ...], Used]:
    """See `simulate.Simulates`. The slots of a replica are shared by its models; a load takes none of them."""
    start_s, end_s = span
    works = [work_on(one, serving.instance_type) for one in workloads]
    station = HostedStation(serving, workloads, feed(workloads, works, seed), start_s, end_s)
    run = ran(scenario, serving, station, span, seed, progress)
    parts = _with_loads(parts_of(station), station)
    station.finish(end_s + serving.timeout_s)
    answers = tuple(served(station, row, one) for row, one in enumerate(workloads))
    return answers, used(
        serving, station, workloads, parts,
        loads=station.loads, evictions=station.evictions, decisions=tuple(run.decisions), series=run.curves.series(),
    )  # fmt: skip


def _with_loads(parts: dict[Part, float], station: HostedStation) -> dict[Part, float]:
    """Of the time that replicas stood ready, what they loaded models in: again, or for the first time."""
    reload_s, load_s = (float(station.books.seconds[which]) for which in (h.RELOAD_S, h.LOAD_S))
    for part, seconds in ((Part.RELOADS, reload_s), (Part.COLD_STARTS, load_s)):
        for of in (Part.HEADROOM, Part.IDLE):
            taken = min(seconds, parts.get(of, 0.0))
            parts[of] = parts.get(of, 0.0) - taken
            parts[part] = parts.get(part, 0.0) + taken
            seconds -= taken
    return {part: seconds for part, seconds in parts.items() if seconds > 0}
