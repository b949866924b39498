"""Micro-dollars as people read them."""

from __future__ import annotations

from trimtab.resources.cost import MICRO

_CENTS_BELOW = 100  # dollars: from there on cents say nothing


def usd(micro_usd: int) -> str:
    """`$1,234`, `$12.30`, `-$0.42`; less than half a cent keeps two digits that say something: `$0.0012`."""
    dollars = abs(micro_usd) / MICRO
    sign = "-" if micro_usd < 0 else ""
    if dollars >= _CENTS_BELOW:
        return f"{sign}${dollars:,.0f}"
    if dollars >= 0.005 or not dollars:
        return f"{sign}${dollars:.2f}"
    return f"{sign}${dollars:.2g}" if dollars >= 0.0001 else f"{sign}${dollars:.6f}"
