"""One series of a rate trace on an even grid of time: order, repeated steps and gaps put right, and said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.load import MOST_STEPS, Floats
from trimtab.sim.traces.layout import Layout

_NAMED_STEPS: Final = {"minute_local": 60.0, "second_of_day": 1.0, "minute": 60.0, "hour": 3600.0}
_OFF: Final = 0.01  # of a step: a row further from the grid is told of
Names = np.ndarray[Any, np.dtype[np.str_]]


class RateSeries(Struct, frozen=True, kw_only=True):
    """`per_s[i]` requests a second between `start_s + i * step_s` and a step later.

    `cv` of the times between them, 0 where it is not known. `family` (Gamma, Weibull; "" unknown), `p1`, `p2`: their
    distribution, as the source gives it. None: the file has no such column.
    """

    label: str = ""
    start_s: float
    step_s: float
    per_s: Floats
    cv: Floats | None = None
    family: Names | None = None
    p1: Floats | None = None
    p2: Floats | None = None

    @property
    def end_s(self) -> float:
        """When the last step ends."""
        return self.start_s + len(self.per_s) * self.step_s


def series_of(
    rows: Mapping[str, Floats], layout: Layout, families: Names | None, name: str, step_s: float | None, *, hold: bool
) -> tuple[RateSeries, list[str]]:
    """The series, and what was put right. Raises Invalid."""
    notes: list[str] = []
    times = rows[layout.time]
    values = {name: column for name, column in rows.items() if name != layout.time}
    if back := int((np.diff(times) < 0).sum()):
        notes.append(f"{name}: rows are out of order ({back:,} where the time goes back); they were sorted.")
    order = np.argsort(times, kind="stable")
    times = times[order]
    step_s = step_s or _step_of(times, layout, name)
    places = np.rint((times - times[0]) / step_s).astype(np.int64)
    if places[-1] >= MOST_STEPS:
        raise Invalid(
            f"{name}: {int(places[-1]) + 1:,} steps of {step_s:g} s are more than the {MOST_STEPS:,} allowed."
        )
    off = np.abs(times - times[0] - places * step_s) > _OFF * step_s
    if off.any():
        notes.append(
            f"{name}: {int(off.sum()):,} rows are not on the grid of {step_s:g} s; each went to its nearest step."
        )
    last = np.append(np.diff(places) > 0, True)  # of rows for one step the last one stays
    if twice := int((~last).sum()):
        notes.append(f"{name}: steps that are told twice: {twice:,}; the later row counts.")
    places, order = places[last], order[last]
    counts = values[layout.count][order]
    unknown = np.isnan(counts)
    if unknown.all():
        raise Invalid(f"{name}: no row has a number in {layout.count}.")
    grid = np.full(int(places[-1]) + 1, np.nan)
    grid[places] = counts if layout.is_per_second else counts / step_s
    per_s = _filled(grid, hold=hold)
    if gaps := int(np.isnan(grid).sum()):
        how = "the rate before it holds in each" if hold else "counted as no requests"
        notes.append(f"{name}: {gaps:,} of {len(grid):,} steps have no number: {how}.")

    def spread(column: str) -> Floats:
        full = np.zeros(len(grid))
        full[places] = np.nan_to_num(values[column][order])
        return full

    names = None
    if families is not None:
        names = np.full(len(grid), "", dtype=families.dtype)
        names[places] = families[order]
    family = layout.family
    return RateSeries(
        start_s=float(times[0]),
        step_s=step_s,
        per_s=per_s,
        cv=spread(layout.cv) if layout.cv else None,
        family=names,
        p1=spread(family[1]) if family is not None else None,
        p2=spread(family[2]) if family is not None else None,
    ), notes


def _filled(grid: Floats, *, hold: bool) -> Floats:
    if not hold:
        return np.nan_to_num(grid)
    last = np.maximum.accumulate(np.where(np.isnan(grid), -1, np.arange(len(grid))))
    filled: Floats = np.where(last >= 0, grid[np.maximum(last, 0)], 0.0)
    return filled


def _step_of(times: Floats, layout: Layout, name: str) -> float:
    """The usual distance between rows."""
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    if len(gaps):
        return float(np.quantile(gaps, 0.5, method="lower"))
    named = _NAMED_STEPS.get(layout.time.lower())
    if named is None:
        raise Invalid(f"{name}: it has one step, so how long that is must be said: `step: 60s`.")
    return named
