"""Slo: what a user wants of an endpoint, and whether a test kept it. Pure."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.jobs.loadtest.tally import Tally

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
# A queue that only grows keeps no SLO, though a short test may end before it shows in the quantile. It has grown when
# more requests are open at the end than: a few, 2 % of all, and those of the last two limits' time.
_OPEN_AT_END: Final = 20
_GROWN: Final = 0.02
_PATIENCE: Final = 2.0


class Slo(Struct, frozen=True):
    """Limits: of one quantile of latency (seconds; from the intended time), and of the part of requests that fail."""

    quantile: str = ""  # a key of QUANTILES, or none
    limit_s: float = math.inf
    error_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.quantile and self.quantile not in QUANTILES:
            raise Invalid(f"There is no quantile {self.quantile!r}; there are {', '.join(QUANTILES)}.")

    def __str__(self) -> str:
        errors = f"errors <= {self.error_rate * 100:.4g}%"
        return f"{self.quantile} <= {seconds_text(self.limit_s)}, {errors}" if self.quantile else errors

    def broken_by(self, tally: Tally, elapsed_s: float) -> list[str]:
        """Why the SLO is not kept; empty when it is. A failed request counts as slower than any limit.

        Requests that were given up when a test was stopped say nothing.
        """
        reasons = []
        limit_s = self.limit_s if self.quantile else 0.0
        if not tally.finished:
            return ["no request was answered"]
        failed = tally.failed / tally.finished
        if failed > self.error_rate:
            reasons.append(f"{failed:.2%} of the requests failed (limit {self.error_rate:.2%})")
        if self.quantile:
            reached = quantile_with_failures(tally, QUANTILES[self.quantile])
            if reached > self.limit_s:
                shown = seconds_text(reached) if reached < math.inf else "endless"
                counted = ", failures counted as endless," if tally.failed else ""
                reasons.append(f"{self.quantile}{counted} is {shown} (limit {seconds_text(self.limit_s)})")
        open_at_end = tally.due - tally.failed - tally.unfinished - tally.answered_in_time
        if open_at_end > max(_OPEN_AT_END, _GROWN * tally.due, _PATIENCE * limit_s * tally.due / elapsed_s):
            reasons.append(f"the queue grew: {open_at_end:,} requests were still open at the end")
        return reasons

    def lost(self, tally: Tally, expected: float) -> bool:
        """Whether no ending can keep the SLO any more, if there are `expected` requests in all."""
        bad = tally.failed + tally.late_answers
        allowed = 1 - QUANTILES[self.quantile] if self.quantile else 1.0
        return bad > 1 + allowed * expected or tally.failed > 1 + self.error_rate * expected


def quantile_with_failures(tally: Tally, q: float) -> float:
    """The q-quantile of latency of all requests; those without a good answer are infinitely slow."""
    if not tally.answered or q * tally.finished > tally.answered:
        return math.inf
    return tally.latency().quantile(min(1.0, q * tally.finished / tally.answered))
