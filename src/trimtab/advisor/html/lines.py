"""Curves over time as SVG, in the colours of the reports' style."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from markupsafe import Markup
from msgspec import Struct

WIDTH: Final = 860
HEIGHT: Final = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 30, 30
_DAY_S: Final = 86_400.0


class Curve(Struct, frozen=True):
    """`ys[i]` is of the i-th step; NaN where there is nothing. `tone` is a colour's name in the style."""

    name: str
    ys: Sequence[float]
    tone: str = "now"


def lines_svg(title: str, unit: str, step_s: float, curves: Sequence[Curve], *, limit: float | None = None) -> Markup:
    """One chart; "" without a value above 0. `limit` is drawn across."""
    values = [y for curve in curves for y in curve.ys if math.isfinite(y)]
    if not values or max(values) <= 0:
        return Markup("")
    count = max(len(curve.ys) for curve in curves)
    ticks = _ticks(max([*values, limit or 0.0]))
    x_each, top = (WIDTH - _LEFT - _RIGHT) / max(1, count - 1), ticks[-1]

    def y_at(value: float) -> float:
        return HEIGHT - _BOTTOM - value / top * (HEIGHT - _BOTTOM - _TOP)

    parts = [
        f'<svg class="lines" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *(part for tick in ticks for part in _level(tick, y_at(tick))),
        *_times(count, step_s, x_each),
        f'<text class="figure" x="8" y="{_TOP - 14}">{escape(unit)}</text>',
        *(part for curve in curves for part in _curve(curve, x_each, y_at)),
        *_limit(limit, y_at),
        *_legend(curves),
        "</svg>",
    ]
    return Markup("\n".join(parts))  # every text in it is escaped


def _ticks(top: float) -> list[float]:
    """From 0, in round steps."""
    size = 10 ** math.floor(math.log10(top / 4))
    step = next(m * size for m in (1, 2, 5, 10) if m * size * 4.001 >= top)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def _level(tick: float, y: float) -> Iterator[str]:
    yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<text class="figure" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,.6g}</text>'


def _times(count: int, step_s: float, x_each: float) -> Iterator[str]:
    """Hours of up to two days, days of more."""
    span_s = count * step_s
    unit_s, word = (3600.0, "h") if span_s <= 2 * _DAY_S else (_DAY_S, "d")
    if span_s < 2 * 3600:
        unit_s, word = 60.0, "min"
    step = max(1, math.ceil(span_s / unit_s / 12))
    for number in range(0, int(span_s / unit_s) + 1, step):
        x = _LEFT + number * unit_s / step_s * x_each
        if x <= WIDTH - _RIGHT + 1:
            yield f'<text class="figure" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{number} {word}</text>'


def _curve(curve: Curve, x_each: float, y_at: Callable[[float], float]) -> Iterator[str]:
    run: list[str] = []
    for index, y in enumerate([*curve.ys, math.nan]):
        if math.isfinite(y):
            run.append(f"{_LEFT + index * x_each:.1f},{y_at(y):.1f}")
        elif run:
            run = run if len(run) > 1 else [*run, run[0]]
            yield f'<polyline class="curve {escape(curve.tone)}-line" points="{" ".join(run)}"/>'
            run = []


def _limit(limit: float | None, y_at: Callable[[float], float]) -> Iterator[str]:
    if limit is not None:
        y = y_at(limit)
        yield f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _legend(curves: Sequence[Curve]) -> Iterator[str]:
    x = WIDTH - _RIGHT - sum(34 + 7 * len(curve.name) for curve in curves)
    for curve in curves:
        yield f'<rect class="{escape(curve.tone)}" x="{x}" y="{_TOP - 22}" width="14" height="4" rx="2"/>'
        yield f'<text class="figure" x="{x + 20}" y="{_TOP - 16}">{escape(curve.name)}</text>'
        x += 34 + 7 * len(curve.name)
