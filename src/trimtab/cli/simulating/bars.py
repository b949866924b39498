"""Bills as bars, one above the other, each cut into what it was spent for: SVG."""

from __future__ import annotations

from html import escape
from typing import Final

from trimtab.cli.simulating.report import amount as amount_words
from trimtab.cli.simulating.report import usd_words
from trimtab.cli.simulating.running import Simulated
from trimtab.resources.cost import Part

_COLORS: Final = {
    Part.SERVING: "#2a7f4f",
    Part.HEADROOM: "#7bb662",
    Part.IDLE: "#b9bec5",
    Part.COLD_STARTS: "#3b6fb6",
    Part.RELOADS: "#7d5fb2",
    Part.RETRIES: "#c4314b",
    Part.SHADOW: "#8a8f98",
    Part.ROLLOUT: "#d99a2b",
}
_WIDTH: Final = 860
_LEFT: Final = 190
_RIGHT: Final = 110
_BAR: Final = 24
_ROW: Final = 36


def bars_of(done: Simulated) -> str:
    """One bar an architecture, to a common scale."""
    most = max((one.bill.micro_usd for one in done.tried), default=0) or 1
    wide = _WIDTH - _LEFT - _RIGHT
    shown: list[str] = []
    for row, one in enumerate(done.tried):
        top, x = row * _ROW + 6, float(_LEFT)
        shown.append(_text(_LEFT - 8, top + 16, one.outcome.architecture, "end"))
        for part in Part:
            amount = one.bill.parts.get(part, 0)
            if amount <= 0:
                continue
            width = wide * amount / most
            told = f"{part.value}: {amount_words(amount)} USD"
            shown.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{_COLORS[part]}">'
                f"<title>{escape(told)}</title></rect>"
            )
            x += width
        shown.append(_text(x + 8, top + 16, f"{usd_words(one.bill)} USD", "start"))
    there = [part for part in Part if any(one.bill.parts.get(part) for one in done.tried)]
    bottom = len(done.tried) * _ROW + 22
    x = float(_LEFT)
    for part in there:
        shown.append(f'<rect x="{x:.0f}" y="{bottom - 10}" width="11" height="11" fill="{_COLORS[part]}"/>')
        shown.append(_text(x + 16, bottom, part.value, "start"))
        x += 34 + 7.0 * len(part.value)
    return f'<svg viewBox="0 0 {_WIDTH} {bottom + 14}" role="img" aria-label="bills">{"".join(shown)}</svg>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
