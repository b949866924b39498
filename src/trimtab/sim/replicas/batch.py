"""Batch transform: at its times, replicas are started for all that came since the last run, and end with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trimtab.errors import Invalid
from trimtab.policies.scaling.schedule import next_after
from trimtab.resources.cost import Part
from trimtab.resources.scaling import ScheduledAction
from trimtab.sim.kernels import books as b
from trimtab.sim.kernels import fleet
from trimtab.sim.load import Floats
from trimtab.sim.replicas.endpoint import served, used
from trimtab.sim.replicas.sampling import POINTS
from trimtab.sim.replicas.standing import Feed
from trimtab.sim.replicas.station import Station, feed, work_on
from trimtab.sim.world import Ints, Scenario, Series, Served, Serving, Used, Workload

if TYPE_CHECKING:
    from trimtab.sim.simulate import Progress

_LONG_S = 86_400.0


def simulate_batch(
    scenario: Scenario,
    serving: Serving,
    workloads: Sequence[Workload],
    *,
    span: tuple[float, float],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Served, ...], Used]:
    """See `simulate.Simulates`. Runs follow each other: one that is due while another goes on begins when that is over.

    `initial_replicas` (without: `min_replicas`, one at least) work on each; all are paid for until the last answer.
    What comes after the last run's beginning waits. Invalid for a schedule that cannot be read, and for faults.
    """
    if scenario.faults_of(serving):
        raise Invalid(f"Endpoint {serving.name} is a batch transform: faults of those cannot be simulated.")
    works = [work_on(one, serving.instance_type) for one in workloads]
    runs = _Runs(serving, workloads, feed(workloads, works, seed), span)
    for at_s in _due(serving, span):
        runs.run(at_s)
        progress((at_s - span[0]) / max(span[1] - span[0], 1e-9))
    runs.count(span[1])
    station, parts = runs.station, runs.parts()
    answers = tuple(served(station, row, one) for row, one in enumerate(workloads))
    return answers, used(serving, station, workloads, parts, series=runs.series())


def _due(serving: Serving, span: tuple[float, float]) -> list[float]:
    if not serving.runs_at:
        raise Invalid(f"Endpoint {serving.name} is a batch transform: runs_at says when, cron(0 2 * * ? *) say.")
    action = ScheduledAction(
        name="run", arn="", endpoint=serving.name, variant="", schedule=serving.runs_at, created_s=span[0]
    )
    made: list[float] = []
    at_s = next_after(action, span[0])
    while at_s is not None and at_s <= span[1]:
        made.append(at_s)
        at_s = next_after(action, at_s)
    return made


class _Runs:
    """All runs so far."""

    def __init__(
        self, serving: Serving, workloads: Sequence[Workload], requests: Feed, span: tuple[float, float]
    ) -> None:
        self.station = Station(serving, workloads, iter(()), span[0], waits=True)
        self.station.books.f[b.WAIT_LIMIT] = np.inf
        self._replicas = serving.min_replicas if serving.initial_replicas is None else serving.initial_replicas
        self._replicas = max(1, self._replicas)
        self._requests = requests
        self._held: list[tuple[Floats, Floats, Ints]] = []
        self._spans: list[tuple[float, float]] = []  # of each run
        self._came = np.zeros(POINTS)
        self._edges: Floats = np.linspace(*span, POINTS + 1)

    def run(self, due_s: float) -> None:
        """Work on all that has come by then, if anything has."""
        at_s, takes, which = self._come(due_s)
        if not len(at_s):
            return
        began_s = max(due_s, self._spans[-1][1] if self._spans else due_s)
        station = self.station
        station.make_room(len(at_s))
        books = station.books
        books.queue_at[: len(at_s)], books.queue_takes[: len(at_s)], books.queue_work[: len(at_s)] = at_s, takes, which
        books.i[b.QUEUE_HEAD] = 0
        books.i[[b.QUEUED, b.HAND]] = len(at_s)
        books.f[b.NOW] = began_s + station.start_s
        station.add(self._replicas)
        until_s = station.now_s
        while books.i[b.HAND]:
            until_s += _LONG_S
            station.run(until_s)
        fleet.leave(station.books, self._replicas, station.now_s)
        self._spans.append((began_s, float(books.f[b.LAST_S])))

    def count(self, until_s: float) -> None:
        """What comes later is not worked on."""
        self._come(until_s)

    def _come(self, until_s: float) -> tuple[Floats, Floats, Ints]:
        """What has come since the last time, until then."""
        while not self._held or self._held[-1][0][-1] <= until_s:
            found = next(self._requests, None)
            if found is None:
                break
            if len(found[0]):
                self._held.append(found)
        if not self._held:
            nothing = np.empty(0)
            return nothing, nothing, np.empty(0, dtype=np.int64)
        at_s, takes, which = (np.concatenate(columns) for columns in zip(*self._held, strict=True))
        count = int(np.searchsorted(at_s, until_s, side="right"))
        self._held = [(at_s[count:], takes[count:], which[count:])] if count < len(at_s) else []
        np.add.at(self.station.books.counts[:, b.REQUESTS], which[:count], 1)
        self._came += np.histogram(at_s[:count], self._edges)[0]
        return at_s[:count], takes[:count], which[:count]

    def parts(self) -> dict[Part, float]:
        """Replica-seconds, by what they were for."""
        seconds = self.station.books.f
        whole_s = self._replicas * sum(end_s - began_s for began_s, end_s in self._spans)
        starts_s = self._replicas * self.station.start_s * len(self._spans)
        busy_s, worked_s = float(seconds[b.BUSY_S]), float(seconds[b.WORKED_S])
        retries_s = busy_s * min(1.0, float(seconds[b.WASTED_S]) / worked_s) if worked_s else 0.0
        parts = {
            Part.SERVING: busy_s - retries_s,
            Part.HEADROOM: whole_s - starts_s - busy_s,
            Part.COLD_STARTS: starts_s,
            Part.RETRIES: retries_s,
        }
        return {part: seconds_of for part, seconds_of in parts.items() if seconds_of > 1e-6}

    def series(self) -> Series:
        """Requests and replicas over time."""
        edges = self._edges
        step_s = max(float(edges[1] - edges[0]), 1e-9)
        ready = np.zeros(POINTS)
        for began_s, end_s in self._spans:
            inside = np.minimum(edges[1:], end_s) - np.maximum(edges[:-1], began_s + self.station.start_s)
            ready += np.maximum(inside, 0.0) * self._replicas / step_s
        return Series(step_s, float(edges[0]), self._came / step_s, ready, ready.copy(), np.full(POINTS, np.nan))
