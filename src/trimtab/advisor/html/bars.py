"""Bars as SVG: from here to there, each with a label on its left and its figure beside it; also as a waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from markupsafe import Markup
from msgspec import Struct

WIDTH: Final = 860
_ROW: Final = 30
_BAR: Final = 18
_MOST_LABELS: Final = 420  # columns on the left, for names
_LEAST_LABELS: Final = 150
_FIGURES: Final = 96  # and on the right of the longest bar
_CHAR: Final = 7.4  # columns that a character takes at most, on average
_CHARS: Final = int((_MOST_LABELS - 16) / _CHAR)  # that fit into the labels


class Bar(Struct, frozen=True):
    """From `start` to `end`, in the chart's unit. `tone` is a colour of the style: now, less, more, after"""

    label: str
    start: float
    end: float
    text: str  # its figure
    tone: str = "now"
    hint: str = ""  # shown when somebody points at it


def bars_svg(title: str, bars: Sequence[Bar]) -> Markup:
    """One chart; "" without bars."""
    if not bars:
        return Markup("")
    low = min(0.0, *(min(bar.start, bar.end) for bar in bars))
    high = max(0.0, *(max(bar.start, bar.end) for bar in bars))
    labels = max(_LEAST_LABELS, min(_MOST_LABELS, int(max(len(bar.label) for bar in bars) * _CHAR) + 16))
    left = labels + (_FIGURES if low < 0 else 0)
    scale = (WIDTH - left - _FIGURES) / ((high - low) or 1.0)
    zero = left - low * scale
    height = _ROW * len(bars) + 8
    parts = [
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height}"/>',
        *(part for row, bar in enumerate(bars) for part in _drawn(bar, row, labels, zero, scale)),
        "</svg>",
    ]
    return Markup("\n".join(parts))  # every text in it is escaped above and below


def _drawn(bar: Bar, row: int, labels: int, zero: float, scale: float) -> Iterator[str]:
    x = zero + min(bar.start, bar.end) * scale
    width = max(1.0, abs(bar.end - bar.start) * scale)
    top = row * _ROW + (_ROW - _BAR) / 2
    middle = row * _ROW + _ROW / 2 + 4
    yield f"<g><title>{escape(bar.hint or f'{bar.label}: {bar.text}')}</title>"
    yield f'<text class="name" x="{labels - 12}" y="{middle:.0f}" text-anchor="end">{escape(_cut(bar.label))}</text>'
    yield f'<rect class="{escape(bar.tone)}" x="{x:.1f}" y="{top:.0f}" width="{width:.1f}" height="{_BAR}" rx="3"/>'
    if bar.end < 0:
        yield f'<text class="figure" x="{x - 6:.1f}" y="{middle:.0f}" text-anchor="end">{escape(bar.text)}</text>'
    else:
        yield f'<text class="figure" x="{x + width + 6:.1f}" y="{middle:.0f}">{escape(bar.text)}</text>'
    yield "</g>"


def _cut(text: str) -> str:
    """Both ends of a name tell it from others."""
    if len(text) <= _CHARS:
        return text
    return f"{text[: 2 * _CHARS // 3]}…{text[len(text) - _CHARS // 3 + 1 :]}"


def waterfall(first: Bar, steps: Sequence[tuple[str, float, str]], last: tuple[str, str]) -> list[Bar]:
    """`first`, what each step (label, change, figure) takes off or adds, and what is left, named by `last`."""
    bars, level = [first], first.end
    for label, change, text in steps:
        bars.append(Bar(label, level, level + change, text, "less" if change < 0 else "more"))
        level += change
    return [*bars, Bar(last[0], 0.0, level, last[1], "after")]
