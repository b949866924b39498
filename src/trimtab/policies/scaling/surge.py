"""Whether requests come at a new rate: evidence against chance, a few requests after they began to.

For each of some stretches of time that end now, with k arrivals where m were expected at the rate of before, the
logarithm of the likelihood ratio of "the rate is k / length" to "it is what it was" is k ln(k / m) - (k - m): large
for what chance hardly does. (A generalized likelihood ratio test, as in quality control.)
"""

from __future__ import annotations

from math import log, sqrt
from typing import Final

from msgspec import Struct

from trimtab.policies.scaling.windows import Mark, Seen

EVIDENCE: Final = 7.0  # docs/decisions/011 has what it costs and gives
_SURE: Final = 2  # times the evidence
_QUIET_RATE: Final = 1.5  # requests/s; more of them give chance more to play with, and prove a surge sooner
TELLINGS: Final = 3  # arrivals of one moment are one client's burst, not a rate
_LEAST_S: Final = 0.1  # a rate is not reckoned over less
_BACK: Final = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 26, 34, 44)  # marks back


class Surge(Struct, frozen=True, gc=False):
    """`arrived` requests in `span_s`, where `rate_before` a second used to come."""

    arrived: int
    span_s: float
    rate: float  # of which one can be rather sure: the loudest stretch exaggerates
    likely_rate: float
    rate_before: float
    evidence: float
    ended: int
    work_s: float
    is_sure: bool  # chance does not do that in years


def surge_of(seen: Seen, rate_before: float, work_s: float, dearness: float = 1.0) -> Surge | None:
    """The stretch that speaks loudest for a new rate; None where chance will do as an explanation.

    Requests that keep a replica for `work_s` are counted over so long at least: k of them keep no more than k busy.
    A mistake that is `dearness` times as dear must be so many times as rare.
    """
    least = EVIDENCE + 2 * log(max(rate_before / _QUIET_RATE, 1.0)) + log(max(dearness, 1.0))
    now, best, best_from = seen.at, least, None
    for marks in (seen.fine, seen.steps):
        newest = len(marks) - 1 if marks[-1].at_s == now.at_s else len(marks)
        for back in _BACK:
            if back > newest:
                break
            start = marks[newest - back]
            arrived = now.arrived - start.arrived
            expected = rate_before * (now.at_s - start.at_s)
            if arrived <= 2 * expected or expected <= 0:
                continue
            weight = arrived * log(arrived / expected) - (arrived - expected)
            if weight > best and _tellings(seen.fine, start) >= TELLINGS:
                best, best_from = weight, start
    if best_from is None:
        return None
    return _surge(now, best_from, rate_before, best, max(work_s, _LEAST_S), best >= _SURE * least)


def _surge(now: Mark, start: Mark, rate_before: float, evidence: float, least_s: float, is_sure: bool) -> Surge:
    span_s = now.at_s - start.at_s
    arrived = now.arrived - start.arrived
    length_s = max(span_s, least_s)
    rate, likely_rate = (arrived - sqrt(arrived)) / length_s, (arrived - 1) / length_s  # one began the stretch
    ended, worked_s = now.ended - start.ended, now.work_s - start.work_s
    return Surge(arrived, span_s, rate, likely_rate, rate_before, evidence, ended, worked_s, is_sure)


def _tellings(fine: tuple[Mark, ...], start: Mark) -> int:
    """In how many of the newest marks requests arrived, as far as it matters."""
    count = 0
    for earlier, later in zip(reversed(fine[:-1]), reversed(fine), strict=False):
        if earlier.at_s < start.at_s - 1e-9:
            break
        if later.arrived > earlier.arrived:
            count += 1
            if count >= TELLINGS:
                break
    return count
