"""What is drawn of a simulation: requests, replicas and the 99th percentile over time, architectures side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from trimtab.cli.benching.charts import Chart, Line
from trimtab.cli.simulating.running import Simulated, Tried

if TYPE_CHECKING:
    from trimtab.sim.load import Floats

_UNITS: Final = (
    (600, 1.0, "seconds"), (4 * 3600, 60.0, "minutes"), (5 * 86_400, 3600.0, "hours"), (math.inf, 86_400.0, "days"),
)  # fmt: skip
"""Up to how many seconds, how long one is, and its name."""


def charts_of(done: Simulated) -> list[Chart]:
    """Of all endpoints together. None where no endpoint has told its course."""
    first = next((used.series for one in done.tried for used in one.outcome.used if used.series is not None), None)
    if first is None or len(first.requests) == 0:
        return []
    span_s = len(first.requests) * first.step_s
    unit_s, unit = next(
        (size, name)
        for most, size, name in _UNITS
        if span_s <= most
    )  # fmt: skip
    xs = [float(at) for at in (np.arange(len(first.requests)) + 0.5) * first.step_s / unit_s]
    requests = _summed(done.tried[0], "requests", len(xs))
    ready = [Line(one.outcome.architecture, _told(_summed(one, "ready", len(xs)))) for one in done.tried]
    slowest = [Line(one.outcome.architecture, _told(_slowest(one, len(xs)) * 1e3)) for one in done.tried]
    values = [y for line in slowest for y in line.ys if y]
    far = bool(values) and max(values) > 30 * min(values)
    charts = [
        Chart("Requests", unit, "requests/s", xs, (Line("offered", _told(requests)),)),
        Chart("Replicas (environments) that are ready", unit, "replicas", xs, tuple(ready)),
        Chart("Latency, 99th percentile, of the slowest endpoint", unit, "ms", xs, tuple(slowest), log=far),
    ]
    return [chart for chart in charts if chart.values]


def _summed(one: Tried, name: str, count: int) -> Floats:
    total = np.zeros(count)
    for used in one.outcome.used:
        if used.series is not None:
            values = getattr(used.series, name)[:count]
            total[: len(values)] += values
    return total


def _slowest(one: Tried, count: int) -> Floats:
    found = np.full(count, np.nan)
    for used in one.outcome.used:
        if used.series is not None:
            values = used.series.p99_s[:count]
            found[: len(values)] = np.fmax(found[: len(values)], values)
    return found


def _told(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
