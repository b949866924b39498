"""What each asynchronous request took, in the order in which they were taken up: by each second's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trimtab.metrics.names import TRIMTAB

if TYPE_CHECKING:
    from trimtab.cli.recorded.metrics import Metrics
    from trimtab.sim.load import Floats

_STATS: Final = ("SampleCount", "Average", "Minimum", "p25", "p50", "p75", "Maximum")


def took_of(metrics: Metrics, requests: int, chance: np.random.Generator) -> Floats | None:
    """Of so many requests that came one after the other, what each had its place among those in work for. A queue is
    taken up in order: a second's metrics tell of those that ended in it, and so when each began. Of requests that have
    not ended yet it is drawn of the others. None where metrics are not of seconds, or tell of none.
    """
    if metrics.period_s != 1:
        return None
    began_s, took_s = _ended(metrics, chance)
    if not len(took_s):
        return None
    in_order = took_s[np.argsort(began_s, kind="stable")][-requests:]
    missing = chance.choice(took_s, size=requests - len(in_order))
    return np.concatenate([in_order, missing])


def _ended(metrics: Metrics, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """When each began, to a second; and how long it took."""
    columns = [metrics.series(TRIMTAB, "TimeInWork", stat) for stat in _STATS]
    began: list[Floats] = [np.empty(0)]
    took: list[Floats] = [np.empty(0)]
    for second, values in enumerate(zip(*columns, strict=True)):
        known = [value for value in values if value is not None]
        if len(known) < len(_STATS) or known[0] < 1:
            continue
        count, mean_us, *points_us = known
        took_s = chance.permutation(_values(round(count), mean_us, points_us)) / 1e6
        ended_s = second + (np.arange(len(took_s)) + 0.5) / len(took_s)
        began.append(ended_s - took_s)
        took.append(took_s)
    return np.concatenate(began), np.concatenate(took)


def _values(count: int, mean: float, points: list[float]) -> Floats:
    """So many values of a distribution with these even quantiles and this mean."""
    if count == 1:
        return np.array([mean])
    found = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(points)), points)
    scaled: Floats = found * (mean / found.mean()) if found.mean() > 0 else found
    return scaled
