"""Keep-warm policies to compare with: a fixed time is a setting of the live one; this is the hybrid histogram.

Of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020), section 4.2: idle times fall into bins of a minute, up to
four hours. Where they show a pattern, the environment ends when it becomes idle, is there again a little before the
earliest request that is likely (the 5th percentile), and stays until a little after the latest (the 99th). Where that
earliest is within the first bin it is never away in between. Where they show none (bins that are all alike, too few
within the histogram) it stays for the histogram's range: "a standard keep-alive", four hours there; here, as in what
follows it, also ten minutes. The time series forecast of the paper for idle times beyond four hours is left out: no
trace here has enough of them.
"""

from __future__ import annotations

from typing import Final

from msgspec import field

from trimtab.policies.serverless.keep_warm import IdleTimes, Window

BIN_S: Final = 60.0
BINS: Final = 240  # four hours
HEAD: Final = 0.05  # of the idle times are shorter than the earliest that counts
TAIL: Final = 0.99
MARGIN: Final = 0.10  # earlier than the head, later than the tail
LEAST_VARIATION: Final = 2.0  # of the bins' counts (deviation / mean): less is no pattern
MOST_BEYOND: Final = 0.5  # of the idle times: more, and the histogram says nothing


class HybridHistogram(IdleTimes, kw_only=True):
    """The idle times of one environment, as the paper keeps them."""

    standard_s: float = BIN_S * BINS  # what is kept without a pattern
    least_seen: int = 1  # idle times; fewer say nothing
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, idle_s: float) -> bool:
        """One was idle for so long."""
        self.seen += 1
        number = int(idle_s // BIN_S)
        if number < BINS:
            self.bins[number] = self.bins.get(number, 0) + 1
        return True

    def window(self, cold_s: float) -> Window:
        """From the head to the tail; what a cold start is worth is not asked."""
        if not self._shows_a_pattern():
            return Window(((0.0, self.standard_s),), "no pattern")
        earliest_s = self._percentile(HEAD) * BIN_S * (1 - MARGIN)
        latest_s = (self._percentile(TAIL) + 1) * BIN_S * (1 + MARGIN)
        return Window(((earliest_s, latest_s),), "head to tail")

    def _shows_a_pattern(self) -> bool:
        inside = sum(self.bins.values())
        if self.seen < self.least_seen or inside <= (1 - MOST_BEYOND) * self.seen:
            return False
        mean = inside / BINS
        variance = sum(count * count for count in self.bins.values()) / BINS - mean * mean
        return bool(max(0.0, variance) ** 0.5 >= LEAST_VARIATION * mean)

    def _percentile(self, part: float) -> int:
        """The bin that the `part` of the idle times within the histogram ends in."""
        need = part * sum(self.bins.values())
        running = 0
        for number in sorted(self.bins):
            running += self.bins[number]
            if running >= need:
                return number
        return max(self.bins)
