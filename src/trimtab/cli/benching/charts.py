"""What is drawn of a test, whatever it is drawn with: rates and latencies over time, latency by percentile. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from trimtab.jobs.loadtest.outcome import Outcome, timeline

Values = Sequence[float | None]
_PERCENTILES: Final = (0, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)


class Line(Struct, frozen=True):
    """One curve. None: nothing was measured there."""

    name: str
    ys: Values


class Chart(Struct, frozen=True):
    """Curves over common x values. `x_names` are shown instead of numbers, where they are given."""

    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    lines: tuple[Line, ...]
    x_names: tuple[str, ...] = ()
    log: bool = False
    limit: float | None = None  # the SLO's, drawn across
    limit_name: str = ""  # the quantile that it is of

    @property
    def values(self) -> list[float]:
        """Every y that is there."""
        return [y for line in self.lines for y in line.ys if y is not None]


def charts_of(outcome: Outcome) -> list[Chart]:
    """Those that have something to show."""
    return [chart for chart in (rates(outcome), latencies(outcome), percentiles(outcome)) if chart.values]


def rates(outcome: Outcome) -> Chart:
    """Offered, answered and failed requests a second. The last step is left out where it is not whole."""
    entries, step_s = timeline(outcome), outcome.plan.step_s
    whole = max(1, int(outcome.run.elapsed_s / step_s))
    entries = entries[:whole]
    lines = [
        Line(name, [e[key] / step_s for e in entries]) for name, key in (("offered", "due"), ("answered", "answered"))
    ]
    if outcome.tally.failed:
        lines.append(Line("failed", [e["failed"] / step_s for e in entries]))
    return Chart("Requests per second", "seconds", "requests/s", [e["t_s"] for e in entries], tuple(lines))


def latencies(outcome: Outcome) -> Chart:
    """p50, p99 and maximum of the requests that were due in each step, in milliseconds."""
    entries = [e for e in timeline(outcome) if e["due"] or e["max_s"] is not None]
    lines = tuple(
        Line(name, [None if e[key] is None else e[key] * 1e3 for e in entries])
        for name, key in (("max", "max_s"), ("p99", "p99_s"), ("p50", "p50_s"))
    )
    chart = Chart("Latency, by when requests were due", "seconds", "ms", [e["t_s"] for e in entries], lines)
    return _scaled(chart, outcome)


def percentiles(outcome: Outcome) -> Chart:
    """Latency by percentile; equal distances mean ten times fewer requests beyond."""
    latency = outcome.tally.latency()
    shown = [p for p in _PERCENTILES if (1 - p / 100) * latency.count >= 1]
    lines = [Line("latency", [latency.quantile(p / 100) * 1e3 for p in shown])]
    if outcome.tally.service.count:
        lines.append(Line("service time", [outcome.tally.service.quantile(p / 100) * 1e3 for p in shown]))
    xs = [-math.log10(1 - p / 100) for p in shown]
    names = tuple(f"{p:g}" for p in shown)
    return _scaled(Chart("Latency by percentile", "percentile", "ms", xs, tuple(lines), x_names=names), outcome)


def _scaled(chart: Chart, outcome: Outcome) -> Chart:
    """Logarithmic where values are far apart; with the SLO's limit where that is near."""
    from msgspec.structs import replace

    values = chart.values
    if not values:
        return chart
    slo = outcome.slo
    chart = replace(chart, log=max(values) > 30 * max(min(values), 1e-6))
    if slo is None or not slo.quantile:
        return chart
    return replace(chart, limit=slo.limit_s * 1e3, limit_name=slo.quantile)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from about `low` to about `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    size = 10 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    first = math.floor(low / step)
    return [round(step * (first + i), 12) for i in range(math.ceil(high / step - 1e-9) - first + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 x powers of ten around the values; only powers of ten where these are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if last - first > 3 else (1, 2, 5)
    found = [m * 10.0**e for e in range(first, last + 1) for m in steps]
    below = max((t for t in found if t <= low), default=found[0])
    above = min((t for t in found if t >= high), default=found[-1])
    return [t for t in found if below <= t <= above]


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
