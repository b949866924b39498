"""Values of a metric over time, with its gaps."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from trimtab.sim.load import Floats

HOUR_S = 3600
DAY_S = 86_400


class Series(Struct, frozen=True, eq=False):
    """One statistic of one metric, a value for each period from `start_s` on. NaN: nothing was published."""

    start_s: float  # seconds since the epoch
    period_s: int
    values: Floats

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was published."""
        return not bool(np.isfinite(self.values).any())

    @property
    def present(self) -> Floats:
        """The values without the gaps."""
        kept: Floats = self.values[np.isfinite(self.values)]
        return kept

    @property
    def filled(self) -> Floats:
        """With 0 in the gaps: of counts, where nothing published is nothing counted."""
        made: Floats = np.nan_to_num(self.values, nan=0.0)
        return made

    @property
    def total(self) -> float:
        """Of all values; 0 without any."""
        return float(np.nansum(self.values))

    @property
    def mean(self) -> float | None:
        """Of what was published; None without any."""
        present = self.present
        return float(present.mean()) if len(present) else None

    @property
    def peak(self) -> float | None:
        """The largest; None without any."""
        present = self.present
        return float(present.max()) if len(present) else None

    def quantile(self, q: float) -> float | None:
        """Of what was published; None without any."""
        present = self.present
        return float(np.quantile(present, q)) if len(present) else None

    def last(self, seconds: float) -> Series:
        """Its end: the last so many seconds."""
        count = min(len(self.values), max(0, round(seconds / self.period_s)))
        first = len(self.values) - count
        return Series(self.start_s + first * self.period_s, self.period_s, self.values[first:])

    def summed(self, period_s: int) -> Series:
        """Counts in longer periods (a multiple of its own), aligned to them; a period without any value is a gap."""
        times = period_s // self.period_s
        before = round(self.start_s % period_s / self.period_s)
        after = -(before + len(self.values)) % times
        padded = np.pad(self.values, (before, after), constant_values=np.nan).reshape(-1, times)
        gone = ~np.isfinite(padded).any(axis=1)
        sums = np.nansum(padded, axis=1)
        sums[gone] = np.nan
        return Series(self.start_s - before * self.period_s, period_s, sums)
