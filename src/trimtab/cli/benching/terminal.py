"""Plots in the terminal, where there is one."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

from trimtab.cli.benching.charts import Chart, latencies, rates
from trimtab.cli.render import emit
from trimtab.jobs.loadtest.outcome import Outcome

_MOST_COLUMNS: Final = 120
_ROWS: Final = 13
_COLORS: Final = ("red", "orange", "cyan")


def show_plots(outcome: Outcome) -> None:
    """Rates and latencies over time, if stdout is a terminal and there are steps enough for a curve."""
    if not sys.stdout.isatty():
        return
    columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    for chart in (rates(outcome), latencies(outcome)):
        if len(chart.xs) > 2 and chart.values:
            emit("")
            emit(plotted(chart, columns, color=not os.environ.get("NO_COLOR")))


def plotted(chart: Chart, columns: int, *, color: bool) -> str:
    """A chart as text of so many columns."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(columns, _ROWS)
    plotext.title(f"{chart.title} ({chart.y_label})")
    plotext.xlabel(chart.x_label)
    if chart.log:
        plotext.yscale("log")
    for line, shade in zip(chart.lines, _colors(chart), strict=False):
        points = [(x, y) for x, y in zip(chart.xs, line.ys, strict=True) if y is not None and (y > 0 or not chart.log)]
        if points:
            xs, ys = zip(*points, strict=True)
            plotext.plot(list(xs), list(ys), label=line.name, marker="braille", color=shade if color else None)
    if not chart.log:
        plotext.ylim(0, max(chart.values) * 1.05 or 1)
    text: str = plotext.build()
    return "\n".join(line.rstrip() for line in text.splitlines())


def _colors(chart: Chart) -> tuple[str, ...]:
    by_name = {"offered": "cyan", "answered": "green", "failed": "red", "max": "red", "p99": "orange", "p50": "green"}
    return tuple(by_name.get(line.name, _COLORS[i % 3]) for i, line in enumerate(chart.lines))
