"""For how long an idle environment stays, and when it is made again, by the arrivals seen so far. Pure.

The hybrid histogram of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020), section 4.2: idle times fall into
bins of a minute, up to four hours. Where they show a pattern, the environment ends when it becomes idle, is there again
a little before the earliest request that is likely (the 5th percentile), and stays until a little after the latest (the
99th). Where that earliest is within the first bin it is never away in between. Where they show none (too few of them,
bins that are all alike, or most idle times beyond the histogram) it stays for a fixed time.
"""

from __future__ import annotations

from math import ceil, inf
from typing import Final

from msgspec import Struct

from trimtab.policies.serverless.settings import KeepWarm, KeepWarmMode

BIN_S: Final = 60.0
BINS: Final = 240  # four hours
HEAD: Final = 0.05  # of the idle times are shorter than the earliest that counts
TAIL: Final = 0.99
MARGIN: Final = 0.10  # earlier than the head, later than the tail
LEAST_SEEN: Final = 5  # idle times; fewer say nothing
LEAST_VARIATION: Final = 2.0  # of the bins' counts (deviation / mean): less is no pattern
MOST_BEYOND: Final = 0.5  # of the idle times: more, and the histogram says nothing
STANDARD_S: Final = 600.0  # what is kept without a pattern


class Window(Struct, frozen=True):
    """Seconds since an environment became idle, between which it is kept warm. `from_s` 0: it does not end before
    `until_s`. An empty window: it ends at once."""

    from_s: float
    until_s: float
    why: str = ""

    def holds(self, idle_s: float) -> bool:
        """Whether an environment that has been idle for so long is to be there."""
        return self.from_s <= idle_s < self.until_s

    def changes_s(self, idle_s: float) -> float:
        """At which idle time after `idle_s` the answer changes; inf: never again."""
        if idle_s < self.from_s < self.until_s:
            return self.from_s
        return self.until_s if idle_s < self.until_s and self.from_s < self.until_s else inf


class IdleTimes(Struct, kw_only=True):
    """The histogram: how often an environment was idle for so many minutes before it was needed again."""

    bins: dict[int, int] = {}
    seen: int = 0  # idle times, those beyond the histogram included

    def add(self, idle_s: float) -> None:
        """One was idle for so long, and is needed now."""
        self.seen += 1
        number = int(idle_s // BIN_S)
        if number < BINS:
            self.bins[number] = self.bins.get(number, 0) + 1

    @property
    def variation(self) -> float:
        """Deviation of the bins' counts over their mean; 0 without any."""
        inside = sum(self.bins.values())
        if not inside:
            return 0.0
        mean = inside / BINS
        variance: float = sum(count * count for count in self.bins.values()) / BINS - mean * mean
        return float(max(0.0, variance) ** 0.5 / mean)

    def percentile(self, part: float) -> int:
        """The bin that the `part` of the idle times within the histogram ends in."""
        need = part * sum(self.bins.values())
        running = 0
        for number in sorted(self.bins):
            running += self.bins[number]
            if running >= need:
                return number
        return max(self.bins, default=0)


def window_of(keep_warm: KeepWarm, idle_times: IdleTimes) -> Window:
    """When an environment that becomes idle now is to be there."""
    if keep_warm.mode is KeepWarmMode.OFF:
        return Window(0.0, 0.0, "keep-warm is off")
    if keep_warm.mode is KeepWarmMode.FIXED:
        return Window(0.0, keep_warm.fixed_s, f"kept for {keep_warm.fixed_s:g} s")
    if not _has_pattern(idle_times):
        return Window(0.0, STANDARD_S, f"no pattern yet: kept for {STANDARD_S:g} s")
    earliest_s = idle_times.percentile(HEAD) * BIN_S * (1 - MARGIN)
    latest_s = ceil((idle_times.percentile(TAIL) + 1) * BIN_S * (1 + MARGIN))
    return Window(earliest_s, latest_s, f"used again after {earliest_s:g} to {latest_s:g} s as a rule")


def _has_pattern(idle_times: IdleTimes) -> bool:
    inside = sum(idle_times.bins.values())
    if idle_times.seen < LEAST_SEEN or inside < (1 - MOST_BEYOND) * idle_times.seen:
        return False
    return idle_times.variation >= LEAST_VARIATION
