"""Slo: what a user wants of an endpoint, and whether a test kept it. Pure."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.jobs.loadtest.tally import Tally

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_KEPT_UP: Final = 0.98  # of what is offered must be answered in time: a queue that only grows keeps no SLO
_LEAST_REQUESTS: Final = 20


class Slo(Struct, frozen=True):
    """Limits: of one quantile of latency (seconds; from the intended time), and of the part of requests that fail."""

    quantile: str = ""  # a key of QUANTILES, or none
    limit_s: float = math.inf
    error_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.quantile and self.quantile not in QUANTILES:
            raise Invalid(f"There is no quantile {self.quantile!r}; there are {', '.join(QUANTILES)}.")

    def __str__(self) -> str:
        errors = f"errors <= {self.error_rate:.3%}".replace(".000%", "%").replace("00%", "%")
        return f"{self.quantile} <= {seconds_text(self.limit_s)}, {errors}" if self.quantile else errors

    def broken_by(self, tally: Tally, elapsed_s: float) -> list[str]:
        """Why the SLO is not kept; empty when it is. A failed request counts as slower than any limit."""
        reasons = []
        finished = tally.finished + tally.unfinished
        if not finished:
            return ["no request was sent"]
        failed = tally.failed + tally.unfinished
        if failed / finished > self.error_rate:
            reasons.append(f"{failed / finished:.2%} of the requests failed (limit {self.error_rate:.2%})")
        if self.quantile:
            reached = quantile_with_failures(tally, QUANTILES[self.quantile])
            if reached > self.limit_s:
                shown = seconds_text(reached) if reached < math.inf else "beyond measure: too many requests failed"
                reasons.append(f"{self.quantile} is {shown} (limit {seconds_text(self.limit_s)})")
        if tally.due >= _LEAST_REQUESTS and tally.answered_in_time < _KEPT_UP * (tally.due - tally.failed):
            behind = tally.due - tally.failed - tally.answered_in_time
            late_s = behind / (tally.due / elapsed_s)
            if late_s > max(self.limit_s if self.quantile else 0.0, 0.25):
                reasons.append(f"the queue grew: {behind:,} requests were still open at the end")
        return reasons

    def lost(self, tally: Tally, expected: float) -> bool:
        """Whether no ending can keep the SLO any more, if there are `expected` requests in all."""
        bad = tally.failed + tally.late_answers
        allowed = 1 - QUANTILES[self.quantile] if self.quantile else 1.0
        return bad > 1 + allowed * expected or tally.failed > 1 + self.error_rate * expected


def quantile_with_failures(tally: Tally, q: float) -> float:
    """The q-quantile of latency of all requests; those without a good answer are infinitely slow."""
    total = tally.finished + tally.unfinished
    if not tally.answered or q * total > tally.answered:
        return math.inf
    return tally.latency().quantile(min(1.0, q * total / tally.answered))
