"""Plots in the terminal, where there is one."""

from __future__ import annotations

import math
import os
import shutil
import sys
from typing import Any, Final

from trimtab.cli.benching.charts import Chart, Line, latencies, log_ticks, number, rates, ticks
from trimtab.cli.render import emit
from trimtab.jobs.loadtest.outcome import Outcome

_MOST_COLUMNS: Final = 120
_ROWS: Final = 14
_COLORS: Final = {
    "offered": "cyan",
    "answered": "green",
    "failed": "red",
    "max": "red",
    "p99": "orange",
    "p50": "green",
}
_SYMBOLS: Final = {"offered": "o", "answered": "+", "failed": "x", "max": "^", "p99": "9", "p50": "5"}  # without colour
_OTHER_COLORS: Final = ("blue", "orange", "green", "magenta", "red", "cyan")  # of curves with names of their own
_OTHER_SYMBOLS: Final = "*o+x#%"


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

    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")  # the terminal's own background and letters; curves have colours of their own
    figure.plot_size(columns, _ROWS)
    figure.title(f"{chart.title} ({chart.y_label})")
    figure.label(f"{chart.x_label}        {_legend(chart, color=color)}", "x")
    height = math.log10 if chart.log else float
    for line in chart.lines:
        points = [
            (x, height(y)) for x, y in zip(chart.xs, line.ys, strict=True) if y is not None and (y > 0 or not chart.log)
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            shade, symbol = _marks(chart, line)
            marker = plotext.marker("braille", shade) if color else plotext.marker(symbol)
            signal = figure.signal(list(xs), list(ys), marker=marker)
            signal.lines(color)
            figure.draw(signal)
    _rule(figure, chart)
    text: str = figure.build().string(colorless=not color)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _legend(chart: Chart, *, color: bool) -> str:
    if color:
        return ", ".join(f"{line.name}: {_marks(chart, line)[0]}" for line in chart.lines)
    return ", ".join(f"{_marks(chart, line)[1]} {line.name}" for line in chart.lines)


def _marks(chart: Chart, line: Line) -> tuple[str, str]:
    """Colour, and what stands for it where there is none."""
    place = chart.lines.index(line)
    color = _COLORS.get(line.name) or _OTHER_COLORS[place % len(_OTHER_COLORS)]
    return color, _SYMBOLS.get(line.name) or _OTHER_SYMBOLS[place % len(_OTHER_SYMBOLS)]


def _rule(figure: Any, chart: Chart) -> None:
    values = [y for y in chart.values if y > 0 or not chart.log]
    y_ticks = log_ticks(min(values), max(values)) if chart.log else ticks(0.0, max(values) or 1.0, 5)
    heights = [math.log10(tick) for tick in y_ticks] if chart.log else y_ticks
    figure.ruler("y").lim(heights[0], heights[-1]).ticks(heights, [number(tick) for tick in y_ticks])
    x_ticks = [tick for tick in ticks(min(chart.xs), max(chart.xs), 8) if tick <= max(chart.xs)]
    figure.ruler("x").ticks(x_ticks, [number(tick) for tick in x_ticks])
