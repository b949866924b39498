"""Medians and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The middle of several measurements, and the smallest and largest of them."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value; raises ValueError for none."""
    found = list(values)
    if not found:
        raise ValueError("there is no middle of nothing")
    return Spread(statistics.median(found), min(found), max(found), len(found))


def ratio(one: float, other: float | None) -> float | None:
    """`one` / `other`, or None where that cannot be said."""
    return one / other if other else None
