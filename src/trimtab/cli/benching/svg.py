"""Charts as SVG: for a page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from html import escape
from typing import Final

from trimtab.cli.benching.charts import Chart, Line, log_ticks, number, ticks

WIDTH: Final = 860
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 36, 48
COLORS: Final = {
    "offered": "#8a8f98", "answered": "#1a7f5a", "failed": "#c4314b", "max": "#c4314b", "p99": "#d97b0f",
    "p50": "#1a7f5a", "latency": "#2463b0", "service time": "#8a8f98",
}  # fmt: skip

_OTHERS: Final = ("#2463b0", "#d97b0f", "#1a7f5a", "#8a4fbf", "#c4314b", "#0f8a9d", "#8a8f98")

Scale = Callable[[float], float]


def color_of(chart: Chart, line: Line) -> str:
    """By a curve's name, where that is a usual one; else by its place in the chart."""
    return COLORS.get(line.name) or _OTHERS[chart.lines.index(line) % len(_OTHERS)]


def svg_of(chart: Chart) -> str:
    """One chart."""
    xs = list(chart.xs)
    x_ticks = xs if chart.x_names else ticks(min(xs), max(xs), 8)
    low_x, high_x = min(x_ticks[0], xs[0]), max(x_ticks[-1], xs[-1])
    y_ticks = _y_ticks(chart)
    x_at = _linear(low_x, high_x, _LEFT, WIDTH - _RIGHT)
    y_at = _scale(chart, y_ticks, HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        *_grid(chart, x_ticks, y_ticks, x_at, y_at),
        *(part for line in chart.lines for part in _curve(chart, line, x_at, y_at)),
        *_limit(chart, y_ticks, y_at),
        *_legend(chart),
        "</svg>",
    ]
    return "\n".join(parts)


def _y_ticks(chart: Chart) -> list[float]:
    values = chart.values
    top = max(values)
    if chart.limit is not None and chart.limit < 3 * top:
        top = max(top, chart.limit)
    if chart.log:
        return log_ticks(min(y for y in values if y > 0), top)
    return ticks(0.0, top or 1.0, 5)


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _scale(chart: Chart, y_ticks: list[float], bottom: float, top: float) -> Scale:
    if not chart.log:
        return _linear(y_ticks[0], y_ticks[-1], bottom, top)
    inner = _linear(math.log10(y_ticks[0]), math.log10(y_ticks[-1]), bottom, top)
    return lambda value: inner(math.log10(max(value, y_ticks[0])))


def _grid(chart: Chart, x_ticks: list[float], y_ticks: list[float], x_at: Scale, y_at: Scale) -> Iterator[str]:
    for tick in y_ticks:
        y = y_at(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>'
    shown_to = -math.inf
    for i, tick in enumerate(x_ticks):
        x = x_at(tick)
        label = chart.x_names[i] if chart.x_names else number(tick)
        if x - shown_to < 14 + 7 * len(label) and i:
            continue
        shown_to = x
        yield f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{label}</text>'
    yield f'<text class="label" x="{WIDTH - _RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{chart.x_label}</text>'
    yield f'<text class="label" x="{_LEFT}" y="{_TOP - 14}" text-anchor="end">{chart.y_label}</text>'


def _curve(chart: Chart, line: Line, x_at: Scale, y_at: Scale) -> Iterator[str]:
    """A path for each run of measured points; a dot where there is only one."""
    run: list[tuple[float, float]] = []
    color = color_of(chart, line)
    for x, y in [*zip(chart.xs, line.ys, strict=True), (0.0, None)]:
        if y is not None:
            run.append((x_at(x), y_at(y)))
            continue
        if len(run) == 1:
            yield f'<circle cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="2.5" fill="{color}"/>'
        elif run:
            points = " ".join(f"{px:.1f},{py:.1f}" for px, py in run)
            yield f'<polyline class="curve" stroke="{color}" points="{points}"/>'
        run = []


def _limit(chart: Chart, y_ticks: list[float], y_at: Scale) -> Iterator[str]:
    if chart.limit is not None and y_ticks[0] <= chart.limit <= y_ticks[-1]:
        y = y_at(chart.limit)
        yield f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        text = escape(f"limit of {chart.limit_name}: {number(chart.limit)} ms")
        yield f'<text class="tick" x="{_LEFT + 6}" y="{y + 14:.1f}">{text}</text>'


def _legend(chart: Chart) -> Iterator[str]:
    x = WIDTH - _RIGHT - sum(34 + 7 * len(line.name) for line in chart.lines)
    for line in chart.lines:
        color = color_of(chart, line)
        yield f'<rect x="{x}" y="{_TOP - 24}" width="14" height="4" rx="2" fill="{color}"/>'
        yield f'<text class="tick" x="{x + 20}" y="{_TOP - 18}">{escape(line.name)}</text>'
        x += 34 + 7 * len(line.name)
