"""Search for the highest rate that keeps an SLO: which rate to try next, and when to stop. Pure.

Doubling (or halving) from the first rate brackets the answer; bisection narrows it down to `precision`. Machines are
noisy, so neither verdict is believed at once: a rate that fails where it would become the upper bound is tried again,
and the answer must hold in a longer confirmation run. A rate that was confirmed to fail is never tried again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

CONFIRM_FACTOR: Final = 2.0  # a confirmation run is so much longer
_BACK: Final = 0.9  # an answer that fails its confirmation gives way to this part of it


class Verdict(Enum):
    """What a trial showed."""

    KEPT = "kept"
    BROKEN = "broken"
    UNABLE = "unable"  # the generator itself could not send that fast: says nothing of the endpoint


class Purpose(Enum):
    """Why a rate is tried."""

    BRACKET = "bracket"
    BISECT = "bisect"
    AGAIN = "again"
    CONFIRM = "confirm"


class Trial(Struct, frozen=True):
    """A rate that was tried."""

    rate: float
    purpose: Purpose
    verdict: Verdict


class Next(Struct, frozen=True):
    """Try this."""

    rate: float
    purpose: Purpose


class Found(Struct, frozen=True):
    """The end: the highest rate that keeps the SLO, 0 when none does, and what ended the search.

    `confirmed`: a confirmation run kept it. `lowest_broken` is the bound from above, if one was found.
    """

    rate: float
    confirmed: bool
    why: str
    lowest_broken: float = math.inf


class Search(Struct, frozen=True, kw_only=True):
    """How to search: requests/s, and a part of one for `precision`."""

    first: float
    least: float = 0.1
    most: float = 1e6
    precision: float = 0.05
    most_trials: int = 30

    def next(self, trials: Sequence[Trial]) -> Next | Found:
        """What to do after `trials`, oldest first."""
        kept, broken, confirmed = self._bounds(trials)
        if kept and confirmed and kept >= broken / (1 + self.precision):
            failed = [trial.verdict for trial in trials if trial.rate == broken and trial.verdict is not Verdict.KEPT]
            unable = all(verdict is Verdict.UNABLE for verdict in failed)
            why = "which the load generator cannot send" if unable else "which breaks it"
            return Found(kept, True, f"within {self.precision:.0%} of {broken:.6g}/s, {why}", broken)
        if len(trials) >= self.most_trials:
            return Found(kept, confirmed, f"after {self.most_trials} trials", broken)
        if not trials:
            return Next(min(max(self.first, self.least), self.most), Purpose.BRACKET)
        return self._after(trials, kept, broken, confirmed)

    def _after(self, trials: Sequence[Trial], kept: float, broken: float, confirmed: bool) -> Next | Found:
        last = trials[-1]
        if last.verdict is not Verdict.KEPT and last.purpose in (Purpose.BRACKET, Purpose.BISECT):
            return Next(last.rate, Purpose.AGAIN)
        if broken == math.inf and kept < self.most:
            return Next(min(self.most, max(kept * 2, self.least)), Purpose.BRACKET)
        if broken <= self.least:
            return Found(0.0, False, "even the lowest rate breaks it", broken)
        if not kept:
            # The first rates all broke it: halve on.
            return Next(max(self.least, broken / 2), Purpose.BRACKET)
        if kept >= self.most:
            return Found(kept, True, "no higher rate may be tried") if confirmed else Next(kept, Purpose.CONFIRM)
        if kept >= broken / (1 + self.precision):
            return Next(kept, Purpose.CONFIRM)
        if last.purpose is Purpose.CONFIRM and last.verdict is not Verdict.KEPT and kept < last.rate * _BACK:
            return Next(last.rate * _BACK, Purpose.BISECT)
        return Next(math.sqrt(kept * broken), Purpose.BISECT)

    def _bounds(self, trials: Sequence[Trial]) -> tuple[float, float, bool]:
        """The highest rate that is believed to keep it, the lowest one that is believed not to, and whether the former
        was confirmed."""
        broken = math.inf
        for trial in trials:
            if trial.verdict is not Verdict.KEPT and trial.purpose in (Purpose.AGAIN, Purpose.CONFIRM):
                broken = min(broken, trial.rate)
        kept = max((t.rate for t in trials if t.verdict is Verdict.KEPT and t.rate < broken), default=0.0)
        confirmed = any(t.purpose is Purpose.CONFIRM and t.verdict is Verdict.KEPT and t.rate == kept for t in trials)
        return kept, broken, confirmed
